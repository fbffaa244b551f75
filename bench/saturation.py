"""Whether the store keeps its leader while other work wants every core: a leader change without a fault is a failure.

Twice as many busy processes as cores run beside the three members, while a light load of writes goes on.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from bench.report import quantile, table
from bench.trios import OarlockTrio, Trio, cpu_s, trio
from bench.writers import NotWritten, OarlockWriter

SECONDS, QUICK_SECONDS = 600.0, 10.0
BUSY_PER_CORE = 2
WRITERS = 4
PAUSE_S = 0.05
"""Between one writer's writes."""
VALUE = bytes(1024)
HEAD = ("minutes", "leader changes", "writes", "not acknowledged", "p50 ms", "p99 ms", "max ms", "cores kept busy")


def measure(*, quick: bool = False) -> str:
    seconds = QUICK_SECONDS if quick else SECONDS
    with trio(OarlockTrio) as members:
        row = uvloop.run(_measure(members, seconds))
    busy = BUSY_PER_CORE * (os.cpu_count() or 1)
    return (
        f"{members.version()}, three members beside {busy} busy processes; {WRITERS} writers of 1 KiB pause "
        f"{PAUSE_S * 1e3:.0f} ms after each write.\n\n"
    ) + table(HEAD, [row])


async def _measure(members: Trio, seconds: float) -> tuple[object, ...]:
    writer = OarlockWriter(members)
    await writer.start()
    try:
        await writer.leader()
        term_before = await writer.term()
        with busy_processes(BUSY_PER_CORE * (os.cpu_count() or 1)) as busy:
            began = time.monotonic()
            results = await asyncio.gather(*(_write(writer, number, began + seconds) for number in range(WRITERS)))
            cores = sum(cpu_s(pid) for pid in busy) / (time.monotonic() - began)
            changes = await writer.term() - term_before
    finally:
        await writer.close()
    times = sorted(took_s for taken, _ in results for took_s in taken)
    failed = sum(refused for _, refused in results)
    quantiles = (quantile(times, share) * 1e3 for share in (0.5, 0.99, 1.0))
    return seconds / 60, changes, len(times), failed, *quantiles, cores


async def _write(writer: OarlockWriter, number: int, until: float) -> tuple[list[float], int]:
    """Return the times of the acknowledged writes, and how many others there were."""
    times: list[float] = []
    failed = count = 0
    while (began := time.monotonic()) < until:
        count += 1
        try:
            await writer.put(b"/saturation/%d/%04d" % (number, count % 1000), VALUE)
            times.append(time.monotonic() - began)
        except NotWritten:
            failed += 1
        await asyncio.sleep(PAUSE_S)
    return times, failed


@contextmanager
def busy_processes(count: int) -> Iterator[list[int]]:
    """Keep so many processes busy; gives their ids, and ends them."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
