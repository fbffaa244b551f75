"""HTTP/1.1 over TLS: carries requests to a handler and its answers back. The only importer of aiohttp.web."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from oarlock.cluster.apiserver import wireform
from oarlock.cluster.apiserver.exchange import JSON, Handler, Query, Request, Response, Stream, Wire, warning_headers
from oarlock.cluster.apiserver.settings import Tls
from oarlock.cluster.objects import status

log = logging.getLogger(__name__)

BODY_BYTES_MAX = 3 * 1024 * 1024
"""Source: kube-apiserver's MaxRequestBodyBytes."""
HEADER_BYTES_MAX = 64 * 1024
HEADERS_MAX = 256
BODY_TIMEOUT_S = 30.0
KEEP_ALIVE_S = 3630.0
PIECE_BYTES = 256 * 1024
"""Large bodies go out in pieces of this size with a turn of the loop between them."""


class _Connection(web.RequestHandler):
    """aiohttp's connection, but answers what it can't parse with a Status that repeats nothing of the request."""

    __slots__ = ()

    async def drained(self) -> None:
        """Wait while the transport asks for no more bytes. Raises ConnectionError when the connection is gone."""
        await self._drain_helper()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002 - aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        text = "the request could not be parsed as HTTP" if status < 500 else "the request could not be handled"
        reason = {400: "BadRequest", 413: "RequestEntityTooLarge"}.get(status, "InternalError")
        body = orjson.dumps(_status(status, reason, text))
        response = web.Response(status=status, body=body, content_type=JSON)
        response.force_close()
        return response


class _Refused(asyncio.Protocol):
    """A connection that was accepted when the server had already let go of all others."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _Server(web.Server):
    """Makes our connections; aiohttp offers no setting for their class. Once `closing`, it refuses those that come."""

    closing = False

    def __call__(self) -> Any:
        if self.closing:
            return _Refused()
        return _Connection(self, loop=asyncio.get_running_loop(), **self._kwargs)


class _ChunkedWire:
    """Writes chunks straight to the transport: half the cost of a stream writer, and no task for each receiver."""

    __slots__ = ("_connection", "_transport")

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._transport = connection.transport

    def write(self, data: bytes) -> None:
        transport = self._transport
        if data and transport is not None and not transport.is_closing():
            transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def drain(self) -> None:
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client went away")
        await self._connection.drained()

    def unsent(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class HttpFront:
    """Listens and calls `handler` for each request. Requests that miss their body's time limit are refused."""

    def __init__(self, host: str, port: int, tls: Tls | None, handler: Handler) -> None:
        self._host, self._asked_port, self._tls, self._handler = host, port, tls, handler
        self._server: asyncio.Server | None = None
        self._connections: _Server | None = None
        self.port = port

    async def start(self) -> None:
        """Listen. Raises OSError (port in use) or ssl.SSLError (unusable PEM files)."""
        context = None if self._tls is None else _tls_context(self._tls)
        self._connections = _Server(
            self._serve,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=KEEP_ALIVE_S,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            lingering_time=1.0,
        )
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connections, self._host, self._asked_port, ssl=context, backlog=1024, reuse_address=True
        )
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self, grace_s: float) -> None:
        """Listen no more, let requests under way end within `grace_s`, then drop what is left."""
        server, self._server = self._server, None
        if server is None or self._connections is None:
            return
        server.close()
        self._connections.closing = True
        self._connections.pre_shutdown()
        await self._connections.shutdown(grace_s)

    async def _serve(self, raw: web.BaseRequest) -> web.StreamResponse:
        path, _, query = raw.raw_path.partition("?")
        try:
            parameters = Query(query)
        except ValueError:
            return _to_web(_failure(status.bad_request("too many query parameters")), [])
        request = Request(raw.method, path, parameters, raw.headers, lambda: _read(raw), _peer(raw.transport))
        answer = await self._handler(request)
        if isinstance(answer, Stream):
            return await _stream(raw, answer)
        answer = await wireform.finished(request, answer)
        if isinstance(answer.body, list):
            return await _pieces(raw, answer, request.warnings)
        return _to_web(answer, request.warnings)


def _status(code: int, reason: str, message: str) -> Mapping[str, Any]:
    return status.ApiError(code, reason, message).status()


def _failure(error: status.ApiError) -> Response:
    return Response(error.code, orjson.dumps(error.status()), headers=dict(error.headers))


def _to_web(answer: Response, warnings: list[str]) -> web.Response:
    body = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
    response = web.Response(status=answer.status, body=body, headers=_headers(answer))
    for value in warning_headers(warnings):
        response.headers.add("Warning", value)
    return response


def _headers(answer: Response | Stream) -> dict[str, str]:
    return {"Content-Type": answer.content_type, "Cache-Control": "no-cache, private", **answer.headers}


async def _pieces(raw: web.BaseRequest, answer: Response, warnings: list[str]) -> web.StreamResponse:
    assert isinstance(answer.body, list)
    response = web.StreamResponse(status=answer.status, headers=_headers(answer))
    response.content_length = sum(map(len, answer.body))
    for value in warning_headers(warnings):
        response.headers.add("Warning", value)
    await response.prepare(raw)
    if raw.method != "HEAD":
        for piece in _joined(answer.body):
            await response.write(piece)
            await asyncio.sleep(0)
    await response.write_eof()
    return response


def _joined(parts: list[bytes]) -> list[bytes]:
    pieces: list[bytes] = []
    held: list[bytes] = []
    size = 0
    for part in parts:
        held.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            pieces.append(b"".join(held))
            held, size = [], 0
    pieces.append(b"".join(held))
    return pieces


async def _stream(raw: web.BaseRequest, answer: Stream) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=_headers(answer))
    response.enable_chunked_encoding()
    await response.prepare(raw)
    connection = raw.protocol
    assert isinstance(connection, _Connection)
    wire: Wire = _ChunkedWire(connection)
    with contextlib.suppress(ConnectionError):
        await answer.run(wire)
        await response.write_eof()
    return response


async def _read(raw: web.BaseRequest) -> bytes:
    length = raw.content_length
    if length is not None and length > BODY_BYTES_MAX:
        raise status.too_large(BODY_BYTES_MAX)
    if not raw.body_exists:
        return b""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in raw.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > BODY_BYTES_MAX:
                    raise status.too_large(BODY_BYTES_MAX)
    except TimeoutError:
        raise status.timeout("request body did not arrive in time") from None
    except web.RequestPayloadError:
        raise status.bad_request("the request body could not be read") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _peer(transport: asyncio.Transport | None) -> tuple[str, tuple[str, ...]] | None:
    certificate = None if transport is None else transport.get_extra_info("peercert")
    if not certificate:
        return None
    name, organizations = "", []
    for relative in certificate.get("subject", ()):
        for key, value in relative:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                organizations.append(value)
    return name, tuple(organizations)


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca_file)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context
