"""A full store: the memory and the longest pauses of one replica process with a million keys.

The replica is a process of its own with journal, snapshots and the default retention. Its pauses are the longest that
its event loop was away (by the clock, so other processes' turns count too), and the longest command in the machine and
run of Python's garbage collector (by the thread's CPU time).
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop

from bench.report import table
from oarlock.consensus.model import Compare, Delete, Put, Range, Transaction
from oarlock.consensus.server import StoreServer, StoreSettings

KEYS = 1_000_000
UPDATES = 200_000
IN_FLIGHT = 256
PUTS = 10
"""Of one transaction while filling."""
VALUE_BYTES = 256
RANGE_KEYS = 1_000
DELETED_KEYS = 100_000
TICK_S = 0.002
COLUMNS = ("phase", "s", "RSS MB", "longest loop pause ms", "longest command ms", "longest collection ms")


def measure() -> str:
    with tempfile.TemporaryDirectory(prefix="oarlock-bench-") as folder:
        rows = _replica(folder, "fill") + _replica(folder, "restart")
    head = (
        f"One replica process, {KEYS:,} keys of {len(_key(0))} B with values of {VALUE_BYTES} B, {IN_FLIGHT} in flight."
    )
    return f"{head}\n\n{table(COLUMNS, rows)}"


def _replica(folder: str, part: str) -> list[list[Any]]:
    """Run one part in a process of its own and return its rows."""
    command = [sys.executable, "-m", "bench.store_memory", part, folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=900)
    rows: list[list[Any]] = json.loads(done.stdout)
    return rows


class Pauses:
    """Watches the process: `row` tells the longest pauses since the last one."""

    def __init__(self, server: StoreServer) -> None:
        self.rows: list[list[Any]] = []
        self._loop_s = self._command_s = self._collection_s = 0.0
        self._began_s = time.perf_counter()
        self._collection_began_s = 0.0
        gc.callbacks.append(self._on_collection)
        self._apply = server.store.apply
        server.store.apply = self._timed  # type: ignore[method-assign]

    async def watch(self) -> None:
        while True:
            began_s = time.perf_counter()
            await asyncio.sleep(TICK_S)
            self._loop_s = max(self._loop_s, time.perf_counter() - began_s - TICK_S)

    def row(self, phase: str) -> None:
        spent_s = time.perf_counter() - self._began_s
        longest = [round(one_s * 1e3, 1) for one_s in (self._loop_s, self._command_s, self._collection_s)]
        self.rows.append([phase, round(spent_s, 2), round(psutil.Process().memory_info().rss / 1e6), *longest])
        self._loop_s = self._command_s = self._collection_s = 0.0
        self._began_s = time.perf_counter()

    def _on_collection(self, phase: str, _: object) -> None:
        now_s = time.thread_time()
        if phase == "start":
            self._collection_began_s = now_s
        else:
            self._collection_s = max(self._collection_s, now_s - self._collection_began_s)

    def _timed(self, index: int, entry: bytes) -> Any:
        began_s = time.thread_time()
        outcome = self._apply(index, entry)
        self._command_s = max(self._command_s, time.thread_time() - began_s)
        return outcome


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[tuple[StoreServer, Pauses]]:
    members = {"a": ("127.0.0.1", 0)}
    server = StoreServer(StoreSettings("a", members, folder / "data", unix_path=folder / "clients"))
    pauses = Pauses(server)
    leading = asyncio.Event()
    server.store.on_role(leading.set)
    await server.start()
    watching = asyncio.create_task(pauses.watch())
    try:
        await leading.wait()
        yield server, pauses
    finally:
        watching.cancel()
        await server.stop()


async def _fill(folder: Path) -> list[list[Any]]:
    async with _served(folder) as (server, pauses):
        store = server.store
        pauses.row("empty")
        await _spread(store.transact, _filling())
        pauses.row(f"fill, {KEYS:,} keys")
        await _spread(store.transact, (_update(server, number * 7919 % KEYS) for number in range(UPDATES)))
        pauses.row(f"update, {UPDATES:,} keys")
        await asyncio.sleep(5)
        pauses.row("quiet, 5 s")
        await _spread(
            store.range, (Range(_key(number), b"\0", RANGE_KEYS) for number in range(0, KEYS, 10 * RANGE_KEYS))
        )
        pauses.row(f"ranges of {RANGE_KEYS:,}")
        await store.transact(Transaction(success=(Delete(_key(0), _key(DELETED_KEYS)),)))
        pauses.row(f"one deletion of {DELETED_KEYS:,} keys")
        return pauses.rows


async def _restart(folder: Path) -> list[list[Any]]:
    async with _served(folder) as (server, pauses):
        pauses.row(f"restart, {len(server.store.machine.history.current):,} keys")
        return pauses.rows


def _key(number: int) -> bytes:
    return b"/registry/core/configmaps/default/application-%014d" % number


def _filling() -> Iterator[Transaction]:
    for first in range(0, KEYS, PUTS):
        yield Transaction(success=tuple([Put(_key((n * 7919) % KEYS), _value(n)) for n in range(first, first + PUTS)]))


def _update(server: StoreServer, number: int) -> Transaction:
    key = _key(number)
    return Transaction((Compare(key, "mod", "==", server.store.machine.history.current[key].mod_revision),),
                       (Put(key, _value(number + 1)),))  # fmt: skip


def _value(number: int) -> bytes:
    return b"%016d" % number * (VALUE_BYTES // 16)


async def _spread(call: Callable[[Any], Awaitable[Any]], requests: Iterator[Any]) -> None:
    """Make the calls, `IN_FLIGHT` at a time."""

    async def worker() -> None:
        for request in requests:
            await call(request)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


def main() -> None:
    part, folder = sys.argv[1:]
    rows = uvloop.run({"fill": _fill, "restart": _restart}[part](Path(folder)))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    rows.append([f"{part}, peak", "", round(peak_mb), "", "", ""])
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
