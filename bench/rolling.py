"""Requests that fail while their Deployment is rolled over, scaled and thinned out under load: there should be none.

Two nodes with agents and Service proxies of their own; docs/examples/rolling.yaml says what a pod has to do for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop
import yaml

from bench.clusters import cluster
from bench.report import quantile, table
from bench.traffic import Address, Traffic
from oarlock.cluster.client.http import STRATEGIC_PATCH, ApiClient
from oarlock.cluster.client.kubeconfig import load

Object = dict[str, Any]

MANIFEST = Path(__file__).parent.parent / "docs" / "examples" / "rolling.yaml"
DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/rolling"
PODS = "/api/v1/namespaces/default/pods"
SERVICE = "/api/v1/namespaces/default/services/rolling"
CLIENTS, LIMIT_S = 16, 120.0
RESTARTS = 3
ENDING_S = 10
_OURS = {"labelSelector": "app=rolling"}


def measure(*, quick: bool = False) -> str:
    """Return the table: what was done under load, how many requests came meanwhile and how many failed."""
    with cluster("--port", "0", "--servers", "1", "--api-servers", "1", "--nodes", "2") as running:
        return uvloop.run(_measure(running.kubeconfig, 1 if quick else RESTARTS))


async def _measure(kubeconfig: Path, restarts: int) -> str:
    head = ("under load", "s", "requests", "failed", "p50 ms", "p99 ms", "pods that answered")
    async with ApiClient(load(kubeconfig)) as client:
        addresses = await begin(client)
        steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            (f"rollout restart, {restarts} times", lambda: _times(restarts, lambda: restart(client))),
            ("a new template, and back in its middle", lambda: back_and_forth(client)),
            ("3 → 5 → 2 replicas", lambda: _scales(client, 5, 2)),
            (f"pods given {ENDING_S} s to end, and all deleted at once", lambda: _all_at_once(client)),
            ("2 → 1 replicas, and the only pod deleted", lambda: _only_one(client)),
        ]
        rows = [await _under_load(addresses, what, step) for what, step in steps]
    return table(head, rows)


async def _under_load(addresses: list[Address], what: str, step: Callable[[], Awaitable[None]]) -> tuple[object, ...]:
    traffic = Traffic(addresses, CLIENTS)
    began = time.monotonic()
    async with traffic.flowing():
        await step()
    for failure in traffic.failures[:10]:
        print(f"{what}: {failure}", flush=True)
    times_s = sorted(traffic.times_s)
    p50_ms, p99_ms = quantile(times_s, 0.5) * 1e3, quantile(times_s, 0.99) * 1e3
    elapsed_s = time.monotonic() - began
    return what, elapsed_s, len(times_s), len(traffic.failures), p50_ms, p99_ms, len(traffic.served_by)


async def begin(client: ApiClient) -> list[Address]:
    """Create the example, wait until every node's proxy answers, and return all addresses of the Service."""
    for body in yaml.safe_load_all(MANIFEST.read_text()):
        path = SERVICE if body["kind"] == "Service" else DEPLOYMENT
        await client.create(path.rpartition("/")[0], body)
    await settled(client, 3)
    service = (await client.get(SERVICE))["spec"]
    nodes = (await client.list("/api/v1/nodes"))["items"]
    (port,) = service["ports"]
    found = [(service["clusterIP"], port["port"])]
    for node in nodes:
        address = next(one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP")
        found.append((address, port["nodePort"]))
    await asyncio.gather(*(_answers(*address) for address in found))
    return found


async def settled(client: ApiClient, replicas: int) -> None:
    """Return once the newest template alone runs, with so many pods available and no other left."""

    async def holds() -> bool:
        deployment = await client.get(DEPLOYMENT)
        status = deployment.get("status") or {}
        seen = status.get("observedGeneration") == deployment["metadata"]["generation"]
        counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
        return seen and counts == [replicas] * 3 and len((await client.list(PODS, _OURS))["items"]) == replicas

    async with asyncio.timeout(LIMIT_S):
        while not await holds():  # noqa: ASYNC110 - the API is asked as a user would
            await asyncio.sleep(0.2)


async def restart(client: ApiClient) -> None:
    """Do what `kubectl rollout restart` does, and wait until it is over."""
    await _template(client, {"metadata": {"annotations": {"restarted": str(time.time_ns())}}})
    await settled(client, await _replicas(client))


async def back_and_forth(client: ApiClient) -> None:
    """Set another template, go back to the first while the rollout is under way, and wait until all is over."""
    replicas = await _replicas(client)
    before = (await client.get(DEPLOYMENT))["spec"]["template"]
    environment = {"name": "web", "env": [{"name": "GREETING", "value": "hello"}]}
    await _template(client, {"spec": {"containers": [environment]}})
    async with asyncio.timeout(LIMIT_S):
        while (await client.get(DEPLOYMENT))["status"].get("updatedReplicas", 0) != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    put_back = [{"op": "replace", "path": "/spec/template", "value": before}]
    await client.patch(DEPLOYMENT, put_back, "application/json-patch+json")
    await settled(client, replicas)


async def scale(client: ApiClient, replicas: int) -> None:
    """Do what `kubectl scale` does, and wait until it is over."""
    await client.patch(f"{DEPLOYMENT}/scale", {"spec": {"replicas": replicas}})
    await settled(client, replicas)


async def delete_all(client: ApiClient) -> None:
    """Delete every pod: until their successors are ready, they alone serve while they end."""
    pods = [pod["metadata"]["name"] for pod in (await client.list(PODS, _OURS))["items"]]
    await asyncio.gather(*(client.delete(f"{PODS}/{name}") for name in pods))
    await settled(client, len(pods))


async def _template(client: ApiClient, change: Object) -> None:
    await client.patch(DEPLOYMENT, {"spec": {"template": change}}, STRATEGIC_PATCH)


async def _replicas(client: ApiClient) -> int:
    return int((await client.get(DEPLOYMENT))["spec"]["replicas"])


async def _times(count: int, step: Callable[[], Awaitable[None]]) -> None:
    for _ in range(count):
        await step()


async def _scales(client: ApiClient, *sizes: int) -> None:
    for replicas in sizes:
        await scale(client, replicas)


async def _all_at_once(client: ApiClient) -> None:
    hook = {"preStop": {"sleep": {"seconds": ENDING_S}}}
    await _template(client, {"spec": {"containers": [{"name": "web", "lifecycle": hook}]}})
    await settled(client, await _replicas(client))
    await delete_all(client)


async def _only_one(client: ApiClient) -> None:
    await scale(client, 1)
    await delete_all(client)


async def _answers(host: str, port: int) -> None:
    """Return once somebody listens there: a proxy follows the API a moment later."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
