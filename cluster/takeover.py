"""A client's connection after it has ceased to be HTTP: from the 101 answer on, its bytes are the handler's."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

BUFFER_BYTES = 64 << 10


class TakenConnection(asyncio.Protocol):
    """The connection's bytes. At most twice BUFFER_BYTES wait to be read; `received` are the first of them.

    `former` is the protocol that had the connection: it is told of the end, so that it forgets the connection and
    cancels whoever works for it.
    """

    def __init__(self, transport: asyncio.Transport, former: asyncio.BaseProtocol, received: bytes = b"") -> None:
        self._transport = transport
        self._former = former
        self._reader = asyncio.StreamReader(limit=BUFFER_BYTES)
        self._reader.set_transport(transport)
        self._writable = asyncio.Event()
        self._writable.set()
        transport.set_protocol(self)
        if received:
            self._reader.feed_data(received)

    async def read(self) -> bytes:
        """Return the next bytes; b"" once the client has ended it."""
        return await self._reader.read(BUFFER_BYTES)

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client takes no more. Raises ConnectionError."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client went away")
        self._transport.write(data)
        await self._writable.wait()

    async def close(self) -> None:
        """Let go of the connection once what was written is sent. Idempotent."""
        self._transport.close()

    def abort(self) -> None:
        """Let go of it at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._reader.feed_data(data)

    def eof_received(self) -> None:
        self._reader.feed_eof()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reader.feed_eof()
        self._writable.set()
        self._former.connection_lost(exc)


class Taken(web.StreamResponse):
    """What a request's handler returns whose connection was taken over: nothing more is to be sent."""

    def __init__(self) -> None:
        super().__init__(status=101)

    async def prepare(self, request: web.BaseRequest) -> Any:  # noqa: ARG002 - aiohttp's signature
        return None

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002
        return
