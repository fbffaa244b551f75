"""The API through the balancer: writes, reads, lists and watches of pods, against the highly available cluster.

The same work as upstream's figures in `UPSTREAM`, which were taken on two cores shared with the load generator, with
TLS through HAProxy, three etcd 3.6 members, two kube-apiservers, 32 connections and pods of 1.3 KB.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import uvloop

from bench.clusters import BenchCluster, cluster
from bench.http_client import MERGE, Caller, Target, timed
from bench.meters import Meters, Row
from bench.readers import reading
from bench.report import quantile, table
from oarlock.cluster.boot import control
from oarlock.cluster.client.kubeconfig import load

CONNECTIONS = 32
PODS = 4_000
HALF = PODS // 2
GETS = 12_000
LISTS = 20
WATCHERS, EVENTS = 200, 300
PAGE = 500
RECOVER_S = 60.0
PATH = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
UPSTREAM = {
    "create": (650, None),
    "get": (2_700, None),
    "merge patch": (525, None),
    "apply": (1_000, None),
    "delete": (415, None),
    f"list of {PODS:,}": (None, 150),
    f"list of {PAGE}": (None, 18),
    f"watch, {WATCHERS} watchers, {EVENTS} events": (26_000, 17),
}
"""Operations per second, and the milliseconds of a list (p50) or a delivery (p99)."""
_APPLY = "application/apply-patch+yaml"


def measure() -> str:
    with cluster("--port", "0", "--nodes", "0") as running:
        meters = Meters(running)
        rows, sizes = uvloop.run(_measure(running, meters))
        servers = [size for name, size in running.pss_bytes().items() if name.startswith("apiserver")]
        again_s = ready_s(running)
    head = ("operation", "/s", "p50 ms", "p99 ms", "CPU µs", "upstream /s", "upstream ms")
    return (
        f"{CONNECTIONS} connections, load generator on the same cores; CPU of all processes of the cluster, the load "
        f"generator apart. Lists of {sizes} KB a pod. A list's upstream figure is its p50, a delivery's its p99.\n\n"
        f"{table(head, rows)}\n\nWhere the CPU µs of each go:\n\n"
        f"{table(('operation', *Meters.head), meters.rows)}\n\n"
        f"The two API servers after that: {sum(servers) / 2**20:.0f} MiB (upstream 1,100 MB). "
        f"An API server that was killed is ready again after {again_s:.2f} s, {HALF:,} pods in the store (upstream 3 s "
        "from its start)."
    )


async def _measure(running: BenchCluster, meters: Meters) -> tuple[list[Row], str]:
    target = Target(load(running.kubeconfig))
    async with connected(target, CONNECTIONS) as callers, connected(target, 1) as one:

        async def row(name: str, connections: list[Caller], requests: Iterator[bytes], count: int) -> Row:
            before = meters.read()
            times, elapsed_s = await timed(connections, requests)
            cpu_us = meters.took(name, before, count)
            p50_ms, p99_ms = quantile(times, 0.5) * 1e3, quantile(times, 0.99) * 1e3
            return _row(name, count / elapsed_s, p50_ms, p99_ms, cpu_us)

        def pods(form: Callable[[int], bytes], count: int = PODS) -> Iterator[bytes]:
            return (form(number) for number in range(count))

        rows = [
            await row("create", callers, pods(lambda n: target.request("POST", PATH, orjson.dumps(pod(n)))), PODS),
            await row("get", callers, pods(lambda n: target.request("GET", f"{PATH}/pod-{n % PODS}"), GETS), GETS),
            await row("merge patch", callers, pods(lambda n: _patched(target, n)), PODS),
            await row("apply", callers, pods(lambda n: applied(target, n)), PODS),
        ]
        body = await one[0].call(target.request("GET", PATH))
        whole, page = target.request("GET", PATH), target.request("GET", f"{PATH}?limit={PAGE}")
        rows += [
            await row(f"list of {PODS:,}", one, iter([whole] * LISTS), LISTS),
            await row(f"list of {PAGE}", one, iter([page] * LISTS), LISTS),
            await _fan_out(meters, target, one[0], running.kubeconfig),
            await row("delete", callers, pods(lambda n: target.request("DELETE", f"{PATH}/pod-{n}"), HALF), HALF),
        ]
    return rows, f"{len(body) / PODS / 1e3:.2f}"


def _row(name: str, per_second: float, p50_ms: float, p99_ms: float, cpu_us: float) -> Row:
    beaten = tuple("" if figure is None else figure for figure in UPSTREAM[name])
    return (name, per_second, p50_ms, p99_ms, cpu_us, *beaten)


@asynccontextmanager
async def connected(target: Target, count: int) -> AsyncIterator[list[Caller]]:
    callers = [await target.caller() for _ in range(count)]
    try:
        yield callers
    finally:
        for caller in callers:
            caller.close()


def pod(number: int) -> dict[str, Any]:
    """Return a pod of about 1.3 KB that no node can take: the API is measured, not the scheduler."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{number}",
            "labels": {"app": f"app-{number % 10}"},
            "annotations": {"example.org/filler": "x" * 300},
        },
        "spec": {
            "schedulerName": "none",
            "containers": [
                {"name": "main", "image": "host/sleep", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}
            ],
        },
    }


