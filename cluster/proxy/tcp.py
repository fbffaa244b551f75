"""Serving one TCP frontend: accept, connect to an endpoint, relay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from oarlock.cluster.proxy import metrics
from oarlock.cluster.proxy.binding import bound
from oarlock.cluster.proxy.choice import Choice
from oarlock.cluster.proxy.rules import Frontend


class End(asyncio.Protocol):
    """One end of a relayed connection; it reads only as fast as the other end takes."""

    def __init__(
        self, accepted: Callable[[End], None] | None = None, ended: Callable[[End], None] | None = None
    ) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: End | None = None
        self.lost = False
        self.sent_eof = False
        self._early: list[bytes] = []
        self._accepted, self._ended = accepted, ended

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.pause_reading()
        if self._accepted is not None:
            self._accepted(self)

    def join(self, peer: End) -> None:
        """Let bytes flow both ways."""
        self.peer, peer.peer = peer, self
        for end in (self, peer):
            end.pass_early()
        for end in (self, peer):
            end.resume()

    def pass_early(self) -> None:
        """Pass on what was received before there was a peer."""
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)

    def resume(self) -> None:
        """Read, or pass on that there is nothing more to read."""
        if self.transport is None or self.lost:
            return
        if not self.sent_eof:
            self.transport.resume_reading()
        elif not self.eof_received():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.peer is None and self.transport is not None:
            # A loop may read after connection_made, whatever that said: uvloop once, asyncio until 3.11.3 always.
            self._early.append(data)
            self.transport.pause_reading()
        elif (peer := self._open_peer()) is not None:
            peer.write(data)

    def eof_received(self) -> bool:
        """Pass a half-close on; the connection ends when both sides have said all."""
        self.sent_eof = True
        if self.peer is None:
            return True
        peer = self._open_peer()
        if peer is None or self.peer.sent_eof or not peer.can_write_eof():
            return False
        peer.write_eof()
        return True

    def pause_writing(self) -> None:
        if (peer := self._open_peer()) is not None:
            peer.pause_reading()

    def resume_writing(self) -> None:
        if (peer := self._open_peer()) is not None:
            peer.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if (peer := self._open_peer()) is not None:
            peer.abort() if exc else peer.close()
        if self._ended is not None:
            self._ended(self)

    def _open_peer(self) -> asyncio.Transport | None:
        return self.peer.transport if self.peer is not None and not self.peer.lost else None


class TcpListener:
    """Listens on a frontend. Open connections outlive it, and outlive their endpoint's removal from the rule."""

    def __init__(self, frontend: Frontend, choice: Choice, connect_timeout_s: float) -> None:
        self._frontend = frontend
        self.choice = choice
        self._connect_timeout_s = connect_timeout_s
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: set[End] = set()

    async def start(self) -> None:
        """Listen. Raises OSError if the address can't be had."""
        loop = asyncio.get_running_loop()
        listening = bound("TCP", self._frontend.host, self._frontend.port)
        self._server = await loop.create_server(lambda: End(self._accept, self._end), sock=listening, backlog=512)

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def abort(self) -> None:
        """Listen no more and cut what is open."""
        self.close()
        for task in self._tasks:
            task.cancel()
        for end in list(self._ends):
            if end.transport is not None:
                end.transport.abort()

    def _accept(self, end: End) -> None:
        metrics.CONNECTIONS.inc()
        self._ends.add(end)
        task = asyncio.get_running_loop().create_task(self._connect(end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self, end: End) -> None:
        metrics.CONNECTIONS.dec()
        self._ends.discard(end)

    async def _connect(self, client: End) -> None:
        """Join the client to the first endpoint that takes the connection; cut it when none does."""
        assert client.transport is not None
        host = client.transport.get_extra_info("peername")[0]
        for backend in self.choice.candidates(host):
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    _, server = await asyncio.get_running_loop().create_connection(End, *backend)
            except (OSError, TimeoutError):
                metrics.CONNECT_ERRORS_TOTAL.inc()
                continue
            self.choice.chose(host, backend)
            if client.lost and server.transport is not None:
                server.transport.abort()
            client.join(server)
            return
        metrics.REFUSED_TOTAL.inc()
        client.transport.abort()
