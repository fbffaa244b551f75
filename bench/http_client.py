"""A lean HTTP/1.1 client for load: it shares the servers' cores, so that what it costs hides what they can do.

It knows what our servers send and no more: bodies with a length, or in chunks until the connection ends.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import cast
from urllib.parse import urlsplit

from oarlock.cluster.client.settings import ClientSettings

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
JSON, MERGE = "application/json", "application/merge-patch+json"


class Unexpected(Exception):
    """A server answered with something else than the benchmark counts."""


class Caller(asyncio.Protocol):
    """One connection with one request under way at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._parts: list[bytes] = []
        self._missing = -1
        """Bytes of the answer still to come; -1 while its head isn't complete."""

    async def call(self, request: bytes) -> bytes:
        """Send a whole request and return the answer's body. Raises Unexpected unless it is a success."""
        assert self._transport is not None
        assert self._answer is None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        if self._missing >= 0:
            self._missing -= len(data)
        else:
            head = b"".join(self._parts)
            end = head.find(_HEAD_END)
            if end < 0:
                return
            self._parts = [head]
            self._missing = _body_length(head[:end]) - (len(head) - end - len(_HEAD_END))
        if self._missing <= 0:
            self._finish(b"".join(self._parts))

    def _finish(self, whole: bytes) -> None:
        answer, self._answer = self._answer, None
        self._parts, self._missing = [], -1
        assert answer is not None
        if answer.done():
            return  # nobody waits for it any more
        head, _, body = whole.partition(_HEAD_END)
        if head[9:10] == b"2":
            answer.set_result(body)
        else:
            answer.set_exception(Unexpected(f"{head[:60]!r} {body[:300]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unexpected(f"the connection ended: {exc}"))


class Watcher(asyncio.Protocol):
    """One connection with one watch; `on_data` gets what comes after the head, chunk sizes and all."""

    def __init__(self, request: bytes, on_data: Callable[[bytes], None]) -> None:
        self._request, self._on_data = request, on_data
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self.open = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.open.done():
            self._on_data(data)
            return
        self._head += data
        head, end, rest = self._head.partition(_HEAD_END)
        if not end:
            return
        if head[9:12] == b"200":
            self.open.set_result(None)
        else:
            self.open.set_exception(Unexpected(repr(self._head[:300])))
        if rest:
            self._on_data(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.open.done():
            self.open.set_exception(Unexpected(f"the connection ended before the watch began: {exc}"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Target:
    """Where requests go and who sends them."""

    def __init__(self, settings: ClientSettings) -> None:
        url = urlsplit(settings.server)
        self._host, self._port = url.hostname or "", url.port or 443
        self._context: ssl.SSLContext | None = settings.ssl_context()
        self._lines = f"Host: {self._host}:{self._port}\r\nUser-Agent: bench\r\nAccept-Encoding: identity\r\n"

    def request(self, method: str, path: str, body: bytes = b"", content_type: str = JSON) -> bytes:
        """Return a request as it is sent."""
        content = f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n" if body else ""
        return f"{method} {path} HTTP/1.1\r\n{self._lines}Accept: {JSON}\r\n{content}\r\n".encode() + body

    async def caller(self) -> Caller:
        """Open a connection for requests."""
        loop = asyncio.get_running_loop()
        _, caller = await loop.create_connection(Caller, self._host, self._port, ssl=self._context)
        return caller

    async def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection whose user decides how fast it reads."""
        return await asyncio.open_connection(self._host, self._port, ssl=self._context)

    def connection(self) -> ssl.SSLSocket:
        """Open a connection for somebody who waits."""
        assert self._context is not None
        return self._context.wrap_socket(socket.create_connection((self._host, self._port)), server_hostname=self._host)

    async def watcher(self, path: str, on_data: Callable[[bytes], None]) -> Watcher:
        """Open a connection with a watch on it; returns once the server has answered."""
        request = self.request("GET", path)
        loop = asyncio.get_running_loop()
        _, watcher = await loop.create_connection(
            lambda: Watcher(request, on_data), self._host, self._port, ssl=self._context
        )
        await watcher.open
        return watcher


async def timed(callers: list[Caller], requests: Iterator[bytes]) -> tuple[list[float], float]:
    """Send the requests, one at a time on each connection; return the seconds of each, sorted, and of all together."""
    times: list[float] = []

    async def work(caller: Caller) -> None:
        for request in requests:
            began = time.perf_counter()
            await caller.call(request)
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(work(caller))
    elapsed_s = time.perf_counter() - began
    return sorted(times), elapsed_s


def _body_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        if line[: len(_LENGTH)].lower() == _LENGTH:
            return int(line[len(_LENGTH) :])
    raise Unexpected(f"an answer without a length: {head[:200]!r}")
