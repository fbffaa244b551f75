"""A connection whose answer goes on for hours: what HTTP needs to know of a request isn't kept meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from oarlock.cluster.apiserver.exchange import Rest

RECEIVED_BYTES_MAX = 64 << 10
LAST_CHUNK = b"0\r\n\r\n"
Peer = tuple[str, tuple[str, ...]]


class Home(Protocol):
    """Whose connections they are."""

    @property
    def standing(self) -> set[Standing]:
        """All of them."""
        ...

    def resume(self, standing: Standing) -> None:
        """Read requests from the connection again, first of what was `received`."""
        ...


class Standing(asyncio.Protocol):
    """Holds a client's connection for the rest of an answer. If it `stays`, requests are read from it after that.

    What the client sends meanwhile is kept, RECEIVED_BYTES_MAX and one reading at most. `ended` is called at the
    connection's end if that is still its own. `paused` tells that the transport wants no more bytes.
    """

    __slots__ = ("_home", "_rest", "_stays", "ended", "paused", "peer", "received", "transport")

    def __init__(
        self,
        transport: asyncio.Transport,
        rest: Rest,
        home: Home,
        peer: Peer | None,
        ended: Callable[[], None] | None,
        *,
        stays: bool,
    ) -> None:
        self.transport, self.peer, self.ended = transport, peer, ended
        self.paused = False
        self.received = b""
        self._rest, self._home, self._stays = rest, home, stays

    def begin(self, *, paused: bool) -> None:
        """Take the connection from the protocol that had it."""
        self.paused = paused
        self._home.standing.add(self)
        self.transport.set_protocol(self)
        self._rest.begin(self._end)

    def cut(self) -> None:
        """Let go of the connection, though the answer has not ended."""
        self._leave()
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        self.received += data
        if len(self.received) >= RECEIVED_BYTES_MAX and self.transport.is_reading():
            self.transport.pause_reading()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._leave()
        if self.ended is not None:
            self.ended()

    def _end(self) -> None:
        self._leave()
        if self.transport.is_closing():
            return
        self.transport.write(LAST_CHUNK)
        if self._stays:
            self._home.resume(self)
        else:
            self.transport.close()

    def _leave(self) -> None:
        if self in self._home.standing:
            self._home.standing.discard(self)
            self._rest.gone()
