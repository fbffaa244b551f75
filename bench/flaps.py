"""Whether anything changes hands while other work wants every core: whatever does, flaps, for nothing fails here.

Twice as many busy processes as cores run beside a whole highly available cluster, at the same priority, while a light
load of writes goes on and pods come and go.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvloop

from bench import scraping
from bench.clusters import BenchCluster, cluster
from bench.report import quantile, table
from bench.saturation import BUSY_PER_CORE, busy_processes
from bench.trios import cpu_s
from oarlock.cluster.boot.roles import store_client
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.kubeconfig import load
from oarlock.cluster.client.leases import LEASES_PATH
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.client import StoreClient

SECONDS, QUICK_SECONDS = 600.0, 20.0
LEASES = ("kube-scheduler", "kube-controller-manager", "gcs")
WRITERS, PAUSE_S = 4, 0.25
RENEWAL_INTERVAL_S = 0.67
"""How often a holder renews with the default time to live."""
READY_S = 90.0
MAPS, DEPLOYMENTS = "/api/v1/namespaces/default/configmaps", "/apis/apps/v1/namespaces/default/deployments"
_RENEWALS = "oarlock_lease_renewal_seconds"


@dataclass
class Seen:
    """What was seen to change, by its name; how long requests took; how many writes failed."""

    changes: Counter[str] = field(default_factory=Counter[str])
    renewals_s: list[float] = field(default_factory=list[float])
    writes: int = 0
    refused: int = 0


def measure(*, quick: bool = False) -> str:
    seconds = QUICK_SECONDS if quick else SECONDS
    with cluster("--port", "0", "--hollow", "2", "--nodes", "0", name="flaps") as running:
        return uvloop.run(_measure(running, seconds))


async def _measure(running: BenchCluster, seconds: float) -> str:
    seen = Seen()
    busy_count = BUSY_PER_CORE * (os.cpu_count() or 1)
    async with ApiClient(load(running.kubeconfig)) as client, _store(running) as store:
        await _ready(client)
        before = await scraping.pages(running, client, ("",))
        term = await _term(store)
        load_before = os.getloadavg()[0]
        with busy_processes(busy_count) as busy:
            began = time.monotonic()
            await _watched(client, seen, began + seconds)
            cores = sum(cpu_s(pid) for pid in busy) / (time.monotonic() - began)
            seen.changes["store leader"] = await _term(store) - term
        after = await scraping.pages(running, client, ("",))
    names = (*LEASES, "node not ready", "store leader")
    seen.renewals_s.sort()
    rows = [(name, seen.changes[name], _slowest(before, after, name)) for name in names]
    times = (quantile(seen.renewals_s, share) * 1e3 for share in (0.5, 0.99, 1.0))
    head = ("minutes", "writes", "not acknowledged", "renewals", "p50 ms", "p99 ms", "max ms", "cores kept busy")
    row = (seconds / 60, seen.writes, seen.refused, len(seen.renewals_s), *times, cores)
    return (
        f"A whole cluster beside {busy_count} busy processes (load before: {load_before:.1f}); {WRITERS} writers pause "
        f"{PAUSE_S * 1e3:.0f} ms after each write, a Deployment is scaled up and down.\n\n"
        f"{table(('what', 'changes without a fault', 'its slowest renewal s'), rows)}\n\n"
        f"Renewals of a lease of the benchmark's own, and writes:\n\n{table(head, [row])}"
    )


async def _watched(client: ApiClient, seen: Seen, until: float) -> None:
    """Load the cluster and look at all that may change hands, until it is time."""
    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(_follow_lease(client, name, seen)) for name in LEASES]
        watching.append(group.create_task(_follow_nodes(client, seen)))
        working = [group.create_task(_write(client, number, seen, until)) for number in range(WRITERS)]
        working.append(group.create_task(_scale(client, seen, until)))
        working.append(group.create_task(_renew(client, seen, until)))
        await asyncio.wait(working)
        for task in watching:
            task.cancel()


async def _follow_lease(client: ApiClient, name: str, seen: Seen) -> None:
    """Count terms that begin after the present one."""
    epoch = 0
    async for line in _again(lambda: client.lines(f"{LEASES_PATH}/{name}", {"watch": "1"})):
        state = orjson.loads(line)
        if state["type"] == "HELD":
            seen.changes[name] += bool(epoch) and state["epoch"] != epoch
            epoch = state["epoch"]


async def _follow_nodes(client: ApiClient, seen: Seen) -> None:
    """Count each time that a node ceases to be ready."""
    ready: dict[str, bool] = {}
    async for line in _again(lambda: client.lines("/api/v1/nodes", {"watch": "1"})):
        node = orjson.loads(line)["object"]
        conditions = node.get("status", {}).get("conditions", ())
        now = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
        seen.changes["node not ready"] += ready.get(node["metadata"]["name"], False) and not now
        ready[node["metadata"]["name"]] = now


async def _again(lines: Callable[[], AsyncIterator[bytes]]) -> AsyncIterator[bytes]:
    while True:
        with contextlib.suppress(ApiError, Unreachable):
            async for line in lines():
                yield line
        await asyncio.sleep(PAUSE_S)


async def _write(client: ApiClient, number: int, seen: Seen, until: float) -> None:
    path, metadata = f"{MAPS}/flaps-{number}", {"name": f"flaps-{number}"}
    await client.create(MAPS, {"metadata": metadata})
    while time.monotonic() < until:
        await _counted(client.patch(path, {"data": {"written": str(time.time_ns())}}), seen)
        await asyncio.sleep(PAUSE_S)


async def _scale(client: ApiClient, seen: Seen, until: float) -> None:
    """Let pods come and go: scheduler and controllers have something to do."""
    labels = {"app": "flaps"}
    spec = {"containers": [{"name": "main", "image": "host/sleep"}]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    body = {"metadata": {"name": "flaps"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    await client.create(DEPLOYMENTS, body)
    replicas = 1
    while time.monotonic() < until:
        replicas = 11 - replicas
        await _counted(client.patch(f"{DEPLOYMENTS}/flaps", {"spec": {"replicas": replicas}}), seen)
        await asyncio.sleep(5)


async def _counted(write: Awaitable[object], seen: Seen) -> None:
    seen.writes += 1
    try:
        await write
    except (ApiError, Unreachable):
        seen.refused += 1


async def _renew(client: ApiClient, seen: Seen, until: float) -> None:
    """Renew a lease as holders do, but for its time to live, and keep the times."""
    path, identity = f"{LEASES_PATH}/flaps", "bench"
    held = await client.create(f"{path}/acquire", {"identity": identity, "ttlMillis": 60_000})
    while (began := time.monotonic()) < until:
        await client.create(f"{path}/renew", {"identity": identity, "epoch": held["epoch"]})
        took_s = time.monotonic() - began
        seen.renewals_s.append(took_s)
        await asyncio.sleep(max(0.0, RENEWAL_INTERVAL_S - took_s))


async def _ready(client: ApiClient) -> None:
    """Return once every lease is held."""
    async with asyncio.timeout(READY_S):
        while True:
            held: Any = (await client.get(LEASES_PATH))["items"]
            if {one["name"] for one in held} >= set(LEASES):
                return
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def _store(running: BenchCluster) -> AsyncIterator[StoreClient]:
    record, pki = running.folder.load(), running.folder.pki
    assert record is not None
    ports = [port for name, port in record.ports.items() if re.fullmatch(r"store-\d+-client", name)]
    tls = {"ca_file": "ca.crt", "cert_file": "admin.crt", "key_file": "admin.key"}
    client = store_client([f"127.0.0.1:{port}" for port in ports], {key: str(pki / file) for key, file in tls.items()})
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def _term(store: StoreClient) -> int:
    return max(member.term for member in await store.status())


def _slowest(before: list[str], after: list[str], name: str) -> str:
    """Return the lowest known bound of all renewals of a lease between two readings, "" if there were none."""
    bound = scraping.largest(*(scraping.buckets(texts, _RENEWALS, name=name) for texts in (before, after)))
    return "" if bound is None else f"≤ {bound:g}"
