"""How long users notice the death of a part: the next acknowledged write, the next bound pod."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from bench.api import PATH
from bench.clusters import BenchCluster, cluster, wait_until
from bench.report import quantile, table
from oarlock.actors.shell import ray_remains
from oarlock.actors.shell.ray_processes import MARK
from oarlock.cluster.boot.layout import RAY_POSITIONS
from oarlock.cluster.boot.processes import SUPERVISOR, leftovers, start_ticks
from oarlock.cluster.boot.status import Row, gather
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.kubeconfig import load
from oarlock.cluster.client.leases import LEASES_PATH
from oarlock.cluster.objects.status import ApiError

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
TRIALS = 10
RECOVER_S = 60.0
RAY_NODES = ("ray-1", "ray-2")
_SPEC = {"containers": [{"name": "main", "image": "host/sleep"}]}


def measure() -> str:
    with cluster("--port", "0", "--hollow", "2", "--nodes", "0") as running:
        rows = [
            ("store leader", "next acknowledged write", *_trials(running, "store", _next_write)),
            ("API server", "next acknowledged write", *_trials(running, "apiserver", _next_write)),
            ("active scheduler", "next pod bound", *_trials(running, "scheduler", _next_bound)),
            ("active controllers", "next Deployment's pod bound", *_trials(running, "controllers", _next_rolled_out)),
            *_ray_head_rows(running),
        ]
    head = ("kill -9 of the", "until the", "p50 s", "max s", "trials")
    return table(head, rows)


def _trials(
    running: BenchCluster, kind: str, measured: Callable[[ApiClient, int], Awaitable[float]]
) -> tuple[float, float, int]:
    times = []
    for number in range(TRIALS):
        victim = _victim(running, kind)
        times.append(uvloop.run(_trial(running, victim.pid, number, measured)))
    times.sort()
    return quantile(times, 0.5), times[-1], TRIALS


async def _trial(
    running: BenchCluster, pid: int, number: int, measured: Callable[[ApiClient, int], Awaitable[float]]
) -> float:
    async with ApiClient(load(running.kubeconfig)) as client:
        await client.get("/version")
        os.kill(pid, 9)
        return await measured(client, number)


def _ray_head_rows(running: BenchCluster) -> list[tuple[object, ...]]:
    """Kill the node of Ray's head with all that belongs to it, again and again, as if its host had died."""
    took = [_ray_head_trial(running) for _ in range(TRIALS)]
    what = ("the lease is another node's", "its actors run there")
    return [
        ("Ray head's node", until, quantile(times, 0.5), times[-1], TRIALS)
        for until, times in zip(what, (sorted(one) for one in zip(*took, strict=True)), strict=True)
    ]


def _ray_head_trial(running: BenchCluster) -> tuple[float, float]:
    """Return the seconds until another node holds the lease, and until it hosts what the dead one did."""
    head = _victim(running, "ray")
    number = RAY_NODES.index(head.name)
    front = next(row.pid for row in gather(running.folder, running.name) if row.name == f"state-{number + 1}")
    supervisor = leftovers(running.folder.processes_file)[SUPERVISOR]
    os.kill(supervisor, signal.SIGSTOP)  # it would bring the node back
    try:
        return uvloop.run(_without(running, head, front))
    finally:
        os.kill(supervisor, signal.SIGCONT)


