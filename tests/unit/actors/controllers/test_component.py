"""All controllers against the real API server on a store in memory; the test plays the node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import REGISTRY

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
    """A client, caches to wait on, and a node that makes every pod ready and ends every deleted one."""

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
        target = {"kind": "Node", "name": "n1"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        await self.client.create(f"{PODS}/{name}/binding", binding)
        ready = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        await self.client.patch(f"{PODS}/{name}/status", {"status": {"phase": "Running", "conditions": ready}})

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    def available(self) -> int:
        found = self.deployments.get("default/web")
        return int(((found or {}).get("status") or {}).get("availableReplicas", 0))


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    server = ApiServer(ApiServerSettings("test"), MemoryStore())
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
async def acting(cluster: Cluster, name: str = "controllers", identity: str = "a") -> AsyncIterator[None]:
    component = create(ComponentContext(cluster.settings, identity, name, settings={"ca_pem": "PEM"}))
    holder = LeaseHolder(cluster.client, name, identity)
    await component.warm()
    running = asyncio.ensure_future(holder.lead(lambda holding: component.run(holding.fence)))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait((running,))
        await component.stop()


def writes() -> float:
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        if metric.name == "oarlock_controller_writes"
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels["controller"] in ("deployment", "replicaset")
    )


def test_a_deployment_becomes_available_with_few_writes_and_is_collected() -> None:
    async def scenario() -> None:
        async with cluster() as here, acting(here):
            sets = here.watch("apps", "v1", "replicasets")
            here.informers.start()
            await here.informers.synced()
            before = writes()
            await here.client.create(DEPLOYMENTS, DEPLOYMENT)
            await here.until(lambda: here.available() == 3)
            assert writes() - before <= 12
            await here.client.patch(f"{DEPLOYMENTS}/web", {"spec": {"replicas": 1}})
            await here.until(lambda: here.available() == 1 and len(here.pods) == 1)
            await here.client.delete(f"{DEPLOYMENTS}/web", {"propagationPolicy": "Background"})
            await here.until(lambda: not len(sets) and not len(here.pods))

    asyncio.run(scenario())


def test_a_namespace_gets_its_own_and_goes_with_all_that_is_in_it() -> None:
    async def scenario() -> None:
        async with cluster() as here, acting(here):
            namespaces = here.watch("", "v1", "namespaces")
            maps, accounts = here.watch("", "v1", "configmaps"), here.watch("", "v1", "serviceaccounts")
            here.informers.start()
            await here.informers.synced()
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
            await here.client.create("/api/v1/namespaces", namespace)
            await here.until(lambda: bool(maps.get("n/kube-root-ca.crt") and accounts.get("n/default")))
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
            await here.client.create("/api/v1/namespaces/n/secrets", secret)
            await here.client.delete("/api/v1/namespaces/n")
            await here.until(lambda: namespaces.get("n") is None)
            assert maps.get("n/kube-root-ca.crt") is None
            assert (await here.client.list("/api/v1/secrets"))["items"] == []

    asyncio.run(scenario())


def test_garbage_of_kinds_that_no_controller_reads_is_collected_and_wrong_owners_are_told_of() -> None:
    async def scenario() -> None:
        async with cluster() as here, acting(here):
            maps, events = here.watch("", "v1", "configmaps"), here.watch("", "v1", "events")
            roles = here.watch("rbac.authorization.k8s.io", "v1", "clusterroles")
            here.informers.start()
            await here.informers.synced()
            map_, core = "/api/v1/namespaces/default/configmaps", {"apiVersion": "v1", "kind": "ConfigMap"}
            top = await here.client.create(map_, {**core, "metadata": {"name": "top"}})
            owner = {**core, "name": "top", "uid": top["metadata"]["uid"]}
            widget = {"apiVersion": "x.io/v1", "kind": "Widget", "name": "w", "uid": "w"}
            lost = {"apiVersion": "v1", "kind": "Node", "name": "lost", "uid": "lost"}
            for name, reference in (("kept", widget), ("leaf", owner)):
                await here.client.create(map_, {**core, "metadata": {"name": name, "ownerReferences": [reference]}})
            stray = {**core, "metadata": {"name": "stray", "ownerReferences": [owner]}}
            await here.client.create("/api/v1/namespaces/kube-system/configmaps", stray)
            role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "rules": []}
            role["metadata"] = {"name": "owned", "ownerReferences": [lost]}
            await here.client.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
            await here.until(lambda: maps.get("kube-system/stray") is None and roles.get("owned") is None)
            await here.until(lambda: any(one["reason"] == "OwnerRefInvalidNamespace" for one in events))
            assert maps.get("default/leaf") is not None
            await here.client.delete(f"{map_}/top", {"propagationPolicy": "Foreground"})
            await here.until(lambda: maps.get("default/top") is None)
            assert maps.get("default/leaf") is None
            assert maps.get("default/kept") is not None

    asyncio.run(scenario())


def test_a_successor_goes_on_where_its_predecessor_stopped() -> None:
    async def scenario() -> None:
        async with cluster() as here:
            here.informers.start()
            await here.informers.synced()
            async with acting(here, identity="a"):
                await here.client.create(DEPLOYMENTS, DEPLOYMENT)
                await here.until(lambda: len(here.pods) > 0)
            async with acting(here, identity="b"):
                await here.until(lambda: here.available() == 3)
                assert len(here.pods) == 3

    asyncio.run(scenario())


def test_a_deposed_copy_changes_nothing() -> None:
    async def scenario() -> None:
        async with cluster() as here:
            here.informers.start()
            await here.informers.synced()
            first = LeaseHolder(here.client, "controllers", "a")
            stale = await first.acquire()
            await first.release()
            second = LeaseHolder(here.client, "controllers", "b")
            await second.acquire()
            deposed = create(ComponentContext(here.settings, "a", "controllers"))
            await deposed.warm()
            running = asyncio.ensure_future(deposed.run(stale.fence))
            await here.client.create(DEPLOYMENTS, DEPLOYMENT)
            await asyncio.wait((running,), timeout=0.5)
            running.cancel()
            await asyncio.wait((running,))
            await deposed.stop()
            await second.release()
            assert (await here.client.list("/apis/apps/v1/replicasets"))["items"] == []

    asyncio.run(scenario())
