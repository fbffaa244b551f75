"""HTTP/1.1 over TLS: carries requests to a handler and its answers back."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import cast

import orjson
from aiohttp import web

from oarlock.cluster.apiserver import sending
from oarlock.cluster.apiserver.connection import Connection, ConnectionServer
from oarlock.cluster.apiserver.exchange import Handler, Query, Request, Response, Stream
from oarlock.cluster.apiserver.handed import HandedConnections
from oarlock.cluster.apiserver.settings import Tls
from oarlock.cluster.apiserver.timelimit import TimeLimit
from oarlock.cluster.objects import status

BODY_BYTES_MAX = 3 * 1024 * 1024
"""Source: kube-apiserver's MaxRequestBodyBytes."""
HEADER_BYTES_MAX = 64 * 1024
HEADERS_MAX = 256
BODY_TIMEOUT_S = 30.0
KEEP_ALIVE_S = 3630.0


class HttpFront:
    """Listens and calls `handler` for each request. Requests that miss their body's time limit are refused."""

    def __init__(self, host: str, port: int, tls: Tls | None, handler: Handler, handover: str = "") -> None:
        """`handover` is the Unix socket at which the balancer of this host gives connections away, "" for none."""
        self._host, self._asked_port, self._tls, self._handler = host, port, tls, handler
        self._context: ssl.SSLContext | None = None
        self._handed = HandedConnections(handover, self._serve_handed) if handover else None
        self._server: asyncio.Server | None = None
        self._connections: ConnectionServer | None = None
        self._body_limit = TimeLimit(BODY_TIMEOUT_S)
        self.port = port

    async def start(self) -> None:
        """Listen. Raises OSError (port in use) or ssl.SSLError (unusable PEM files)."""
        self._context = context = None if self._tls is None else _tls_context(self._tls)
        self._connections = ConnectionServer(
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
        if self._handed is not None:
            self._handed.start()

    async def drain(self, quiet_s: float, grace_s: float) -> None:
        """Let every client leave after its next answer; return once all have, or after `grace_s`.

        It still listens: a balancer that asks how the server is must be told, and who knows no other is served.
        """
        if self._connections is not None:
            await self._connections.drain(quiet_s, grace_s)

    async def stop(self, late_s: float, grace_s: float) -> None:
        """Listen no more, let requests under way end within `grace_s`, then drop what is left.

        `late_s` is how long a connection may take from its beginning to its first request: a client may have connected
        just before the end, and be about to show its certificate.
        """
        server, self._server = self._server, None
        if server is None or self._connections is None:
            return
        server.close()
        if self._handed is not None:
            self._handed.stop()
        await asyncio.sleep(late_s)
        await self._connections.drain(late_s, grace_s)
        self._connections.closing = True
        self._connections.pre_shutdown()
        await self._connections.shutdown(grace_s)

    async def _serve_handed(self, client: socket.socket, ended: Callable[[], None]) -> None:
        assert self._connections is not None
        make = partial(self._connections.handed, ended)
        await asyncio.get_running_loop().connect_accepted_socket(make, client, ssl=self._context)

    async def _serve(self, raw: web.BaseRequest) -> web.StreamResponse:
        path, _, query = raw.raw_path.partition("?")
        try:
            parameters = Query(query)
        except ValueError:
            return sending.Whole(_failure(status.bad_request("too many query parameters")), [])
        request = Request(
            raw.method,
            path,
            parameters,
            raw.headers,
            lambda: _read(raw, self._body_limit),
            cast(Connection, raw.protocol).peer,
            pieces=raw.content.iter_any if raw.body_exists else None,
            address=raw.remote or "",
        )
        answer = await self._handler(request)
        if isinstance(answer, Stream):
            # Thousands of them last for hours; what they were asked with is no longer needed.
            del request, parameters, path, query
            return await sending.stream(raw, answer)
        return await sending.send(raw, request, answer)


def _failure(error: status.ApiError) -> Response:
    return Response(error.code, orjson.dumps(error.status()), headers=dict(error.headers))


async def _read(raw: web.BaseRequest, limit: TimeLimit) -> bytes:
    length = raw.content_length
    if length is not None and length > BODY_BYTES_MAX:
        raise status.too_large(BODY_BYTES_MAX)
    if not raw.body_exists:
        return b""
    content, parts = raw.content, list[bytes]()
    size = 0
    if length is not None and content.is_eof() and content.exception() is None:
        whole = content.read_nowait()  # it came with the headers, as small ones do
        if len(whole) > BODY_BYTES_MAX:
            raise status.too_large(BODY_BYTES_MAX)
        return whole
    try:
        with limit.begun():
            async for part in content.iter_any():
                parts.append(part)
                size += len(part)
                if size > BODY_BYTES_MAX:
                    raise status.too_large(BODY_BYTES_MAX)
    except TimeoutError:
        raise status.timeout("request body did not arrive in time") from None
    except web.RequestPayloadError:
        raise status.bad_request("the request body could not be read") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca_file)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context
