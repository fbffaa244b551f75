"""kill -9 of the store's leader under load: when the next write is acknowledged, and whether one was lost."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from dataclasses import dataclass, field

import uvloop

from bench.report import quantile, table
from bench.trios import EtcdTrio, OarlockTrio, Trio, trio
from bench.writers import NotWritten, Writer, writer

TRIALS = 20
IN_FLIGHT = 64
LOAD_S = 0.4
"""How long the load lasts before the kill, and after the first write that follows it."""
RECOVER_S = 60.0
PREFIX = b"/takeover/"
VALUE = bytes(256)
HEAD = ("kill -9 of the leader of", "p50 s", "max s", "writes acknowledged", "of these lost", "trials")


@dataclass
class Load:
    """Writes to keys that nobody wrote before; `acknowledged` must all be found afterwards."""

    writer: Writer
    prefix: bytes
    acknowledged: set[bytes] = field(default_factory=set)
    ended: bool = False

    async def work(self, worker: int) -> None:
        for number in itertools.count():
            if self.ended:
                return
            await self.put(self.prefix + b"%04d/%08d" % (worker, number))

    async def put(self, key: bytes) -> bool:
        """Return whether the write was acknowledged."""
        try:
            await self.writer.put(key, VALUE)
        except NotWritten:
            return False
        self.acknowledged.add(key)
        return True


def measure(*, quick: bool = False) -> str:
    trials = 2 if quick else TRIALS
    rows = [_measure(OarlockTrio, trials)]
    if shutil.which("etcd") is not None:
        rows.append(_measure(EtcdTrio, trials))
    return (
        f"{IN_FLIGHT} writes in flight; the time is from the kill to the acknowledgement of a write begun after it. "
        "Both stores with their default timers. The killed member is started again before the next trial.\n\n"
    ) + table(HEAD, rows)


def _measure(kind: type[Trio], trials: int) -> tuple[object, ...]:
    with trio(kind) as members:
        return members.version(), *uvloop.run(_trials(members, trials))


async def _trials(members: Trio, trials: int) -> tuple[float, float, int, int, int]:
    times, acknowledged, lost = [], 0, 0
    for number in range(trials):
        async with asyncio.timeout(RECOVER_S):
            load, took_s = await _trial(members, PREFIX + b"%04d/" % number)
        times.append(took_s)
        acknowledged += len(load.acknowledged)
        lost += await _lost(members, load)
    times.sort()
    return quantile(times, 0.5), times[-1], acknowledged, lost, trials


async def _trial(members: Trio, prefix: bytes) -> tuple[Load, float]:
    """Kill the leader while others write; return what they wrote and how long no write was acknowledged."""
    following = writer(members)
    await following.start()
    try:
        victim = await following.leader()
        load = Load(following, prefix)
        workers = [asyncio.create_task(load.work(worker)) for worker in range(IN_FLIGHT)]
        await asyncio.sleep(LOAD_S)  # the load's length, not a wait for something
        members.kill(victim)
        took_s = await _next_write(load)
        await asyncio.sleep(LOAD_S)
        load.ended = True
        members.start(victim)
        await asyncio.gather(*workers)
        return load, took_s
    finally:
        await following.close()


async def _next_write(load: Load) -> float:
    began = time.monotonic()
    for number in itertools.count():
        if await load.put(load.prefix + b"next/%08d" % number):
            break
    return time.monotonic() - began


async def _lost(members: Trio, load: Load) -> int:
    """Return how many acknowledged writes the store, with all its members, does not have."""
    reader = writer(members)
    await reader.start()
    try:
        async with asyncio.timeout(RECOVER_S):
            await reader.leader()
            return len(load.acknowledged - await reader.keys(load.prefix, load.prefix[:-1] + b"0"))
    finally:
        await reader.close()
