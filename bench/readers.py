"""Watches that are read in a process of their own: by sockets alone, for it shares the servers' cores.

Whoever writes what is watched isn't among those who read it, and needn't wait until they have.
"""

from __future__ import annotations

import asyncio
import re
import select
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from bench.http_client import Target, Unexpected
from oarlock.cluster.client.kubeconfig import load

READ_BYTES = 64 << 10
WRITTEN = re.compile(rb'"at":"([^"]*)"')
"""The time at which an object was written, in seconds, "0" for one that doesn't count."""
_HEAD_END = b"\r\n\r\n"
Delays = Callable[[], Awaitable[list[float]]]


@asynccontextmanager
async def reading(kubeconfig: Path, path: str, watchers: int, deliveries: int) -> AsyncIterator[Delays]:
    """Open so many watches of `path`. What is yielded returns once so many events have come, with their delays in
    seconds, sorted.
    """
    arguments = (str(kubeconfig), path, str(watchers), str(deliveries))
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.readers", *arguments, stdout=asyncio.subprocess.PIPE, limit=1 << 26
    )
    assert reader.stdout is not None
    said = reader.stdout

    async def delays() -> list[float]:
        line = await said.readline()
        if not line:
            raise Unexpected("a watch ended before all events had come")
        found: list[float] = orjson.loads(line)
        return sorted(found)

    try:
        if await said.readline() != b"open\n":
            raise Unexpected("the watches could not be opened")
        yield delays
    finally:
        if reader.returncode is None:
            reader.kill()
        await reader.wait()


class Reader:
    """One watch."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self._rest = b""

    def take(self, buffer: memoryview) -> bytes:
        """Return the whole lines that have come, b"" for none. Raises Unexpected when the watch has ended."""
        try:
            size = self._connection.recv_into(buffer)
        except ssl.SSLWantReadError:
            return b""
        if not size:
            raise Unexpected("a watch ended")
        data = self._rest + bytes(buffer[:size])
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        return data[:end]


def read(target: Target, path: str, watchers: int, deliveries: int) -> None:
    """Say "open" once all watches are, and the delays as JSON once all events have come."""
    buffer, delays = memoryview(bytearray(READ_BYTES)), list[float]()
    readers: dict[int, Reader] = {}
    with select.epoll() as ready:
        for _ in range(watchers):
            connection = opened(target, path)
            readers[connection.fileno()] = Reader(connection)
            ready.register(connection.fileno(), select.EPOLLIN)
        print("open", flush=True)
        while deliveries > 0:
            for number, _ in ready.poll():
                lines = readers[number].take(buffer)
                stamps = WRITTEN.findall(lines)
                now = time.time()
                deliveries -= len(stamps)
                delays += [now - float(stamp) for stamp in stamps if stamp != b"0"]
        print(orjson.dumps(delays).decode(), flush=True)


def opened(target: Target, path: str) -> ssl.SSLSocket:
    """Return a connection on which a watch has begun. Raises Unexpected."""
    connection = target.connection()
    connection.sendall(target.request("GET", path))
    head = b""
    while not head.endswith(_HEAD_END):  # byte by byte, so that what follows is left for its reader
        head += connection.recv(1)
        if len(head) > READ_BYTES or not head:
            raise Unexpected(repr(head[:300]))
    if head[9:12] != b"200":
        raise Unexpected(repr(head[:300]))
    connection.settimeout(0)
    return connection


if __name__ == "__main__":
    _, kubeconfig, watched, count, total = sys.argv
    read(Target(load(Path(kubeconfig))), watched, int(count), int(total))
