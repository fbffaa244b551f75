"""All controllers against the real API server on a store in memory, with a node that the test plays.

from harness.controllers import acting, cluster

async with cluster() as here, acting(here):
    ... here.client, here.pods; await here.until(lambda: ...) ...
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from oarlock.actors.controllers import daemon_pods
from oarlock.actors.controllers.component import create
from oarlock.actors.shell.component import ComponentContext
from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.cluster.client import ClientSettings
from oarlock.cluster.client.cache import Cache
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.informers import Informers
from oarlock.cluster.client.leases import LeaseHolder
from oarlock.consensus.memory import MemoryStore

Object = dict[str, Any]

TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "host/x"}]}}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE},
}
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"


class Cluster:
    """A client, caches to wait on, and a node that makes every pod ready and ends every deleted one.

    Pods that ask for a scheduler of their own wait for it for ever.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self.client = ApiClient(settings)
        self.informers = Informers(self.client)
        self.pods = self.informers.cache("", "v1", "pods")
        self.deployments = self.informers.cache("apps", "v1", "deployments")
        self.changed = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        for cache in (self.pods, self.deployments):
            cache.add_handler(self._noted)
        self.pods.add_handler(self._play_node)

    def watch(self, group: str, version: str, plural: str) -> Cache:
        cache = self.informers.cache(group, version, plural)
        cache.add_handler(self._noted)
        return cache

    def _noted(self, *_: object) -> None:
        self.changed.set()

    def _play_node(self, _: str, __: Object | None, new: Object | None) -> None:
        if new is not None and (not new["spec"].get("nodeName") or new["metadata"].get("deletionTimestamp")):
            task = asyncio.ensure_future(self._serve(new))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _serve(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        if pod["metadata"].get("deletionTimestamp"):
            await self.client.delete(f"{PODS}/{name}", {"gracePeriodSeconds": 0})
            return
        if pod["spec"]["schedulerName"] != "default-scheduler":
            return
        target = {"kind": "Node", "name": daemon_pods.target(pod) or "n1"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        await self.client.create(f"{PODS}/{name}/binding", binding)
        ready = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        await self.client.patch(f"{PODS}/{name}/status", {"status": {"phase": "Running", "conditions": ready}})

    async def until(self, holds: Callable[[], bool], timeout_s: float = 20) -> None:
        async with asyncio.timeout(timeout_s):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    def available(self, name: str = "web") -> int:
        found = self.deployments.get(f"default/{name}")
        return int(((found or {}).get("status") or {}).get("availableReplicas", 0))


@asynccontextmanager
async def cluster(**settings: Any) -> AsyncIterator[Cluster]:
    server = ApiServer(ApiServerSettings("test", **settings), MemoryStore())
    await server.start()
    made = Cluster(ClientSettings(server.url))
    try:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
        await made.client.create("/api/v1/nodes", node)
        yield made
    finally:
        await made.informers.stop()
        await asyncio.gather(*made.tasks, return_exceptions=True)
        await made.client.close()
        await server.stop()


@asynccontextmanager
async def acting(
    cluster: Cluster, name: str = "controllers", identity: str = "a", ttl_s: float = 1.5, **settings: object
) -> AsyncIterator[None]:
    component = create(ComponentContext(cluster.settings, identity, name, settings={"ca_pem": "PEM", **settings}))
    holder = LeaseHolder(cluster.client, name, identity, ttl_s=ttl_s)
    await component.warm()
    running = asyncio.ensure_future(holder.lead(lambda holding: component.run(holding.fence)))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait((running,))
        await component.stop()
