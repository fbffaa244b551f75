"""Messages between replicas over mutually authenticated TLS.

Every replica dials every other and sends on the connection it dialled; it receives on those it accepted. A peer is who
its certificate says (CN `system:oarlock:store:NAME`), whatever address it comes from. Connections carry length-capped
frames of typed MessagePack; the first names protocol, cluster, sender and receiver.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, cast

from prometheus_client import Counter

from oarlock.consensus.certificates import NAME_PREFIX, Certificates, Tls, common_name, tls_trouble
from oarlock.consensus.listener import Guest, Limits, Listener
from oarlock.consensus.messages import (
    FRAME_BYTES_MAX,
    PROTOCOL,
    FrameReader,
    Hello,
    MalformedFrame,
    RaftMessage,
    decode_hello,
    decode_messages,
    frame,
)
from oarlock.consensus.sockets import notice_death

log = logging.getLogger(__name__)

HELLO_BYTES_MAX = 4096
UNSENT_BYTES_MAX = 24 << 20
"""A connection with more than this unsent takes no further messages; Raft sends again what matters."""
DIAL_TIMEOUT_S = 2.0
REDIAL_S = (0.05, 1.0)

SENT_BYTES = Counter("etcd_network_peer_sent_bytes", "Bytes sent to peers.", ["To"])
RECEIVED_BYTES = Counter("etcd_network_peer_received_bytes", "Bytes received from peers.", ["From"])


class Seating(Protocol):
    """Who may speak for a member's seat; see `seats`."""

    def introduce(self, hello: Hello) -> Hello:
        """Return the hello with what is to be said of seats."""
        ...

    def refusal(self, hello: Hello, present: str | None) -> str:
        """Return why a member is refused, "" if it is welcome; `present` is the instance connected by its name now."""
        ...

    def heard(self, peer: str, reason: str) -> None:
        """`peer` has refused this member, or has ended the connection with these words."""
        ...


class PeerTransport:
    """Connections to and from the other members.

    Calls `on_message(peer, message)` for each message, then `on_turn()` once for each read; `on_up(peer)` when a
    connection to a peer stands, `on_down(peer)` when one to or from it broke. All on the event loop.
    """

    def __init__(
        self,
        name: str,
        cluster: str,
        members: Mapping[str, tuple[str, int]],
        tls: Tls | None,
        *,
        on_message: Callable[[str, RaftMessage], None],
        on_turn: Callable[[], None],
        on_up: Callable[[str], None],
        on_down: Callable[[str], None],
        rng: random.Random,
        limits: Limits | None = None,
        seating: Seating | None = None,
    ) -> None:
        self.name = name
        self.cluster = cluster
        self.tls = tls
        self.on_message = on_message
        self.on_turn = on_turn
        self.on_down = on_down
        self._on_up = on_up
        self._members = members
        self._rng = rng
        self._limits = limits
        self._seating = seating
        self._outgoing: dict[str, asyncio.Transport] = {}
        self._queued: dict[str, list[RaftMessage]] = {}
        self._sent = {peer: SENT_BYTES.labels(peer) for peer in members if peer != name}
        self.received = {peer: RECEIVED_BYTES.labels(peer) for peer in members if peer != name}
        self._incoming: dict[str, _Incoming] = {}
        self._redial = {peer: asyncio.Event() for peer in members if peer != name}
        self._dialling: list[asyncio.Task[None]] = []
        self._certificates: Certificates | None = None
        self._listener: Listener | None = None

    @property
    def peers(self) -> Sequence[str]:
        return tuple(self._redial)

    async def start(self, listener: socket.socket | None = None) -> None:
        """Listen on this member's address, or on `listener`, and dial the others. Raises OSError, ssl.SSLError."""
        loop = asyncio.get_running_loop()
        self._certificates = Certificates(self.tls) if self.tls else None
        if self._certificates:
            _ = self._certificates.accepting  # files that can't be used are found now, not at the first connection
        self._listener = Listener("peers", lambda guest: _Incoming(self, guest), self._certificates, self._limits)
        if listener is not None:
            await self._listener.take(listener)
        else:
            await self._listener.listen(*self._members[self.name])
        self._dialling = [loop.create_task(self._dial(peer)) for peer in self._redial]

    async def stop(self) -> None:
        """Close everything; calls no callback any more."""
        for task in self._dialling:
            task.cancel()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        self._dialling = []
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for incoming in list(self._incoming.values()):
            incoming.abort()
        for transport in list(self._outgoing.values()):
            transport.close()
        self._outgoing.clear()
        self._incoming.clear()

    # Sending.

    def send(self, peer: str, message: RaftMessage) -> None:
        """Queue a message; lost if there is no connection."""
        if peer in self._outgoing:
            self._queued.setdefault(peer, []).append(message)

    def flush(self) -> None:
        """Put what is queued on the wire, one frame for each peer."""
        if not self._queued:
            return
        queued, self._queued = self._queued, {}
        for peer, messages in queued.items():
            transport = self._outgoing.get(peer)
            if transport is None or transport.is_closing() or transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                continue
            data = frame(messages)
            transport.write(data)
            self._sent[peer].inc(len(data))

    async def _dial(self, peer: str) -> None:
        """Keep a connection to `peer`, dialling again with a growing pause, or at once when the peer dials us."""
        loop = asyncio.get_running_loop()
        pause_s = REDIAL_S[0]
        refusal = ""
        while True:
            self._redial[peer].clear()
            try:
                async with asyncio.timeout(DIAL_TIMEOUT_S):
                    outgoing = await self._connect(peer)
                connected_s = loop.time()
                reason = await outgoing.lost
                if loop.time() - connected_s > REDIAL_S[1]:  # with TLS 1.3 a refusal comes only after the handshake
                    refusal, pause_s = "", REDIAL_S[0]
                raise ConnectionError(reason or "connection lost")
            except (OSError, TimeoutError, ssl.SSLError) as error:
                if tls_trouble(error) != refusal:
                    refusal = tls_trouble(error)
                    log.warning("no connection to peer=%s error=%s", peer, refusal)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s * self._rng.uniform(0.5, 1.0)):
                    await self._redial[peer].wait()
            pause_s = min(pause_s * 2, REDIAL_S[1])

    async def _connect(self, peer: str) -> _Outgoing:
        host, port = self._members[peer]
        context = self._certificates.dialling if self._certificates else None
        loop = asyncio.get_running_loop()
        transport, outgoing = await loop.create_connection(lambda: _Outgoing(self, peer), host, port, ssl=context)
        if self.tls and common_name(transport) != NAME_PREFIX + peer:
            transport.abort()
            raise ConnectionError(f"{host}:{port} is {common_name(transport) or 'unnamed'}, not member {peer}")
        notice_death(transport)
        transport.set_write_buffer_limits(high=UNSENT_BYTES_MAX)
        hello = Hello(PROTOCOL, self.cluster, self.name, peer)
        transport.write(frame(self._seating.introduce(hello) if self._seating else hello))
        self._outgoing[peer] = transport
        self._on_up(peer)
        return outgoing

    def outgoing_lost(self, peer: str, transport: asyncio.BaseTransport, reason: str) -> None:
        if reason and self._seating:
            self._seating.heard(peer, reason)
        if self._outgoing.get(peer) is transport:
            del self._outgoing[peer]
            self._queued.pop(peer, None)
            self.on_down(peer)

    # Receiving.

    def admit(self, incoming: _Incoming, hello: Hello, certified: str) -> str:
        """Return why the peer of a new connection is refused, "" if it is welcome."""
        if hello.protocol != PROTOCOL:
            return f"this member speaks {PROTOCOL}, not {hello.protocol}"
        if hello.cluster != self.cluster:
            return f"this member belongs to another cluster than {hello.cluster}"
        if hello.receiver != self.name:
            return f"this is member {self.name}, not {hello.receiver}"
        if hello.sender not in self._redial:
            return f"{hello.sender} is no member of the cluster"
        if self.tls and certified != NAME_PREFIX + hello.sender:
            return f"the certificate of {certified} doesn't make it member {hello.sender}"
        before = self._incoming.get(hello.sender)
        if self._seating:
            refusal = self._seating.refusal(hello, before.instance if before is not None else None)
            if refusal:
                return refusal
        self._incoming[hello.sender] = incoming
        if before is not None:
            before.abort()  # a peer sends on one connection, its newest
        self._redial[hello.sender].set()
        return ""

    def incoming_lost(self, incoming: _Incoming) -> None:
        if incoming.peer and self._incoming.get(incoming.peer) is incoming:
            del self._incoming[incoming.peer]
            self.on_down(incoming.peer)
            if incoming.peer in self._outgoing:
                self._on_up(incoming.peer)  # only its half is gone: messages to it can still be sent


