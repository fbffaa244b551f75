"""What the same request costs among few objects and among many: the cost shall follow the answer, not the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import orjson
import uvloop

from bench.api import PATH, pod
from bench.clusters import Processes, cluster
from bench.http_client import Caller, Target, timed
from bench.report import table
from oarlock.cluster.client.kubeconfig import load

SIZES = (1_000, 100_000)
CONNECTIONS = 32
REQUESTS, LISTS = 2_000, 2_000
OF_ONE = 10
WATCHERS = 100
QUIET_S, QUIET_SHARE, QUIET_LIMIT_S = 2.0, 0.12, 300.0
"""How long no more than this share of a core may be used before anything is measured."""
Row = list[object]


def measure() -> str:
    with cluster("--port", "0", "--nodes", "0") as running:
        everything, target = running.named(""), Target(load(running.kubeconfig))
        columns = uvloop.run(_measure(everything, target))
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    head = ("CPU µs of all processes", *(f"among {size:,} pods" for size in SIZES))
    return f"{WATCHERS} clients watch pods of one field value each, as agents do.\n\n{table(head, rows)}"


async def _measure(everything: Processes, target: Target) -> list[dict[str, float]]:
    async with AsyncExitStack() as stack:
        callers = [await target.caller() for _ in range(CONNECTIONS)]
        for caller in callers:
            stack.callback(caller.close)
        for number in range(WATCHERS):
            query = f"watch=1&resourceVersion=0&fieldSelector=spec.schedulerName%3Dwatched-{number}"
            watcher = await target.watcher(f"/api/v1/pods?{query}", lambda _: None)
            stack.callback(watcher.close)
        there, columns = 0, []
        for size in SIZES:
            await timed(callers, (_created(target, number) for number in range(there, size)))
            await _quiet(everything)
            columns.append(await _costs(everything, target, callers, size))
            there = size + REQUESTS + 1
        return columns


async def _quiet(everything: Processes) -> None:
    """Wait until nobody works any more on what was created: it would be taken for a part of what comes next."""
    async with asyncio.timeout(QUIET_LIMIT_S):
        before_s = everything.cpu_s()
        while True:
            await asyncio.sleep(QUIET_S)
            now_s = everything.cpu_s()
            if now_s - before_s < QUIET_SHARE * QUIET_S:
                return
            before_s = now_s


async def _costs(everything: Processes, target: Target, callers: list[Caller], size: int) -> dict[str, float]:
    async def cost(form: Callable[[int], bytes], count: int) -> float:
        before_s = everything.cpu_s()
        await timed(callers, _many(form, count))
        return (everything.cpu_s() - before_s) / count * 1e6

    def listed(selector: str) -> Callable[[int], bytes]:
        return lambda _: target.request("GET", f"/api/v1/pods?{selector}")

    group = size // OF_ONE // 2
    selectors = {
        "field": f"fieldSelector=spec.schedulerName%3Dof-{group}",
        "label": f"labelSelector=group%3Dgroup-{group}",
    }
    for selector in selectors.values():
        # The index that each server makes for its first such request is no part of what the others cost.
        await timed(callers, _many(listed(selector), CONNECTIONS))
    lists = {f"list of {OF_ONE} by a {name}": await cost(listed(one), LISTS) for name, one in selectors.items()}
    return {
        "get": await cost(lambda number: target.request("GET", f"{PATH}/pod-{number * 7919 % size}"), REQUESTS),
        **lists,
        "create": await cost(lambda number: _created(target, size + number), REQUESTS),
    }


def _many(form: Callable[[int], bytes], count: int) -> Iterator[bytes]:
    return (form(number) for number in range(1, count + 1))


def _created(target: Target, number: int) -> bytes:
    made: dict[str, Any] = pod(number)
    made["spec"]["schedulerName"] = f"of-{number // OF_ONE}"
    made["metadata"]["labels"]["group"] = f"group-{number // OF_ONE}"
    return target.request("POST", PATH, orjson.dumps(made))
