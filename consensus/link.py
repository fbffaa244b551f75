"""The client's end of one connection to one member."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from oarlock.consensus.certificates import NAME_PREFIX, common_name, tls_trouble
from oarlock.consensus.encoding import MALFORMED, decode_error, decoder, encode
from oarlock.consensus.model import InvalidRequest, KeyValue, StoreError, UnknownOutcome, WatchBatch
from oarlock.consensus.sockets import notice_death
from oarlock.consensus.wire import (
    PROTOCOL,
    Frame,
    FrameReader,
    Hello,
    Joiner,
    Kind,
    Role,
    WatchRequest,
    frame,
    request_frame,
)

_role = decoder(Role)
_batch = decoder(WatchBatch)
_part = decoder(list[KeyValue])


class LinkLost(UnknownOutcome):
    """The connection went, or its member ceased to lead, before the answer came: the same request may be repeated."""


class Answer(asyncio.Future[bytes]):
    """A request's answer to come; the parts that precede a range's answer gather in `parts`."""

    deadline_s = 0.0
    for_leader = True

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.parts: list[KeyValue] = []


class Subscriber(Protocol):
    """Who gets a watch's frames."""

    def on_batch(self, batch: WatchBatch) -> None: ...

    def on_ended(self, link: Link, error: StoreError) -> None: ...


class Owner(Protocol):
    """Who follows the links."""

    def on_role(self, link: Link, role: Role) -> None: ...

    def on_lost(self, link: Link, reason: str) -> None: ...


class Link(asyncio.Protocol):
    """One connection. `lost` is done once it is gone."""

    def __init__(self, owner: Owner, client: int, cluster_id: str) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._hello = Hello(PROTOCOL, client, cluster_id)
        self._reader = FrameReader()
        self._joiner = Joiner()
        self._transport: asyncio.Transport | None = None
        self._answers: dict[int, Answer] = {}
        self._watches: dict[int, Subscriber] = {}
        self._last_id = 0
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._reason = "connection lost"
        self.lost: asyncio.Future[None] = self._loop.create_future()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's TLS transport is no subclass
        self._transport = transport
        secured = transport.get_extra_info("ssl_object") is not None
        if secured and not common_name(transport).startswith(NAME_PREFIX):
            self._abort(f"the server's certificate is {common_name(transport) or 'unnamed'}, not a store's")
            return
        notice_death(transport)
        self._send(frame(Kind.HELLO, 0, encode(self._hello)))

    def data_received(self, data: bytes) -> None:
        try:
            for piece in self._reader.feed(data):
                message = self._joiner.join(piece)
                if message is not None:
                    self._dispatch(message)
        except (InvalidRequest, *MALFORMED) as malformed:
            self._abort(f"malformed answer: {malformed}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        if exc is not None:
            self._reason = tls_trouble(exc)
        self.abandon(exc or ConnectionError(self._reason), only_leader=False)
        if not self.lost.done():
            self.lost.set_result(None)
        self._owner.on_lost(self, self._reason)

    # What the client calls.

    def request(self, kind: Kind, body: bytes, deadline_s: float, *, for_leader: bool = True) -> Answer:
        """Send a request. The answer fails with the server's error, LinkLost, or TimeoutError at the deadline."""
        answer = Answer(self._loop)
        if self._transport is None:
            answer.set_exception(LinkLost("not connected"))
            return answer
        answer.deadline_s = deadline_s
        answer.for_leader = for_leader
        self._last_id += 1
        self._answers[self._last_id] = answer
        if self._timer is None or self._timer.when() > deadline_s:
            self._arm(deadline_s)
        self._send(request_frame(kind, self._last_id, body))
        return answer

    def watch(self, subscriber: Subscriber, request: WatchRequest) -> int:
        """Open a watch and return its id."""
        self._last_id += 1
        self._watches[self._last_id] = subscriber
        self._send(frame(Kind.WATCH, self._last_id, encode(request)))
        return self._last_id

    def credit(self, watch_id: int, batches: int) -> None:
        """Let the server send that many more batches."""
        if watch_id in self._watches:
            self._send(frame(Kind.CREDIT, watch_id, encode(batches)))

    def cancel(self, watch_id: int) -> None:
        """Close a watch; batches on their way are dropped."""
        if self._watches.pop(watch_id, None) is not None:
            self._send(frame(Kind.CANCEL, watch_id))

    def abandon(self, reason: Exception, *, only_leader: bool = True) -> None:
        """Give up on answers that only a leader may give, or on all: they fail with LinkLost."""
        given_up = {key: answer for key, answer in self._answers.items() if answer.for_leader or not only_leader}
        for key, answer in given_up.items():
            del self._answers[key]
            if not answer.done():
                answer.set_exception(LinkLost(str(reason)))

    def close(self) -> None:
        if self._transport is not None:
            self._flush()
            self._transport.close()

    # Frames

    def _dispatch(self, message: Frame) -> None:
        kind = message.kind
        if kind == Kind.RESULT:
            answer = self._answers.pop(message.id, None)
            if answer is not None and not answer.done():
                answer.set_result(message.body)
        elif kind == Kind.BATCH:
            subscriber = self._watches.get(message.id)
            if subscriber is not None:
                subscriber.on_batch(_batch.decode(message.body))
        elif kind == Kind.ERROR:
            self._failed(message.id, decode_error(message.body))
        elif kind == Kind.PART:
            answer = self._answers.get(message.id)
            if answer is not None:
                answer.parts += _part.decode(message.body)
        elif kind == Kind.ROLE:
            self._owner.on_role(self, _role.decode(message.body))
        else:
            raise InvalidRequest(f"unknown frame kind {kind}")

    def _failed(self, request_id: int, error: StoreError) -> None:
        if request_id == 0:
            self._abort(f"refused: {error}")
            return
        answer = self._answers.pop(request_id, None)
        if answer is not None and not answer.done():
            answer.set_exception(error)
        subscriber = self._watches.pop(request_id, None)
        if subscriber is not None:
            subscriber.on_ended(self, error)

    def _abort(self, reason: str) -> None:
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def _send(self, data: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        if data and self._transport is not None:
            self._transport.write(data)

    # One timer stands for the deadlines of all requests, so that a request costs none.

    def _arm(self, when_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        for key, answer in list(self._answers.items()):
            if answer.deadline_s <= now_s:
                del self._answers[key]
                if not answer.done():
                    answer.set_exception(TimeoutError())
        if self._answers:
            self._arm(min(answer.deadline_s for answer in self._answers.values()))
