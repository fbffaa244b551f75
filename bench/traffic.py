"""Clients of a web server: some keep their connection, some open one for each request. Every failure is kept."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

Address = tuple[str, int]

PAUSE_S, LIMIT_S = 0.02, 10.0


class Traffic:
    """What the clients of some addresses have seen so far; each address has as many that keep as that don't."""

    def __init__(self, addresses: Iterable[Address], clients: int) -> None:
        self._addresses = list(addresses)
        self._clients = clients
        self.times_s: list[float] = []
        self.failures: list[str] = []
        self.served_by: Counter[str] = Counter()

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Have every client send requests, one after the other, until the end of the block."""
        ending = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for address in self._addresses:
                for number in range(self._clients):
                    group.create_task(self._client(address, ending, keeping=number % 2 == 0))
            try:
                yield
            finally:
                ending.set()

    async def _client(self, address: Address, ending: asyncio.Event, *, keeping: bool) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not ending.is_set():
            began = time.perf_counter()
            try:
                async with asyncio.timeout(LIMIT_S):
                    connection = connection or await asyncio.open_connection(*address)
                    name, kept = await _request(*connection, keeping=keeping)
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                how = "kept" if keeping else "fresh"
                self.failures.append(f"{time.strftime('%X')} {address[0]}:{address[1]} {how} {error!r}")
                name, kept = "", False
            else:
                self.times_s.append(time.perf_counter() - began)
                self.served_by[name] += 1
            if connection is not None and not kept:
                connection[1].close()
                connection = None
            await asyncio.sleep(PAUSE_S)
        if connection is not None:
            connection[1].close()


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keeping: bool) -> tuple[str, bool]:
    """GET /; return who answered and whether the connection may be used again. Raises ValueError, EOFError, OSError."""
    wish = "" if keeping else "Connection: close\r\n"
    writer.write(f"GET / HTTP/1.1\r\nHost: service\r\n{wish}\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().splitlines()
    if head[0].split()[1] != "200":
        raise ValueError(head[0])
    fields = dict(line.split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(fields["content-length"]))
    return body.decode().split()[-1], keeping and fields.get("connection") != "close"
