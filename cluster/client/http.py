"""One HTTP client per cluster: Kubernetes' verbs on paths, JSON in and out, at whichever API server answers."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Self

import aiohttp
import orjson

from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.servers import Servers
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.client.silence import SILENCE_S, Doubts, State
from oarlock.cluster.objects.status import ApiError

Params = Mapping[str, str]
Object = dict[str, Any]
Lines = list[bytes]

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
FENCE_HEADER = "Oarlock-Fence"
GATHER_HEADER = "Oarlock-Gather"

_CONFLICT = 409
_CONNECT_TIMEOUT_S = 5.0
_CONNECT_ONE_OF_SEVERAL_S = 1.0
_ATTEMPTS_MAX = 4
_FIRST_PAGE_ITEMS, _PAGE_BYTES = 10, 256 << 10
_BACKOFF_S = 0.05
_RETRY_AFTER_MAX_S = 5.0
_UNAVAILABLE = 503
_LINE_BYTES_MAX = 64 * 1024 * 1024
_SHUTDOWN_MARK = b"[-]shutdown"
_MANAGED, _NAMED = b',"managedFields":[', b'],"name":"'
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_PROBES = 5, 2, 3


class ApiClient:
    """Calls the API servers of one cluster; the connection pool is made by the first call.

    Every method raises ApiError for a Status answer and Unreachable when none came. Repeated are only reads,
    writes that were never sent, and writes the server refused with Retry-After (429, 503). Of several servers each
    client asks one until it fails, or hangs, and then the next, at once.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self._servers = Servers(settings.base_urls)
        self._doubts = Doubts(self._servers)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, open watches included. Idempotent."""
        self._doubts.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def doubt(self) -> None:
        """Send what comes next to another server, if there is one: the present one leaves something unanswered."""
        server = self._servers.current
        if self._servers.failed(server):
            self._doubts.doubt(server, self._state)

    async def get(self, path: str, params: Params | None = None, *, accept: str = "application/json") -> Object:
        """Return the object at `path`."""
        return await self._json("GET", path, params, accept=accept)

    async def list(self, path: str, params: Params | None = None, *, accept: str = "application/json") -> Object:
        """Return the whole list at `path`, following `continue` when `params` sets a `limit`.

        Pages have at most so many items, and fewer where items are large: no page is to take long to decode.
        """
        asked = dict(params or {})
        most = int(asked.get("limit", 0))
        if most:
            asked["limit"] = str(min(most, _FIRST_PAGE_ITEMS))
        items: list[Object] = []
        while True:
            raw = await self._bytes("GET", path, asked, None, {"Accept": accept})
            page = self._decoded(path, raw)
            found = page.get("items") or []
            items += found
            asked["continue"] = page["metadata"].get("continue") or ""
            if not asked["continue"]:
                return {**page, "items": items}
            asked["limit"] = str(max(1, min(most, len(found) * _PAGE_BYTES // len(raw))))

    async def create(self, path: str, obj: Mapping[str, Any], params: Params | None = None) -> Object:
        """POST `obj` to the collection (or subresource) at `path` and return the answer."""
        return await self._json("POST", path, params, body=orjson.dumps(obj))

    async def update(self, path: str, obj: Mapping[str, Any], params: Params | None = None) -> Object:
        """Replace the object at `path`; a stale `metadata.resourceVersion` is ApiError 409."""
        return await self._json("PUT", path, params, body=orjson.dumps(obj))

    async def patch(
        self, path: str, patch: object, content_type: str = MERGE_PATCH, params: Params | None = None
    ) -> Object:
        """Apply `patch` to the object at `path` and return the result."""
        return await self._json("PATCH", path, params, body=orjson.dumps(patch), content_type=content_type)

    async def delete(self, path: str, options: Mapping[str, Any] | None = None, params: Params | None = None) -> Object:
        """Delete the object or collection at `path`; `options` is a DeleteOptions body (uid, propagation, grace)."""
        body = None
        if options is not None:
            body = orjson.dumps({"kind": "DeleteOptions", "apiVersion": "v1", **options})
        return await self._json("DELETE", path, params, body=body)

    async def text(self, path: str, params: Params | None = None) -> str:
        """Return the body at `path` as text: logs, metrics, `/readyz`."""
        return (await self._bytes("GET", path, params, None, {"Accept": "*/*"})).decode("utf-8", "replace")

    async def watch(
        self, path: str, params: Params | None = None, *, accept: str = "application/json"
    ) -> AsyncGenerator[Object, None]:
        """Yield the events of one watch request, as sent, until the server ends it.

        An ERROR event is raised as the ApiError it carries. A connection that breaks raises Unreachable.
        """
        async for line in self.lines(path, {**(params or {}), "watch": "1"}, accept=accept):
            yield event_of(line)

    async def lines(
        self, path: str, params: Params | None = None, *, accept: str = "application/json"
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines of a streamed answer without their line ends, however long the stream lasts."""
        async with aclosing(self.pieces(path, params, accept=accept)) as pieces:
            async for lines in pieces:
                for line in lines:
                    yield line

    async def pieces(
        self, path: str, params: Params | None = None, *, accept: str = "application/json", gather_ms: int = 0
    ) -> AsyncGenerator[Lines, None]:
        """Yield the lines of a streamed answer, those together that came together.

        A watch whose reader does no more with two events apart than with both at once lets the server send less
        often: what follows an event within `gather_ms` of it comes in one piece (decision 0041).
        """
        server = self._servers.current
        headers = {"Accept": accept, GATHER_HEADER: str(gather_ms)} if gather_ms else {"Accept": accept}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s)
        try:
            async with self._open().get(server + path, params=params, headers=headers, timeout=timeout) as answer:
                if answer.status >= 300:
                    raise _answer_error(answer, await answer.read())
                rest = b""
                with self._doubts.going_on(server, answer.close):
                    async for chunk in answer.content.iter_any():
                        *whole, rest = (rest + chunk if rest else chunk).split(b"\n")
                        if len(rest) > _LINE_BYTES_MAX:
                            raise Unreachable(f"a line of {path} is longer than {_LINE_BYTES_MAX} bytes", sent=True)
                        if whole:
                            yield [line for line in whole if line]
                if rest:
                    yield [rest]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(server, error) from error

    async def _json(
        self,
        method: str,
        path: str,
        params: Params | None,
        *,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        return self._decoded(path, await self._bytes(method, path, params, body, headers))

    def _decoded(self, path: str, raw: bytes) -> Object:
        try:
            decoded: Object = orjson.loads(raw) if raw else {}
        except orjson.JSONDecodeError as error:
            raise Unreachable(
                f"{self._servers.current} answered {path} with something else than JSON", sent=True
            ) from error
        return decoded

    async def _bytes(
        self, method: str, path: str, params: Params | None, body: bytes | None, headers: dict[str, str]
    ) -> bytes:
        if method != "GET" and self.settings.fence is not None:
            headers[FENCE_HEADER] = self._fence(self.settings.fence())
        others = len(self._servers) - 1
        for attempt in range(1 - others, _ATTEMPTS_MAX + 1):
            last = attempt == _ATTEMPTS_MAX
            try:
                return await self._once(method, path, params, body, headers)
            except Unreachable as error:
                if last or (error.sent and method != "GET"):
                    raise
                pause_s = _BACKOFF_S * 2**attempt * random.uniform(0.5, 1.0) if attempt > 0 else 0.0
            except ApiError as error:
                after_s = _retry_after_s(error)
                if last or after_s is None:
                    raise
                pause_s = after_s * random.uniform(1.0, 1.2)
            await asyncio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    @staticmethod
    def _fence(fence: str | None) -> str:
        """Return the header's value. Raises ApiError 409 outside of a term: what is left over from one is too late."""
        if fence is None:
            raise ApiError(_CONFLICT, "Conflict", "nothing may be written while no lease is held")
        return fence

    async def _once(
        self, method: str, path: str, params: Params | None, body: bytes | None, headers: Mapping[str, str]
    ) -> bytes:
        server = self._servers.current
        try:
            async with asyncio.timeout(None) as patience:
                with (
                    self._doubts.going_on(server, lambda: patience.reschedule(0)),
                    self._doubts.waiting(server, self._state),
                ):
                    async with self._open().request(
                        method, server + path, params=params, data=body, headers=headers
                    ) as answer:
                        raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(server, error) from error
        if answer.headers.get("Connection") == "close":
            # The server is leaving, or a proxy before it; the next request must not meet it in its last moment.
            self._servers.failed(server)
        if answer.status == _UNAVAILABLE:
            self._doubts.doubt(server, self._state)
        if answer.status >= 300:
            raise _answer_error(answer, raw)
        return raw

    async def _state(self, server: str) -> State:
        """Return how a server says it is. Raises Unreachable."""
        timeout = aiohttp.ClientTimeout(total=SILENCE_S, sock_connect=self._connect_timeout_s)
        try:
            async with self._open().get(f"{server}/readyz", timeout=timeout) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(server, error) from error
        return "ready" if answer.status < 300 else "draining" if _SHUTDOWN_MARK in raw else "not ready"

    def _unreachable(self, server: str, error: Exception) -> Unreachable:
        """Go on to the next server and return the error that tells what happened at this one."""
        self._servers.failed(server)
        unsent = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL))
        where = self.settings.server if self.settings.socket_path else server
        return Unreachable(f"no answer from {where}: {str(error) or type(error).__name__}", sent=not unsent)

    @property
    def _connect_timeout_s(self) -> float:
        return _CONNECT_TIMEOUT_S if len(self._servers) == 1 else _CONNECT_ONE_OF_SEVERAL_S

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self.settings
            headers = {"User-Agent": settings.user_agent, "Accept-Encoding": "identity"}
            if settings.token:
                headers["Authorization"] = f"Bearer {settings.token}"
            self._session = aiohttp.ClientSession(
                connector=_connector(settings),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=settings.timeout_s, sock_connect=self._connect_timeout_s),
                auto_decompress=True,
            )
        return self._session