async def _without(running: BenchCluster, head: Row, front: int) -> tuple[float, float]:
    position = RAY_POSITIONS[RAY_NODES.index(head.name)]
    folder = str(running.folder.runtime / position)
    async with ApiClient(load(running.kubeconfig)) as client:
        lost = {name: pid for name, pid in (await _copies(client)).items() if name[-1] == position}
        began = time.monotonic()
        for pid in (head.pid, front, *ray_remains.processes(MARK, folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        passed = await _seconds(began, lambda: _passed_on(client, head.name))
        return passed, await _seconds(began, lambda: _are_replaced(client, lost))


async def _seconds(began: float, condition: Callable[[], Awaitable[bool]]) -> float:
    async with asyncio.timeout(RECOVER_S):
        while not await condition():  # noqa: ASYNC110 - what is asked tells nobody when it changes
            await asyncio.sleep(0.01)
    return time.monotonic() - began


async def _passed_on(client: ApiClient, head: str) -> bool:
    with contextlib.suppress(ApiError, Unreachable):
        holder = str((await client.get(f"{LEASES_PATH}/gcs"))["holder"])
        return bool(holder) and not holder.startswith(f"{head}/")
    return False


async def _are_replaced(client: ApiClient, lost: dict[str, int]) -> bool:
    now = await _copies(client)
    return all(now.get(name, pid) != pid for name, pid in lost.items())


async def _copies(client: ApiClient) -> dict[str, int]:
    """Return the process of each copy of a component, as it has registered itself."""
    targets: Any = await client.get("/oarlock/v1/targets")
    named = {target["labels"]["instance_name"]: int(target["labels"].get("pid", 0)) for target in targets}
    return {name: pid for name, pid in named.items() if name.endswith(tuple(f"-{one}" for one in RAY_POSITIONS))}


def _victim(running: BenchCluster, kind: str) -> Row:
    """Return a part to kill, out of a picture in which all parts are well: its process id is that of a live one."""
    rows: list[Row] = []

    def is_healthy() -> bool:
        rows[:] = gather(running.folder, running.name)
        return _healthy(rows)

    wait_until(RECOVER_S, is_healthy)
    victim = next(row for row in rows if _is_victim(row, kind))
    assert victim.pid > 1, "to signal process 0 would end this process's own group"
    return victim


def _is_victim(row: Row, kind: str) -> bool:
    if kind in ("scheduler", "controllers"):
        return row.kind == "actor" and row.active and row.name.startswith(kind)
    return row.kind == kind and (row.active or kind == "apiserver")


def _healthy(rows: list[Row]) -> bool:
    """Whether all parts are ready and their processes live: the supervisor may not have noticed a death yet."""
    actors = [row for row in rows if row.kind == "actor"]
    live = all(row.state == "ready" and start_ticks(row.pid) for row in rows)
    return live and len(actors) == 4 and sum(row.active for row in actors) == 2


async def _next_write(client: ApiClient, number: int) -> float:
    """Write again and again until one write is acknowledged; return the seconds."""
    began = time.monotonic()
    for attempt in range(100_000):
        name = f"write-{number}-{time.time_ns()}-{attempt}"
        try:
            await client.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": name}})
        except (ApiError, Unreachable):
            await asyncio.sleep(0.005)  # the pace of a client that tries again
            continue
        return time.monotonic() - began
    raise TimeoutError("no write was acknowledged")


async def _next_bound(client: ApiClient, number: int) -> float:
    """Create a pod and return the seconds until it is bound."""
    name = f"bound-{number}-{time.time_ns()}"
    began = time.monotonic()
    created = await client.create(PATH, {"metadata": {"name": name}, "spec": _SPEC})
    return await _bound_s(client, created, {"fieldSelector": f"metadata.name={name}"}, began)


async def _next_rolled_out(client: ApiClient, number: int) -> float:
    """Create a Deployment and return the seconds until its pod is bound."""
    name = f"rolled-{number}-{time.time_ns()}"
    labels = {"app": name}
    body = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": _SPEC}}
    began = time.monotonic()
    created = await client.create(DEPLOYMENTS, {"metadata": {"name": name}, "spec": body})
    return await _bound_s(client, created, {"labelSelector": f"app={name}"}, began)


async def _bound_s(client: ApiClient, created: dict[str, Any], chosen: dict[str, str], began: float) -> float:
    selector = {**chosen, "resourceVersion": created["metadata"]["resourceVersion"]}
    async with asyncio.timeout(RECOVER_S):
        async for event in client.watch(PATH, selector):
            if event["object"].get("spec", {}).get("nodeName"):
                return time.monotonic() - began
    raise TimeoutError("the pod was not bound")
