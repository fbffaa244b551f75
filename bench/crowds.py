"""Many at once: thousands of idle watches, and requests beside clients that list everything again and again."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import orjson
import uvloop

from bench import scraping
from bench.api import MAPS, PATH, pod
from bench.clusters import BenchCluster, cluster
from bench.http_client import Target, timed
from bench.report import quantile, table
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.kubeconfig import load

WATCHES, OPENED_AT_ONCE = 5_000, 50
IDLE_S = 20.0
PODS = 4_000
LISTERS = 10
BUSY_S, EVERY_S = 15.0, 0.02
CONNECTIONS = 16
SLOW_BYTES, SLOW_S = 16 << 10, 0.05
_SERVERS = "apiserver"
_PAUSES = (
    ("the longest garbage collection of an API server, ms,", "oarlock_garbage_collection_seconds", "20"),
    ("the latest that an API server's loop was, ms,", "oarlock_event_loop_lag_seconds", ""),
)


def measure() -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with cluster("--port", "0", "--nodes", "0") as running:
            rows = uvloop.run(_measure(running))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return table(("", "", "asked"), rows)


async def _measure(running: BenchCluster) -> list[tuple[str, float | str, str]]:
    target = Target(load(running.kubeconfig))
    busy, pauses = await _beside_listers(running, target)
    memory_mb, cpu_share = await _idle_watches(running, target)
    return [
        (f"{WATCHES:,} idle watches, MB of API servers and balancer", memory_mb, "250"),
        ("the same, % of a core", cpu_share * 100, "3"),
        *(
            (f"{name}, p99 ms, beside {LISTERS} that list {PODS:,} pods and a slow reader", ms, "25")
            for name, ms in busy
        ),
        *((f"{name} meanwhile", figure, asked) for name, figure, asked in pauses),
    ]


def _served_bytes(running: BenchCluster) -> int:
    return sum(size for name, size in running.pss_bytes().items() if name.startswith(("apiserver", "balancer")))


async def _idle_watches(running: BenchCluster, target: Target) -> tuple[float, float]:
    """Return what the watches take of memory, in MB (10^6 bytes), and of one core."""
    everything = running.named("")
    began_s = everything.cpu_s()
    await asyncio.sleep(IDLE_S)
    idle_s = everything.cpu_s() - began_s
    before = _served_bytes(running)
    async with AsyncExitStack() as stack:
        gate = asyncio.Semaphore(OPENED_AT_ONCE)

        async def watch(number: int) -> None:
            async with gate:
                query = f"watch=1&resourceVersion=0&fieldSelector=metadata.name%3Dnone-{number}"
                watcher = await target.watcher(f"{MAPS}?{query}", lambda _: None)
                stack.callback(watcher.close)

        await asyncio.gather(*(watch(number) for number in range(WATCHES)))
        memory_mb = (_served_bytes(running) - before) / 1e6
        began_s = everything.cpu_s()
        await asyncio.sleep(IDLE_S)
        return memory_mb, max(0.0, everything.cpu_s() - began_s - idle_s) / IDLE_S


async def _beside_listers(
    running: BenchCluster, target: Target
) -> tuple[list[tuple[str, float]], list[tuple[str, str, str]]]:
    """Return the p99 of gets and creates in milliseconds while another process lists everything; and what the API
    servers' loops were kept from their work by, and how much of it is asked at most.
    """
    async with AsyncExitStack() as stack:
        callers = [await target.caller() for _ in range(CONNECTIONS)]
        for caller in callers:
            stack.callback(caller.close)
        await timed(callers, (target.request("POST", PATH, orjson.dumps(pod(number))) for number in range(PODS)))
        # In a process of their own: what they take in would keep the loop that measures from its clock.
        listing = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.crowds", str(running.kubeconfig))
        try:
            client = await stack.enter_async_context(ApiClient(load(running.kubeconfig)))
            before = await scraping.pages(running, client, (_SERVERS,))
            getter, creator = callers[:2]
            gets, creates = await asyncio.gather(
                _paced(getter.call, lambda number: target.request("GET", f"{PATH}/pod-{number % PODS}")),
                _paced(creator.call, lambda number: target.request("POST", PATH, orjson.dumps(pod(PODS + number)))),
            )
            if listing.returncode is not None:
                raise RuntimeError("the listers ended")
            pauses = _pauses(before, await scraping.pages(running, client, (_SERVERS,)))
        finally:
            with contextlib.suppress(ProcessLookupError):
                listing.kill()
            await listing.wait()
    return [("get", quantile(gets, 0.99) * 1e3), ("create", quantile(creates, 0.99) * 1e3)], pauses


def _pauses(before: list[str], after: list[str]) -> list[tuple[str, str, str]]:
    rows = []
    for name, metric, asked in _PAUSES:
        bound = scraping.largest(*(scraping.buckets(texts, metric) for texts in (before, after)))
        rows.append((name, "none" if bound is None else f"≤ {bound * 1e3:g}", asked))
    return rows


async def _list(kubeconfig: str) -> None:
    """List everything again and again on many connections, beside one that reads slowly."""
    target = Target(load(kubeconfig))
    whole = target.request("GET", PATH)
    async with asyncio.TaskGroup() as group:
        for _ in range(LISTERS):
            group.create_task(_forever((await target.caller()).call, whole))
        group.create_task(_read_slowly(target))


async def _forever(call: Callable[[bytes], Awaitable[object]], request: bytes) -> None:
    while True:
        await call(request)


async def _paced(call: Callable[[bytes], Awaitable[object]], form: Callable[[int], bytes]) -> list[float]:
    """Return the seconds of requests that are sent at a steady pace, one at a time, sorted."""
    loop, times = asyncio.get_running_loop(), []
    ends = loop.time() + BUSY_S
    while (began := loop.time()) < ends:
        await call(form(len(times)))
        times.append(loop.time() - began)
        await asyncio.sleep(max(0.0, began + EVERY_S - loop.time()))
    return sorted(times)


async def _read_slowly(target: Target) -> None:
    """Ask for everything and take it in 16 KiB at a time, twenty times a second."""
    reader, writer = await target.streams()
    try:
        writer.write(target.request("GET", PATH))
        while await reader.read(SLOW_BYTES):  # noqa: ASYNC110 - it is the reader that is slow
            await asyncio.sleep(SLOW_S)
    finally:
        writer.transport.abort()


if __name__ == "__main__":
    uvloop.run(_list(sys.argv[1]))