def _patched(target: Target, number: int) -> bytes:
    change = orjson.dumps({"metadata": {"labels": {"patched": "yes"}}})
    return target.request("PATCH", f"{PATH}/pod-{number}", change, MERGE)


def applied(target: Target, number: int, value: str = "yes") -> bytes:
    """Return the request that applies a label to a pod."""
    name = f"pod-{number}"
    labels = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"applied": value}}}
    return target.request("PATCH", f"{PATH}/{name}?fieldManager=bench", orjson.dumps(labels), _APPLY)


async def _fan_out(meters: Meters, target: Target, caller: Caller, kubeconfig: Path) -> Row:
    """Change one object `EVENTS` times under `WATCHERS` watches; an operation is one delivery."""
    watched = f"{MAPS}/watched"
    first = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "watched"}, "data": {"at": "0"}}
    created = orjson.loads(await caller.call(target.request("POST", MAPS, orjson.dumps(first))))
    query = f"watch=1&fieldSelector=metadata.name%3Dwatched&resourceVersion={created['metadata']['resourceVersion']}"
    name = f"watch, {WATCHERS} watchers, {EVENTS} events"
    async with reading(kubeconfig, f"{MAPS}?{query}", WATCHERS, WATCHERS * EVENTS) as all_delays:
        before, began = meters.read(), time.perf_counter()
        for _ in range(EVENTS):
            change = {"data": {"at": repr(time.time())}}
            await caller.call(target.request("PATCH", watched, orjson.dumps(change), MERGE))
        async with asyncio.timeout(RECOVER_S):
            delays = await all_delays()
        elapsed_s = time.perf_counter() - began
        cpu_us = meters.took(name, before, WATCHERS * EVENTS)
    per_second = WATCHERS * EVENTS / elapsed_s
    p50_ms, p99_ms = quantile(delays, 0.5) * 1e3, quantile(delays, 0.99) * 1e3
    return _row(name, per_second, p50_ms, p99_ms, cpu_us)


def ready_s(running: BenchCluster) -> float:
    """Kill an API server and return the seconds until its successor says that it is ready, as its supervisor hears it.

    The supervisor is listened to, not asked again and again: that would take the CPU that the server starts with.
    """
    changes = control.ask(running.folder.control_socket, "watch", RECOVER_S)
    before = _server(next(changes))["pid"]
    assert before > 1
    began = time.monotonic()
    os.kill(before, signal.SIGKILL)
    for row in map(_server, changes):
        if row["pid"] != before and row["state"] == "ready":
            return time.monotonic() - began
    raise RuntimeError("the supervisor ended")


def _server(answer: control.Answer) -> dict[str, Any]:
    found: dict[str, Any] = next(part for part in answer["parts"] if part["name"] == "apiserver-1")
    return found