class _Outgoing(asyncio.Protocol):
    """The dialler's end: sends only; what it may hear is why it is refused."""

    def __init__(self, owner: PeerTransport, peer: str) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._peer = peer
        self._reason = b""
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reason = (self._reason + data)[:HELLO_BYTES_MAX]

    def connection_lost(self, exc: Exception | None) -> None:
        reason = self._reason.decode(errors="replace")
        if not self.lost.done():
            self.lost.set_result(reason or (tls_trouble(exc) if exc else ""))
        if self._transport is not None:
            self._owner.outgoing_lost(self._peer, self._transport, reason)


class _Incoming(asyncio.Protocol):
    """The listener's end: a hello, then messages."""

    def __init__(self, owner: PeerTransport, guest: Guest) -> None:
        self.peer = ""
        self.instance = ""
        self._owner = owner
        self._guest = guest
        self._reader = FrameReader(HELLO_BYTES_MAX)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._guest.arrive(transport)
        notice_death(transport)

    def data_received(self, data: bytes) -> None:
        if self.peer:
            self._owner.received[self.peer].inc(len(data))
        try:
            for body in self._reader.feed(data):
                if self.peer:
                    for message in decode_messages(body):
                        self._owner.on_message(self.peer, message)
                elif not self._greet(decode_hello(body)):
                    return
        except MalformedFrame as error:
            self._refuse(f"malformed frame: {error}")
        self._owner.on_turn()

    def _greet(self, hello: Hello) -> bool:
        assert self._transport is not None, "data follows the connection"
        refusal = self._owner.admit(self, hello, common_name(self._transport))
        if refusal:
            self._refuse(refusal)
            return False
        self._guest.admit()
        self.peer, self.instance = hello.sender, hello.instance
        self._reader.bytes_max = FRAME_BYTES_MAX
        return True

    def _refuse(self, reason: str) -> None:
        assert self._transport is not None, "refused on a connection"
        self._guest.refuse(reason)
        self._transport.write(reason.encode())
        self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._guest.leave()
        self._owner.incoming_lost(self)
