"""The API through the balancer: writes, reads, lists and watches of pods, against the highly available cluster."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import uvloop

from bench.clusters import BenchCluster, Processes, cluster
from bench.load import COLUMNS, Result, run
from bench.report import quantile, table
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.kubeconfig import load

IN_FLIGHT = 32
PODS = 2_000
READS = 4_000
LISTS = 20
WATCHERS = 50
EVENTS = 200
PATH = "/api/v1/namespaces/default/pods"


def measure() -> str:
    with cluster("--port", "0", "--nodes", "0") as running:
        return uvloop.run(_measure(running))


async def _measure(running: BenchCluster) -> str:
    everything = running.named("")
    async with ApiClient(load(running.kubeconfig)) as client:
        rows = [
            ("create", *(await run(everything, _create(client), PODS, IN_FLIGHT)).cells()),
            ("get", *(await run(everything, _get(client), READS, IN_FLIGHT)).cells()),
            ("merge patch", *(await run(everything, _patch(client), PODS, IN_FLIGHT)).cells()),
            (f"list of {PODS:,}", *(await run(everything, _list(client), LISTS, 1)).cells()),
            await _fan_out(everything, client),
            ("delete", *(await run(everything, _delete(client), PODS, IN_FLIGHT)).cells()),
        ]
    return f"{IN_FLIGHT} in flight, pods of 1.3 KB, load generator on the same cores.\n\n" + table(
        ("operation", *COLUMNS), rows
    )


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


def _create(client: ApiClient) -> Any:
    return lambda number: client.create(PATH, pod(number))


def _get(client: ApiClient) -> Any:
    return lambda number: client.get(f"{PATH}/pod-{number % PODS}")


def _patch(client: ApiClient) -> Any:
    change = {"metadata": {"labels": {"patched": "yes"}}}
    return lambda number: client.patch(f"{PATH}/pod-{number}", change, "application/merge-patch+json")


def _list(client: ApiClient) -> Any:
    return lambda _: client.list(PATH)


def _delete(client: ApiClient) -> Any:
    return lambda number: client.delete(f"{PATH}/pod-{number}")


async def _fan_out(processes: Processes, client: ApiClient) -> tuple[object, ...]:
    """Change one object `EVENTS` times under `WATCHERS` watches; an operation is one delivery."""
    path = "/api/v1/namespaces/default/configmaps"
    name = "watched"
    created = await client.create(path, {"metadata": {"name": name}, "data": {"at": "0"}})
    revision = created["metadata"]["resourceVersion"]
    delays: list[float] = []

    async def watch() -> None:
        selector = {"fieldSelector": f"metadata.name={name}", "resourceVersion": revision}
        seen = 0
        async for event in client.watch(path, selector):
            if event["type"] == "MODIFIED":
                delays.append(time.time() - float(event["object"]["data"]["at"]))
                seen += 1
                if seen == EVENTS:
                    return

    watches = [asyncio.create_task(watch()) for _ in range(WATCHERS)]
    cpu_before_s, began = processes.cpu_s(), time.perf_counter()
    for _ in range(EVENTS):
        change = {"data": {"at": repr(time.time())}}
        await client.patch(f"{path}/{name}", change, "application/merge-patch+json")
    async with asyncio.timeout(60):
        await asyncio.gather(*watches)
    seconds, cpu_s = time.perf_counter() - began, processes.cpu_s() - cpu_before_s
    delays.sort()
    deliveries = len(delays)
    result = Result(
        deliveries, seconds, quantile(delays, 0.5) * 1e3, quantile(delays, 0.99) * 1e3, cpu_s / deliveries * 1e6
    )
    return (f"watch, {WATCHERS} watchers", *result.cells())
