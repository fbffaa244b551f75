"""The server's end of one client connection: requests in, answers and watch batches out, both bounded.

No task per request: an answer is written when the replica's future is done. A connection with `REQUESTS_MAX`
requests in progress, or whose peer reads too slowly, is not read from until that has passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Protocol, cast

import msgspec

from oarlock.consensus.certificates import organizations
from oarlock.consensus.commands import Compact, Grant
from oarlock.consensus.encoding import (
    MALFORMED,
    decode_command,
    decoder,
    encode,
    encode_error,
    encode_outcome,
)
from oarlock.consensus.listener import Guest
from oarlock.consensus.log import NotLeader
from oarlock.consensus.metrics import RECEIVED_BYTES, REQUESTS, SENT_BYTES
from oarlock.consensus.model import InvalidRequest, KeyValue, Range, StoreError, Transaction, UnknownOutcome
from oarlock.consensus.replicated import ReplicatedStore
from oarlock.consensus.servedwatches import ServedWatches
from oarlock.consensus.sockets import notice_death
from oarlock.consensus.validation import validate_grant, validate_range, validate_transaction
from oarlock.consensus.wire import (
    FRAME_BYTES_MAX,
    HELLO_BYTES_MAX,
    PROTOCOL,
    Frame,
    FrameReader,
    Hello,
    Kind,
    Role,
    WatchRequest,
    frame,
)

log = logging.getLogger(__name__)

REQUESTS_MAX = 2048
PART_BYTES = 256 << 10
UNSENT_BYTES_HIGH = 1 << 20
"""Bytes that wait for a slow peer before its watches and long answers pause."""

_hello = decoder(Hello)
_range: msgspec.msgpack.Decoder[tuple[Range, bool]] = msgspec.msgpack.Decoder(tuple[Range, bool])
_lease = decoder(int)
_watch = decoder(WatchRequest)
_requests = {kind: REQUESTS.labels(kind.name.lower()) for kind in Kind if Kind.HELLO < kind < Kind.RESULT}


class Owner(Protocol):
    """What a connection asks of its server."""

    store: ReplicatedStore
    cluster_id: str

    def admit(self, connection: Connection) -> str:
        """Return why a client that has said its hello is refused, "" if it is welcome."""
        ...

    def closed(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """Speaks `wire` to one client."""

    def __init__(self, owner: Owner, guest: Guest) -> None:
        self._owner = owner
        self._guest = guest
        self._store = owner.store
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(HELLO_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._client = 0
        self._in_progress = 0
        self._writable = True
        self._reading = True
        self._out: list[bytes] = []
        self._flush_due = False
        self._watches = ServedWatches(self._store.hub, self._schedule_events)
        self._long_answers: deque[Iterator[bytes]] = deque()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's TLS transport is no subclass
        self._transport = transport
        self._guest.arrive(transport)
        notice_death(transport)
        transport.set_write_buffer_limits(high=UNSENT_BYTES_HIGH)

    def data_received(self, data: bytes) -> None:
        RECEIVED_BYTES.inc(len(data))
        try:
            for request in self._reader.feed(data):
                self._dispatch(request)
        except (InvalidRequest, *MALFORMED) as malformed:
            self._refuse(InvalidRequest(str(malformed)))

    def pause_writing(self) -> None:
        self._writable = False
        self._adjust_reading()

    def resume_writing(self) -> None:
        self._writable = True
        self._adjust_reading()
        self._schedule()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._watches.close()
        self._long_answers.clear()
        self._guest.leave()
        self._transport = None
        self._owner.closed(self)

    # What the server calls.

    @property
    def secured(self) -> bool:
        """True over TLS, which never comes without a verified client certificate."""
        return self._transport is not None and self._transport.get_extra_info("ssl_object") is not None

    @property
    def organizations(self) -> frozenset[str]:
        """Those of the client's certificate."""
        return organizations(self._transport) if self._transport is not None else frozenset()

    def tell_role(self) -> None:
        """Send this replica's role."""
        replicated = self._store.log
        role = Role(replicated.name, self._owner.cluster_id, self._store.leads, replicated.term)
        self._send(frame(Kind.ROLE, 0, encode(role)))

    def close(self) -> None:
        """Flush and close."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    # Requests

    def _dispatch(self, request: Frame) -> None:
        kind = request.kind
        if not self._client:
            self._greet(request)
            return
        handler = self._handlers.get(kind)
        if handler is None:
            raise InvalidRequest(f"unknown frame kind {kind}")
        _requests[Kind(kind)].inc()
        try:
            handler(self, request.id, request.body)
        except MALFORMED as malformed:
            self._fail(request.id, InvalidRequest(f"malformed request: {malformed}"))
        except StoreError as refusal:
            self._fail(request.id, refusal)

    def _greet(self, request: Frame) -> None:
        if request.kind != Kind.HELLO:
            raise InvalidRequest("the first frame must be a hello")
        hello = _hello.decode(request.body)
        if hello.protocol != PROTOCOL:
            raise InvalidRequest(f"protocol {hello.protocol} is not supported, {PROTOCOL} is")
        if hello.cluster_id not in {"", self._owner.cluster_id}:
            raise InvalidRequest(f"this is cluster {self._owner.cluster_id}, not {hello.cluster_id}")
        refusal = self._owner.admit(self)
        if refusal:
            raise InvalidRequest(refusal)
        self._guest.admit()
        self._reader.bytes_max = FRAME_BYTES_MAX
        self._client = hello.client
        self.tell_role()

    def _command(self, request_id: int, body: bytes) -> None:
        command = decode_command(body)
        if command.client != self._client:
            raise InvalidRequest("a request id of another client")
        action = command.action
        if isinstance(action, Transaction):
            validate_transaction(action)
        elif isinstance(action, Grant):
            validate_grant(action.lease, action.ttl_ms)
        elif isinstance(action, Compact) and action.revision < 1:
            raise InvalidRequest("a revision is at least 1")
        self._when(self._store.log.propose(body), request_id, encode_outcome)

    def _range(self, request_id: int, body: bytes) -> None:
        request, serializable = _range.decode(body)
        validate_range(request)
        if serializable:
            self._read(request_id, request)
        else:
            self._when(self._store.log.read_index(), request_id, lambda _: self._read(request_id, request))

    def _read(self, request_id: int, request: Range) -> None:
        result = self._store.machine.range(request)
        if len(result.kvs) < 1000 and sum(len(kv.value) for kv in result.kvs) < PART_BYTES:
            self._send(frame(Kind.RESULT, request_id, encode(result)))
            return
        parts = _parts(result.kvs)
        self._long_answers.append(
            frame(Kind.RESULT, request_id, encode(result._replace(kvs=())))
            if part is None
            else frame(Kind.PART, request_id, encode(part))
            for part in parts
        )
        self._schedule()

    def _revision(self, request_id: int, _body: bytes) -> None:
        self._when(self._store.log.read_index(), request_id, lambda _: encode(self._store.machine.revision))

    def _status(self, request_id: int, _body: bytes) -> None:
        self._send(frame(Kind.RESULT, request_id, encode(self._store.member_status())))

    def _keep_alive(self, request_id: int, body: bytes) -> None:
        lease = _lease.decode(body)
        self._when(self._store.log.read_index(), request_id, lambda _: encode(self._store.renewed(lease)))

    def _lease_status(self, request_id: int, body: bytes) -> None:
        lease = _lease.decode(body)
        self._when(self._store.log.read_index(), request_id, lambda _: encode(self._store.lease_now(lease)))

    def _open_watch(self, watch_id: int, body: bytes) -> None:
        if not self._store.leads:
            raise NotLeader(self._store.log.leader)
        self._watches.open(watch_id, _watch.decode(body))

    def _credit(self, watch_id: int, body: bytes) -> None:
        self._watches.credit(watch_id, _lease.decode(body))

    def _cancel(self, watch_id: int, _body: bytes) -> None:
        self._watches.cancel(watch_id)

    _handlers: ClassVar[dict[int, Callable[[Connection, int, bytes], None]]] = {
        Kind.COMMAND: _command,
        Kind.RANGE: _range,
        Kind.REVISION: _revision,
        Kind.STATUS: _status,
        Kind.KEEP_ALIVE: _keep_alive,
        Kind.LEASE: _lease_status,
        Kind.WATCH: _open_watch,
        Kind.CREDIT: _credit,
        Kind.CANCEL: _cancel,
    }

    # Answers

    def _when(self, future: asyncio.Future[Any], request_id: int, answer: Callable[[Any], bytes | None]) -> None:
        """Answer with what `answer` makes of the future's result, or with its error."""
        self._in_progress += 1
        if self._in_progress >= REQUESTS_MAX:
            self._adjust_reading()
        future.add_done_callback(partial(self._done, request_id, answer))

    def _done(self, request_id: int, answer: Callable[[Any], bytes | None], future: asyncio.Future[Any]) -> None:
        self._in_progress -= 1
        if not self._reading:
            self._adjust_reading()
        if self._transport is None:
            # Whoever asked is gone; looking at the error keeps asyncio from logging it.
            if not future.cancelled():
                future.exception()
            return
        try:
            result = future.result()
            if isinstance(result, StoreError):
                raise result.with_traceback(None)
            body = answer(result)
        except StoreError as refusal:
            refusal.__traceback__ = None
            self._fail(request_id, refusal)
        except asyncio.CancelledError:
            self._fail(request_id, UnknownOutcome("the replica stopped"))
        else:
            if body is not None:
                self._send(frame(Kind.RESULT, request_id, body))

    def _fail(self, request_id: int, error: StoreError) -> None:
        self._send(frame(Kind.ERROR, request_id, encode_error(error)))

    def _refuse(self, error: StoreError) -> None:
        """Say why, and close: what follows on this connection can't be trusted."""
        self._guest.refuse(str(error))
        self._fail(0, error)
        self.close()

    # Output

    def _send(self, data: bytes) -> None:
        self._out.append(data)
        self._schedule()

    def _schedule(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _schedule_events(self) -> None:
        """Events come while commands are applied, whose answers are told in the loop's next turn: all go at once."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._loop.call_soon, self._flush)

    def _flush(self) -> None:
        """Write as much of the watches as a turn allows, and all answers behind what they caused."""
        self._flush_due = False
        if self._transport is None:
            return
        if self._writable:
            self._out[:0] = self._watches.take(UNSENT_BYTES_HIGH)
            self._take_part()
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            SENT_BYTES.inc(len(data))
            self._transport.write(data)
        if self._writable and (self._watches.ready or self._long_answers):
            self._schedule()

    def _take_part(self) -> None:
        """Move one part of the longest waiting answer on; others get their turn between two parts."""
        if self._long_answers:
            answer = self._long_answers.popleft()
            with contextlib.suppress(StopIteration):
                self._out.append(next(answer))
                self._long_answers.append(answer)

    def _adjust_reading(self) -> None:
        wanted = self._writable and self._in_progress < REQUESTS_MAX
        if self._transport is None or wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()


def _parts(kvs: tuple[KeyValue, ...]) -> Iterator[list[KeyValue] | None]:
    """Yield runs of about PART_BYTES, at last None for the end."""
    part: list[KeyValue] = []
    size = 0
    for kv in kvs:
        part.append(kv)
        size += len(kv.key) + len(kv.value) + 20
        if size >= PART_BYTES:
            yield part
            part, size = [], 0
    yield part
    yield None
