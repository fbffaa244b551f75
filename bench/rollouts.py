"""What a Deployment costs and how soon it runs: created → its pod bound, writes until it is available, many at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import uvloop

from bench import scraping
from bench.clusters import BenchCluster, cluster
from bench.report import quantile, table
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.kubeconfig import load

SINGLES, MANY, REPLICAS = 40, 1000, 3
MANY_NODES = 40
IN_FLIGHT = 32
SETTLE_S, LIMIT_S = 1.0, 300.0
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
_CONTROLLERS = "kube-controller-manager"
_WRITES = "oarlock_controller_writes_total"


def measure() -> str:
    with cluster("--port", "0", "--hollow", "10", "--nodes", "0") as running:
        rows = uvloop.run(_one_by_one(running))
    with cluster("--port", "0", "--hollow", str(MANY_NODES), "--nodes", "0") as running:
        rows += uvloop.run(_at_once(running))
    return table(("", "p50", "p99 or total"), rows)


async def _one_by_one(running: BenchCluster) -> list[tuple[str, float, float]]:
    async with ApiClient(load(running.kubeconfig)) as client:
        bound = sorted([await _bound_s(client, f"one-{number}") for number in range(SINGLES)])
        writes = sorted([await _writes(running, client, number) for number in range(10)])
    return [
        (
            "Deployment created → its pod bound, idle cluster, ms",
            quantile(bound, 0.5) * 1e3,
            quantile(bound, 0.99) * 1e3,
        ),
        (
            f"controllers' writes, {REPLICAS} pods, created → available (Events apart)",
            quantile(writes, 0.5),
            writes[-1],
        ),
    ]


async def _at_once(running: BenchCluster) -> list[tuple[str, float, float]]:
    async with ApiClient(load(running.kubeconfig)) as client:
        many_s, many_writes = await _many(running, client)
    return [
        (f"the same for {MANY:,} at once, for each", many_writes, many_writes * MANY),
        (f"{MANY:,} at once: Deployments/s; until all are available, s", MANY / many_s, many_s),
    ]


def _deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    spec = {"containers": [{"name": "main", "image": "host/sleep"}]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": body}


async def _bound_s(client: ApiClient, name: str) -> float:
    """Return the seconds from sending a Deployment of one pod until its pod is seen to be bound."""
    page = await client.get(PODS, {"limit": "1"})
    since = {"labelSelector": f"app={name}", "resourceVersion": page["metadata"]["resourceVersion"]}

    async def bound_at() -> float:
        async for event in client.watch(PODS, since):
            if event["object"].get("spec", {}).get("nodeName"):
                return time.monotonic()
        raise TimeoutError("the watch ended before the pod was bound")

    async with asyncio.timeout(LIMIT_S):
        watching = asyncio.create_task(bound_at())
        await asyncio.sleep(SETTLE_S / 2)  # the watch is open by then, and what the one before left behind is over
        await client.get("/version")  # the watch has taken the connection that was open: no handshake is measured
        began = time.monotonic()
        await client.create(DEPLOYMENTS, _deployment(name, 1))
        return await watching - began


async def _writes(running: BenchCluster, client: ApiClient, number: int) -> float:
    """Return the controllers' writes for one Deployment, all that follow its becoming available included."""
    before = await _written(running, client)
    name = f"three-{number}"
    await client.create(DEPLOYMENTS, _deployment(name, REPLICAS))
    await _available(client, [name])
    after = await _settled(running, client)
    return after - before


async def _many(running: BenchCluster, client: ApiClient) -> tuple[float, float]:
    """Return the seconds until many Deployments are available, and the writes that each cost."""
    before = await _written(running, client)
    names = [f"many-{number}" for number in range(MANY)]
    began = time.monotonic()
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def create(name: str) -> None:
        async with gate:
            await client.create(DEPLOYMENTS, _deployment(name, REPLICAS))

    await asyncio.gather(*map(create, names))
    await _available(client, names)
    elapsed_s = time.monotonic() - began
    return elapsed_s, (await _settled(running, client) - before) / MANY


async def _available(client: ApiClient, names: list[str]) -> None:
    wanted = set(names)
    async with asyncio.timeout(LIMIT_S):
        while True:
            page = await client.list(DEPLOYMENTS)
            done = {
                one["metadata"]["name"]
                for one in page["items"]
                if one.get("status", {}).get("availableReplicas", 0) == REPLICAS
            }
            if wanted <= done:
                return
            await asyncio.sleep(SETTLE_S / 10)


async def _settled(running: BenchCluster, client: ApiClient) -> float:
    """Return the count of writes once it stands still."""
    last = await _written(running, client)
    while True:
        await asyncio.sleep(SETTLE_S)
        now = await _written(running, client)
        if now == last:
            return now
        last = now


async def _written(running: BenchCluster, client: ApiClient) -> float:
    """Return the writes of all controllers so far, as their metrics tell."""
    return scraping.total(await scraping.pages(running, client, (_CONTROLLERS,)), _WRITES)
