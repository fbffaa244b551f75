"""What the same request costs among few objects and among many: the cost shall follow the answer, not the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import orjson
import uvloop

from bench.api import PATH, pod, ready_s
from bench.clusters import BenchCluster, cluster
from bench.http_client import MERGE, Caller, Target, timed
from bench.meters import Meters, Row
from bench.report import table
from oarlock.cluster.client.kubeconfig import load

SIZES = (1_000, 100_000)
CONNECTIONS = 32
GETS, REQUESTS = 10_000, 4_000
OF_ONE = 10
DOOMED = 1_000
WATCHERS = 100
QUIET_S, QUIET_SHARE, QUIET_LIMIT_S = 1.0, 0.15, 300.0
"""How long no more than this share of a core may be used before anything is measured."""
EVENTS_S = 60.0
PATCH = "patch that one watch sees"
FEW = "/api/v1/namespaces/few/pods"
HELD = {"a store replica": "store", "an API server": "apiserver", "a copy of an actor": "ray::HostActor"}
"""Whose memory is told, by the names of their processes."""


def measure() -> str:
    with cluster("--port", "0", "--nodes", "0") as running:
        costs, held = uvloop.run(_measure(running))
        again_s = ready_s(running)
    head = ("CPU µs", "among pods", "all processes", *Meters.head)
    return (
        f"{WATCHERS} clients watch pods of one field value each, as agents do; each patch is of a pod that one of them "
        f"watches. {DOOMED:,} pods deleted together are chosen by a label in one request.\n\n{table(head, costs)}\n\n"
        f"MiB of each process that holds them:\n\n{table(('pods', *HELD), held)}\n\n"
        f"An API server that was killed among {SIZES[-1]:,} is ready again after {again_s:.1f} s."
    )


async def _measure(running: BenchCluster) -> tuple[list[Row], list[Row]]:
    target, seen = Target(load(running.kubeconfig)), _Seen()
    async with AsyncExitStack() as stack:
        callers = [await target.caller() for _ in range(CONNECTIONS)]
        for caller in callers:
            stack.callback(caller.close)
        await callers[0].call(target.request("POST", "/api/v1/namespaces", b'{"metadata":{"name":"few"}}'))
        await timed(callers, (_created(target, f"few-{number}", "few", FEW) for number in range(OF_ONE)))
        for number in range(WATCHERS):
            query = f"watch=1&resourceVersion=0&fieldSelector=spec.schedulerName%3Dwatched-{number}"
            watcher = await target.watcher(f"/api/v1/pods?{query}", seen.take)
            stack.callback(watcher.close)
        names = [f"watched-{number}" for number in range(WATCHERS)]
        await timed(callers, (_created(target, name, name) for name in names))
        costs, held, there = _Costs(running, target, callers, seen), list[Row](), 0
        for size in SIZES:
            await timed(callers, (_created(target, f"pod-{n}", f"of-{n // OF_ONE}") for n in range(there, size)))
            there = size
            await costs.take(size)
            held.append((size, *(_mib(running, part) for part in HELD.values())))
    return [row for rows in costs.rows.values() for row in rows], held


class _Costs:
    """What requests cost among so many pods, each with the size in one row; pods that they make are gone afterwards."""

    def __init__(self, running: BenchCluster, target: Target, callers: list[Caller], seen: _Seen) -> None:
        self._meters, self._target, self._callers, self._seen = Meters(running), target, callers, seen
        self.rows: dict[str, list[Row]] = {}

    async def take(self, size: int) -> None:
        request, group = self._target.request, f"of-{size // OF_ONE // 2}"
        await self._cost("get", size, GETS, lambda n: request("GET", f"{PATH}/pod-{n * 7919 % size}"))
        lists = {
            "by a field": f"/api/v1/pods?fieldSelector=spec.schedulerName%3D{group}",
            "by a label": f"/api/v1/pods?labelSelector=group%3D{group}",
            "in a namespace": FEW,
        }
        for what, path in lists.items():
            # The index that each server makes for its first such request is no part of what the others cost.
            await self._send(CONNECTIONS, lambda _, path=path: request("GET", path))
            await self._cost(f"list of {OF_ONE} {what}", size, REQUESTS, lambda _, path=path: request("GET", path))
        await self._cost("create", size, REQUESTS, lambda n: _created(self._target, f"new-{n}", f"new-{n // OF_ONE}"))
        await self._cost(PATCH, size, REQUESTS, lambda n: _patched(self._target, n % WATCHERS, f"{size}-{n}"))
        await self._cost("delete", size, REQUESTS, lambda n: request("DELETE", f"{PATH}/new-{n}"))
        await self._send(DOOMED, lambda n: _created(self._target, f"new-{n}", "doomed"))
        together = request("DELETE", f"{PATH}?labelSelector=group%3Ddoomed")
        await self._cost(f"one of {DOOMED:,} deleted together", size, DOOMED, lambda _: together, requests=1)

    async def _cost(
        self, what: str, size: int, count: int, form: Callable[[int], bytes], requests: int | None = None
    ) -> None:
        """Keep what each of `count` takes, which so many requests make."""
        await self._quiet()
        since, seen = self._meters.read(), self._seen.count
        await self._send(requests or count, form)
        if what == PATCH:
            await self._seen.reach(seen + count)
        whole = self._meters.took(what, since, count)
        self.rows.setdefault(what, []).append((what, size, whole, *self._meters.rows[-1][1:]))

    async def _send(self, count: int, form: Callable[[int], bytes]) -> None:
        await timed(self._callers, (form(number) for number in range(count)))

    async def _quiet(self) -> None:
        """Wait until nobody works any more on what came before: it would be taken for a part of what comes next."""
        async with asyncio.timeout(QUIET_LIMIT_S):
            before_s = self._meters.cpu_s()
            while True:
                await asyncio.sleep(QUIET_S)
                now_s = self._meters.cpu_s()
                if now_s - before_s < QUIET_SHARE * QUIET_S:
                    return
                before_s = now_s


class _Seen:
    """Counts the events on all watches."""

    def __init__(self) -> None:
        self.count = self._wanted = 0
        self._reached = asyncio.Event()

    def take(self, data: bytes) -> None:
        self.count += data.count(b'{"type":')
        if self.count >= self._wanted:
            self._reached.set()

    async def reach(self, count: int) -> None:
        """Return once so many have come. Raises TimeoutError."""
        self._wanted = count
        self._reached.clear()
        if self.count < count:
            async with asyncio.timeout(EVENTS_S):
                await self._reached.wait()


def _created(target: Target, name: str, group: str, path: str = PATH) -> bytes:
    made = pod(0)
    made["metadata"] |= {"name": name, "labels": {"group": group}}
    made["spec"]["schedulerName"] = group
    return target.request("POST", path, orjson.dumps(made))


def _patched(target: Target, number: int, value: str) -> bytes:
    change = orjson.dumps({"metadata": {"labels": {"patched": value}}})
    return target.request("PATCH", f"{PATH}/watched-{number}", change, MERGE)


def _mib(running: BenchCluster, part: str) -> float:
    """Return what each of a part's processes holds, on the average."""
    found = [size for name, size in running.pss_bytes().items() if name.startswith(part)]
    return sum(found) / len(found) / 2**20
