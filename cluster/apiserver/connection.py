"""The HTTP server's connections, and how each is left when the server is about to stop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, cast

import orjson
from aiohttp import web
from aiohttp.hdrs import SERVER

from oarlock.cluster.apiserver.exchange import JSON, Rest, chunk, unchunked
from oarlock.cluster.apiserver.standing import Standing
from oarlock.cluster.objects.status import ApiError
from oarlock.cluster.takeover import TakenConnection
from oarlock.cluster.unread import unread_bytes

LOOK_S = 0.05
_HEAD_END = b"\r\n\r\n"
LASTING_S = 2.0
"""How long answers that have no end of their own go on when nothing else does: the last lines of a log may pass."""


class Connection(web.RequestHandler):
    """aiohttp's connection, but answers what it can't parse with a Status that repeats nothing of the request.

    `is_lasting` tells that the present answer ends when the client says so: nobody waits for that.
    """

    __slots__ = ("_ended", "_is_between", "_quiet_since", "is_lasting", "peer")

    def __init__(self, manager: ConnectionServer, ended: Callable[[], None] | None, **settings: Any) -> None:
        """`ended` is called at the connection's end: the balancer that gave it away waits for that."""
        super().__init__(manager, **settings)
        self._ended = ended
        self.is_lasting = False
        self.peer: tuple[str, tuple[str, ...]] | None = None
        """The verified client certificate's (common name, organizations), if one was shown."""
        self._quiet_since = self._loop.time()
        self._is_between = False
        """Whether what came last ends as a request without a body does, so that nothing of another has come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.peer = read_peer(transport.get_extra_info("peercert")) or self.peer  # `resume` has told it already
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._ended is not None:
            self._ended()

    @property
    def is_leaving(self) -> bool:
        """Whether the present answer is to be the last one on this connection."""
        manager = self._manager
        return isinstance(manager, ConnectionServer) and manager.leaving

    def data_received(self, data: bytes) -> None:
        self._quiet_since = self._loop.time()
        self._is_between = data.endswith(_HEAD_END)
        super().data_received(data)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        finished = await super().finish_response(request, resp, start_time)
        self._quiet_since = self._loop.time()
        return finished

    def leave_if_quiet(self, since: float) -> None:
        """Close if nothing has come or gone since that time of the loop, and nothing is on its way to be read.

        A client may send its next request at the very moment at which an idle connection is closed, and then can't
        know whether it arrived. The longer the connection was quiet, the less likely that is.
        """
        idle = not self._request_in_progress and not self._messages
        if idle and self._quiet_since <= since and not unread_bytes(self.transport):
            self.force_close()

    @property
    def turns(self) -> asyncio.Lock:
        """Whoever sends much waits for a turn of the loop that no other such has."""
        return cast("ConnectionServer", self._manager).turns

    def keep_open(self) -> None:
        """Forget the time at which the connection is closed if idle: the present answer may last longer.

        It is set anew after that answer.
        """
        self.keep_alive(True)  # noqa: FBT003 - its only form

    async def drained(self) -> None:
        """Wait while the transport asks for no more bytes. Raises ConnectionError when the connection is gone."""
        await self._drain_helper()

    def left_to(self, rest: Rest, *, stays: bool) -> bool:
        """Give the connection to the rest of the present answer, without its task and all that it was asked with.

        It is HTTP's again after that if it `stays`. Return False, and do nothing, if it is gone, or if something has
        come of another request, which only this connection's parser knows.
        """
        transport, server = self.transport, self._manager
        if transport is None or transport.is_closing() or self._messages or not self._is_between:
            return False
        assert isinstance(server, ConnectionServer)
        self.keep_alive(False)  # noqa: FBT003 - its only form
        self.transport = None
        self._parser = None  # they know each other
        server.connection_lost(self, None)
        Standing(transport, rest, server, self.peer, self._ended, stays=stays).begin(paused=self.writing_paused)
        return True

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
        response = NamelessResponse(status=status, body=body, content_type=JSON)
        response.force_close()
        return response


def read_peer(certificate: dict[str, Any] | None) -> tuple[str, tuple[str, ...]] | None:
    """Read who a certificate names, and empty it: the transport would keep 2 KiB that nobody reads any more."""
    if not certificate:
        return None
    name, organizations = "", []
    for relative in certificate.get("subject", ()):
        for key, value in relative:
            if key == "commonName":
                name = sys.intern(value)
            elif key == "organizationName":
                organizations.append(sys.intern(value))
    certificate.clear()
    return name, tuple(organizations)


class NamelessStream(web.StreamResponse):
    """An answer that doesn't tell what software made it: neither do upstream's, and who attacks it learns nothing."""

    async def _prepare_headers(self) -> None:
        is_told = SERVER in self.headers  # by the server whose answer is passed on
        await super()._prepare_headers()
        if not is_told:
            del self.headers[SERVER]


class NamelessResponse(NamelessStream, web.Response):
    """The same in one piece."""


class Refused(asyncio.Protocol):
    """A connection that was accepted when the server had already let go of all others."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _Asked(web.BaseRequest):
    """A request whose answer says `Connection: close` when the server is leaving."""

    @property
    def keep_alive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return super().keep_alive and not cast(Connection, self.protocol).is_leaving


