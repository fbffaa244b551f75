"""Two joined TCP connections: bytes that arrive on one leave on the other, as fast as the slower one takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from oarlock.cluster.unread import unread_bytes


class Half(asyncio.Protocol):
    """One end of a relay. Reads nothing until it is joined, so that no byte waits in our memory for a backend."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.lost = False
        self._other: Half | None = None
        self._ended: Callable[[BaseException | None], None] | None = None
        self.half_closed = False
        self.heard_at = 0.0
        """When something last came from here, on the loop's clock."""
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.pause_reading()

    def join(self, other: Half, ended: Callable[[BaseException | None], None]) -> None:
        """Let bytes flow from here to `other`; `ended` is told once when this connection is over."""
        assert self.transport is not None
        self._other, self._ended = other, ended
        self.heard_at = asyncio.get_running_loop().time()
        for data in self._early:
            self.data_received(data)
        self._early.clear()
        if not self.lost:
            self.transport.resume_reading()

    def end_if_quiet(self, since: float) -> None:
        """End a client's connection that waits for nothing: its last word was the backend's and is older than `since`.

        A client that has begun a request meanwhile can't be told from one that has not, but by what has arrived. One
        that will say nothing more, and whose backend has been silent since then, waits for nothing either.
        """
        other = self._other
        if other is None or self.transport is None or max(self.heard_at, other.heard_at) > since:
            return
        if self.heard_at > other.heard_at and not self.half_closed:
            return
        if not unread_bytes(self.transport):
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        other = self._other
        if other is None:
            # uvloop starts to read after connection_made, whatever that said: one read may come before it stops.
            self._early.append(data)
            if self.transport is not None:
                self.transport.pause_reading()
        elif other.transport is not None and not other.lost:
            other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass a half-close on; the connection stays open for what the other end still has to say."""
        self.half_closed = True
        other = self._other
        if other is None or other.transport is None or other.lost or other.half_closed:
            return False
        if not other.transport.can_write_eof():
            return False
        other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._other is not None and self._other.transport is not None and not self._other.lost:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other.transport is not None and not self._other.lost:
            self._other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        other, self._other = self._other, None
        if other is not None and other.transport is not None and not other.lost:
            # close() sends what is still buffered; a broken connection's peer must see a break, not an orderly end.
            other.transport.abort() if exc else other.transport.close()
        if self._ended is not None:
            ended, self._ended = self._ended, None
            ended(exc)
