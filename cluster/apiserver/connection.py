"""The HTTP server's connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import orjson
from aiohttp import web

from oarlock.cluster.apiserver.exchange import JSON, chunk
from oarlock.cluster.objects.status import ApiError
from oarlock.cluster.takeover import TakenConnection


class Connection(web.RequestHandler):
    """aiohttp's connection, but answers what it can't parse with a Status that repeats nothing of the request."""

    __slots__ = ()

    @property
    def turns(self) -> asyncio.Lock:
        """Whoever sends much waits for a turn of the loop that no other such has."""
        return cast("ConnectionServer", self._manager).turns

    async def drained(self) -> None:
        """Wait while the transport asks for no more bytes. Raises ConnectionError when the connection is gone."""
        await self._drain_helper()

    def taken_over(self) -> TakenConnection:
        """Give the connection away, with what the client has sent since its request."""
        assert self.transport is not None
        self.keep_alive(False)  # noqa: FBT003 - its only form
        received, self._message_tail = self._message_tail, b""
        return TakenConnection(self.transport, self, received)

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        text = "the request could not be parsed as HTTP" if status < 500 else "the request could not be handled"
        reason = {400: "BadRequest", 413: "RequestEntityTooLarge"}.get(status, "InternalError")
        body = orjson.dumps(ApiError(status, reason, text).status())
        response = web.Response(status=status, body=body, content_type=JSON)
        response.force_close()
        return response


class HandedConnection(Connection):
    """A connection that the balancer gave away: somebody waits for its end."""

    __slots__ = ("_ended",)

    def __init__(self, ended: Callable[[], None], manager: web.Server, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._ended = ended

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._ended()


class Refused(asyncio.Protocol):
    """A connection that was accepted when the server had already let go of all others."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class ConnectionServer(web.Server):
    """Makes our connections; aiohttp offers no setting for their class. Once `closing`, it refuses those that come."""

    closing = False

    def __init__(self, handler: Any, **settings: Any) -> None:
        super().__init__(handler, **settings)
        self.turns = asyncio.Lock()

    def __call__(self) -> Any:
        if self.closing:
            return Refused()
        return Connection(self, loop=asyncio.get_running_loop(), **self._kwargs)

    def handed(self, ended: Callable[[], None]) -> asyncio.BaseProtocol:
        """Make one whose end `ended` is to be told."""
        if self.closing:
            ended()
            return Refused()
        return HandedConnection(ended, self, loop=asyncio.get_running_loop(), **self._kwargs)


class ChunkedWire:
    """Writes chunks straight to the transport: half the cost of a stream writer, and no task for each receiver."""

    __slots__ = ("_connection", "_transport")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._transport = connection.transport

    def write(self, data: bytes) -> None:
        if data:
            self.write_chunks(chunk(data))

    def write_chunks(self, chunks: bytes) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(chunks)

    async def drain(self) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client went away")
        await self._connection.drained()

    def unsent(self) -> int:
        # A closed TLS transport of asyncio can't be asked any more: it raises.
        transport = self._transport
        return 0 if transport is None or transport.is_closing() else transport.get_write_buffer_size()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