class ConnectionServer(web.Server):
    """Makes our connections; aiohttp offers no setting for their class.

    Once `leaving`, each answer is its connection's last. Once `closing`, it refuses the connections that come.
    """

    leaving = False
    closing = False

    def __init__(self, handler: Any, **settings: Any) -> None:
        super().__init__(handler, request_factory=self._asked, **settings)
        self.turns = asyncio.Lock()
        self.standing = set[Standing]()
        """Connections that have been left to the rest of an answer."""

    def _asked(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return _Asked(message, payload, protocol, writer, task, self._loop)

    async def drain(self, quiet_s: float, grace_s: float) -> None:
        """Return once every client has left, or after `grace_s`.

        Requests are still answered; connections on which nothing happens are closed after `quiet_s`.
        """
        self.leaving = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (now := loop.time()) - began < grace_s:
            for connection in self.connections:
                cast(Connection, connection).leave_if_quiet(now - quiet_s)
            left = [cast(Connection, connection) for connection in self.connections]
            lasting = bool(left) and now - began < LASTING_S
            if not self.standing and all(connection.is_lasting for connection in left) and not lasting:
                return
            await asyncio.sleep(LOOK_S)

    async def shutdown(self, timeout: float | None = None) -> None:
        await super().shutdown(timeout)
        for standing in tuple(self.standing):
            standing.cut()

    def resume(self, standing: Standing) -> None:
        connection = self._made(standing.ended)
        if connection is None:
            standing.transport.close()
            return
        transport, connection.peer = standing.transport, standing.peer
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if standing.paused:
            connection.pause_writing()
        if not transport.is_reading():
            transport.resume_reading()
        if standing.received:
            connection.data_received(standing.received)  # which stops reading if that is enough for now

    def __call__(self) -> Any:
        return self._made(None) or Refused()

    def handed(self, ended: Callable[[], None]) -> asyncio.BaseProtocol:
        """Make one whose end `ended` is to be told."""
        made = self._made(ended)
        if made is None:
            ended()
            return Refused()
        return made

    def _made(self, ended: Callable[[], None] | None) -> Connection | None:
        if self.closing:
            return None
        return Connection(self, ended, loop=asyncio.get_running_loop(), **self._kwargs)


class ChunkedWire:
    """Writes chunks straight to the transport: half the cost of a stream writer, and no task for each receiver."""

    __slots__ = ("_connection", "_transport")

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self._transport = connection.transport

    def left(self) -> None:
        """Hold the connection no longer but its transport: nobody waits any more."""
        self._connection = None

    def write(self, data: bytes) -> None:
        if data:
            self.write_chunks(chunk(data))

    def write_chunks(self, chunks: bytes) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(chunks)

    def push(self, chunks: bytes, unsent_max: int) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return True
        if transport.get_write_buffer_size() > unsent_max:
            transport.abort()
            return False
        transport.write(chunks)
        return True

    async def drain(self) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client went away")
        assert self._connection is not None
        await self._connection.drained()

    def unsent(self) -> int:
        # A closed TLS transport of asyncio can't be asked any more: it raises.
        transport = self._transport
        return 0 if transport is None or transport.is_closing() else transport.get_write_buffer_size()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class PlainWire(ChunkedWire):
    """Writes the same without chunks, for HTTP/1.0, which has none: the end of the connection ends the answer."""

    __slots__ = ()

    def write(self, data: bytes) -> None:
        super().write_chunks(data)

    def write_chunks(self, chunks: bytes) -> None:
        super().write_chunks(unchunked(chunks))

    def push(self, chunks: bytes, unsent_max: int) -> bool:
        return super().push(unchunked(chunks), unsent_max)
