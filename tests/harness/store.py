"""Store replicas in this process for tests, under asyncio's loop or uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import uvloop

from oarlock.consensus.certificates import Tls
from oarlock.consensus.client import StoreClient
from oarlock.consensus.model import Put, Range, Transaction
from oarlock.consensus.raft import Times
from oarlock.consensus.server import StoreServer, StoreSettings

QUICK = Times(heartbeat_s=0.02, election_min_s=0.1, election_max_s=0.2)
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def run(scenario: Callable[[], Coroutine[Any, Any, None]], loop: str = "asyncio", limit_s: float = 30) -> None:
    """Run a scenario on a loop of that kind."""

    async def limited() -> None:
        async with asyncio.timeout(limit_s):
            await scenario()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(limited())


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.asynccontextmanager
async def replica(folder: Path, tls: Tls | None = None, **settings: Any) -> AsyncIterator[StoreServer]:
    """Run the only member of a cluster, "a", with a port for clients."""
    members = {"a": ("127.0.0.1", free_ports(1)[0])}
    options: dict[str, Any] = {"name": "a", "members": members, "port": 0, "times": QUICK} | settings
    server = StoreServer(StoreSettings(data_dir=folder / "data", tls=tls, **options))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def client(*endpoints: str, tls: Tls | None = None, **options: Any) -> AsyncIterator[StoreClient]:
    """Connect a client."""
    store = StoreClient(endpoints, tls, **options)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


def endpoint(server: StoreServer) -> str:
    """Where the server's clients come to."""
    return f"127.0.0.1:{server.port}"


def put(key: bytes, value: bytes = b"v") -> Transaction:
    """Return a transaction that writes one key."""
    return Transaction(success=(Put(key, value),))


async def everything(store: StoreClient) -> tuple[Any, ...]:
    """Return the whole state that a client can see, to compare with later."""
    result = await store.range(Range(b"\0", b"\0"))
    return result.revision, result.kvs
