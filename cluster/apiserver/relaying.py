"""Requests passed on to a backend, and its answers to the client, both as they come.

Source: Go's net/http/httputil.ReverseProxy, which upstream proxies with, and apimachinery pkg/util/proxy/transport.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from oarlock.cluster.apiserver import backends, pagelinks
from oarlock.cluster.apiserver.backends import CONNECT_TIMEOUT_S, Backend
from oarlock.cluster.apiserver.exchange import Relayed, Request
from oarlock.cluster.apiserver.upgrading import passed_headers
from oarlock.cluster.objects import status

OPEN_MAX = 2000
"""Answers under way of one API server at one time."""
READ_BYTES = 64 << 10

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_CORS = frozenset(
    {
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "access-control-max-age",
    }
)


class Unreachable(Exception):
    """A backend gave no answer; the message is why, in upstream's words."""


class Relays:
    """Talks HTTP to backends, a bounded number of requests at one time."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._open = 0

    async def stop(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def open(
        self,
        backend: Backend,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: AsyncIterator[bytes] | bytes | None = None,
    ) -> aiohttp.ClientResponse:
        """Ask for `target`, a percent-encoded path and query; the caller closes the answer. Raises Unreachable."""
        try:
            return await self._client().request(
                method,
                URL(backend.url + target, encoded=True),
                headers=CIMultiDict(headers),
                data=body,
                ssl=True if backend.tls is None else backend.tls,
                allow_redirects=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unreachable(backends.failure_words(_cause(error), backend)) from None

    async def relay(self, request: Request, backend: Backend, target: str, prefix: str) -> Relayed:
        """Pass the request on; links in the answer get `prefix`, the path under which the client sees the backend.

        Raises ApiError 429 and 503.
        """
        if self._open >= OPEN_MAX:
            raise status.too_many_requests("too many proxied requests, please try again later")
        path = target.partition("?")[0]
        headers = [(name, value) for name, value in passed_headers(request) if name.lower() not in _HOP_BY_HOP]
        headers.append(("X-Forwarded-Uri", prefix + path))
        if "Content-Length" in request.headers:
            headers.append(("Content-Length", request.headers["Content-Length"]))
        headers.append(("Host", request.headers.get("Host", backend.authority)))
        body = None if request.pieces is None else request.pieces()
        self._open += 1
        try:
            answer = await self.open(backend, request.method, target, headers, body)
        except Unreachable as failure:
            self._open -= 1
            raise status.unavailable(f"error trying to reach service: {failure}", 0) from None
        except BaseException:
            self._open -= 1
            raise

        def close() -> None:
            self._open -= 1
            answer.close()

        return _relayed(answer, backend, prefix, request, close)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=READ_BYTES,
            )
        return self._session


def _relayed(
    answer: aiohttp.ClientResponse, backend: Backend, prefix: str, request: Request, close: Callable[[], None]
) -> Relayed:
    hosts = ("", backend.authority, request.headers.get("Host", ""))

    def seen(link: str) -> str:
        return rewritten(link, prefix, hosts)

    named = answer.headers.get("Connection", "").lower().split(",")
    dropped = _HOP_BY_HOP | _CORS | {name.strip() for name in named}
    headers = [(name, value) for name, value in answer.headers.items() if name.lower() not in dropped]
    headers = [(name, seen(value) if name.lower() == "location" else value) for name, value in headers]
    pieces = _pieces(answer)
    encoding = answer.headers.get("Content-Encoding", "")
    if pagelinks.is_page(answer.headers.get("Content-Type", "")) and pagelinks.understands(encoding):
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        pieces = pagelinks.rewritten(pieces, encoding, seen)
    return Relayed(answer.status, headers, pieces, close)


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.content.iter_any():
            yield piece
    except aiohttp.ClientError as error:
        raise ConnectionError(str(error)) from None


def rewritten(link: str, prefix: str, hosts: Iterable[str]) -> str:
    """Return a link of the backend's as the client must follow it: absolute paths on `hosts` get `prefix`."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return link
    if parts.netloc not in hosts or not parts.path.startswith("/"):
        return link
    path = parts.path if parts.path.startswith(prefix) else prefix + parts.path
    return urlunsplit(("", "", path, parts.query, parts.fragment))


def _cause(error: Exception) -> Exception:
    for name in ("os_error", "certificate_error"):
        inner = getattr(error, name, None)
        if isinstance(inner, Exception):
            return inner
    return error