def _connector(settings: ClientSettings) -> aiohttp.BaseConnector:
    """Make the connection pool; unbounded, for every watch holds a connection and its users bound themselves."""
    if settings.socket_path is not None:
        return aiohttp.UnixConnector(path=settings.socket_path, limit=0)
    context: ssl.SSLContext | bool = settings.ssl_context() or True
    return aiohttp.TCPConnector(ssl=context, limit=0, socket_factory=_probed_socket)


def _probed_socket(address: tuple[Any, ...]) -> socket.socket:
    """Make a socket whose silent peer is noticed after about 11 s: a watch sends nothing that would time out."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _answer_error(answer: aiohttp.ClientResponse, raw: bytes) -> ApiError:
    try:
        status = orjson.loads(raw)
    except orjson.JSONDecodeError:
        status = {"message": raw.decode("utf-8", "replace")[:512] or answer.reason}
    return _error_of(status if isinstance(status, dict) else {}, answer.status, answer.headers)


def event_of(line: bytes, *, trimmed: bool = False) -> Object:
    """Return the event that a line of a watch tells, `trimmed` without its object's managedFields.

    Raises ApiError, the one that an ERROR event carries.
    """
    event: Object = orjson.loads(without_managed_fields(line) if trimmed else line)
    if event.get("type") == "ERROR":
        raise _error_of(event.get("object") or {}, 500)
    return event


def without_managed_fields(document: bytes) -> bytes:
    """Return JSON without its first member `managedFields`, or as it is if it doesn't look as our servers write it.

    They make up most of the work of decoding a pod. What is cut is one whole array, for no other begins in it, and
    quotes stand unescaped around names and strings only, so that neither mark can be part of a string.
    """
    start = document.find(_MANAGED)
    if start < 0:
        return document
    end = document.find(b"]", start)
    if not document.startswith(_NAMED, end) or document.find(b"[", start + len(_MANAGED), end) >= 0:
        return document
    return document[:start] + document[end + 1 :]


def _error_of(status: Mapping[str, Any], code: int, headers: Mapping[str, str] | None = None) -> ApiError:
    return ApiError(
        int(status.get("code") or code),
        str(status.get("reason") or ""),
        str(status.get("message") or f"the server answered {code}"),
        status.get("details"),
        dict(headers) if headers is not None else None,
    )


def _retry_after_s(error: ApiError) -> float | None:
    """Return how long the server asks to wait before the same request may be sent again, or None to give up."""
    if error.code not in (429, _UNAVAILABLE):
        return None
    text = {name.lower(): value for name, value in (error.headers or {}).items()}.get("retry-after", "")
    return min(float(text), _RETRY_AFTER_MAX_S) if text.isdigit() else None
