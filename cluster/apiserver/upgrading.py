"""Upgraded requests: passed on to a backend, then bytes both ways until one side ends.

What the bytes say is the client's and the backend's matter. Source: apimachinery pkg/util/proxy/upgradeaware.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress

from oarlock.cluster.apiserver.backends import CONNECT_TIMEOUT_S, Backend, failure_words
from oarlock.cluster.apiserver.exchange import TEXT, Answer, Connection, Request, Response, Takeover
from oarlock.cluster.objects import status

HEAD_BYTES_MAX = 64 << 10
ANSWER_TIMEOUT_S = 30.0
REFUSAL_BYTES_MAX = 64 << 10
REFUSAL_TIMEOUT_S = 10.0
PIECE_BYTES = 64 << 10
RELAYS_MAX = 2000
"""Upgraded connections of one API server at one time."""

_OURS = frozenset({"authorization", "host", "content-length", "transfer-encoding", "x-forwarded-for"})
_BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."


def is_upgrade(request: Request) -> bool:
    """Tell whether the client wants to go on with another protocol."""
    return "upgrade" in request.headers.get("Connection", "").lower()


def is_websocket(request: Request) -> bool:
    """Tell whether that protocol is WebSocket."""
    return is_upgrade(request) and request.headers.get("Upgrade", "").lower() == "websocket"


def passed_headers(request: Request) -> list[tuple[str, str]]:
    """Return the client's headers but for its credentials and what belongs to its own connection's length."""
    passed = []
    for name, value in request.headers.items():
        lower = name.lower()
        if lower in _OURS or lower.startswith("impersonate-"):
            continue
        if lower == "sec-websocket-protocol":
            value = ", ".join(p for p in map(str.strip, value.split(",")) if not p.startswith(_BEARER_PROTOCOL))
        passed.append((name, value))
    forwarded = [value for value in (request.headers.get("X-Forwarded-For", ""), request.address) if value]
    return [*passed, ("X-Forwarded-For", ", ".join(forwarded))] if forwarded else passed


class Upgrades:
    """Carries upgraded connections, a bounded number of them."""

    def __init__(self) -> None:
        self._open = 0

    async def relay(self, request: Request, backend: Backend, target: str) -> Answer:
        """Ask the backend for `target` and join the connections once it agrees.

        A refusal of the backend is passed on. Raises ApiError 429 and 500.
        """
        if self._open >= RELAYS_MAX:
            raise status.too_many_requests("too many upgraded connections, please try again later")
        reader, writer = await _dial(backend)
        try:
            writer.write(_request_head(request, backend, target))
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            code = int(head.split(b" ", 2)[1])
        except (OSError, EOFError, ValueError, IndexError, TimeoutError, asyncio.LimitOverrunError):
            writer.close()
            raise status.unreasoned("error reading the backend's answer to the upgrade: unexpected EOF") from None
        except BaseException:
            writer.close()
            raise
        if code == 101:
            return Takeover(head, lambda client: self._join(client, reader, writer))
        try:
            if code < 400:
                raise status.unreasoned(f"invalid upgrade response: status code {code}")
            return await _refusal(code, head, reader)
        finally:
            writer.close()

    async def _join(self, client: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        up = asyncio.create_task(_up(client, writer))
        down = asyncio.create_task(_down(reader, client))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open -= 1
            writer.close()
            up.cancel()
            down.cancel()
            await asyncio.gather(up, down, return_exceptions=True)


async def _dial(backend: Backend) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await asyncio.open_connection(backend.host, backend.port, ssl=backend.tls, limit=HEAD_BYTES_MAX)
    except (OSError, TimeoutError) as error:
        raise status.unreasoned(f"error dialing backend: {failure_words(error, backend)}") from None


def _request_head(request: Request, backend: Backend, target: str) -> bytes:
    headers: Iterable[tuple[str, str]] = [
        ("Host", request.headers.get("Host", backend.authority)),
        *passed_headers(request),
        *([("Content-Length", "0")] if request.method != "GET" else []),
    ]
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{request.method} {target} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape")


async def _refusal(code: int, head: bytes, reader: asyncio.StreamReader) -> Response:
    length = 0
    content_type = TEXT
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "content-length" and value.strip().isdecimal():
            length = min(int(value), REFUSAL_BYTES_MAX)
        elif name.lower() == "content-type":
            content_type = value.strip()
    body = b""
    with suppress(OSError, EOFError, TimeoutError):
        async with asyncio.timeout(REFUSAL_TIMEOUT_S):
            body = await reader.readexactly(length)
    return Response(code, body, content_type)


async def _up(client: Connection, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await client.read():
            writer.write(piece)
            await writer.drain()


async def _down(reader: asyncio.StreamReader, client: Connection) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE_BYTES):
            await client.write(piece)
