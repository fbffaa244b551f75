"""All controllers against the real API server on a store in memory; the test plays the node."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from harness.controllers import DEPLOYMENT, DEPLOYMENTS, PODS, TEMPLATE, acting, cluster
from prometheus_client import REGISTRY

from oarlock.actors.controllers.component import create, names
from oarlock.actors.shell.component import ComponentContext
from oarlock.cluster.client.leases import LeaseHolder
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]


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


def test_the_collector_has_a_group_of_its_own() -> None:
    async def scenario() -> None:
        async with cluster() as here, acting(here, "gc", "g", controllers=["garbagecollector"]):
            here.informers.start()
            await here.informers.synced()
            lost = {"apiVersion": "v1", "kind": "ConfigMap", "name": "lost", "uid": "lost"}
            await here.client.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
            metadata = {"name": "p", "ownerReferences": [lost]}
            await here.client.create(PODS, {"metadata": metadata, "spec": TEMPLATE["spec"]})
            await here.until(lambda: here.pods.get("default/p") is not None)
            await here.until(lambda: here.pods.get("default/p") is None)

    asyncio.run(scenario())


QUOTAS = "/api/v1/namespaces/default/resourcequotas"


def test_a_quota_holds_and_what_goes_is_given_back() -> None:
    async def scenario() -> None:
        async with cluster() as here, acting(here):
            quotas = here.watch("", "v1", "resourcequotas")
            pod = {"apiVersion": "v1", "kind": "Pod", "spec": TEMPLATE["spec"]}
            here.informers.start()
            await here.informers.synced()

            def used() -> str | None:
                state = (quotas.get("default/q") or {}).get("status") or {}
                return (state.get("used") or {}).get("pods")

            spec = {"hard": {"pods": "2"}}
            metadata = {"name": "q"}
            quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}
            await here.client.create(QUOTAS, quota)
            await here.until(lambda: used() == "0")
            for name in ("a", "b"):
                await here.client.create(PODS, {**pod, "metadata": {"name": name}})
            with pytest.raises(ApiError, match="exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"):
                await here.client.create(PODS, {**pod, "metadata": {"name": "c"}})
            await here.client.delete(f"{PODS}/a")
            await here.until(lambda: used() == "1")
            await here.client.create(PODS, {**pod, "metadata": {"name": "c"}})
            await here.until(lambda: used() == "2")

    asyncio.run(scenario())


def test_a_claim_goes_once_its_pod_has_gone() -> None:
    async def scenario() -> None:
        async with cluster() as here, acting(here):
            claims = here.watch("", "v1", "persistentvolumeclaims")
            here.informers.start()
            await here.informers.synced()
            path = "/api/v1/namespaces/default/persistentvolumeclaims"
            asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            metadata = {"name": "data"}
            await here.client.create(
                path, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": asked}
            )
            volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
            spec = {**TEMPLATE["spec"], "volumes": volumes}
            await here.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
            await here.until(lambda: (here.pods.get("default/p") or {"spec": {}})["spec"].get("nodeName") is not None)
            await here.client.delete(f"{path}/data")
            await here.until(
                lambda: bool((claims.get("default/data") or {"metadata": {}})["metadata"].get("deletionTimestamp"))
            )
            await here.client.delete(f"{PODS}/p")
            await here.until(lambda: claims.get("default/data") is None)

    asyncio.run(scenario())


def test_a_change_of_copies_in_the_middle_makes_nothing_twice() -> None:
    """Two copies at once, of which the acting one stops while pods are being made."""

    async def scenario() -> None:
        async with cluster() as here:
            made: list[str] = []
            here.pods.add_handler(lambda change, _, new: made.append(str(new)) if change == "ADDED" else None)
            here.informers.start()
            await here.informers.synced()
            names = [f"web-{number}" for number in range(6)]
            async with AsyncExitStack() as standby:
                async with acting(here, identity="a"):
                    await standby.enter_async_context(acting(here, identity="b"))
                    for name in names:
                        await here.client.create(DEPLOYMENTS, {**DEPLOYMENT, "metadata": {"name": name}})
                    await here.until(lambda: len(made) > 3)
                await here.until(lambda: all(here.available(name) == 3 for name in names))
            assert len(made) == 18

    asyncio.run(scenario())


def test_a_new_holder_waits_until_its_caches_have_caught_up() -> None:
    async def scenario() -> None:
        async with cluster() as here:
            sets = here.watch("apps", "v1", "replicasets")
            here.informers.start()
            await here.informers.synced()
            component = create(ComponentContext(here.settings, "a", "controllers"))
            await component.warm()
            holder = LeaseHolder(here.client, "controllers", "a")
            term = await holder.acquire()
            created = await here.client.create(DEPLOYMENTS, DEPLOYMENT)
            revision = int(created["metadata"]["resourceVersion"])
            informers = component._informers
            reached = asyncio.Event()

            async def late(_: int) -> None:
                await reached.wait()

            informers.wait_revision = late  # type: ignore[method-assign]
            running = asyncio.ensure_future(component.run(term.fence))
            await component._view.caches["deployments"].wait_revision(revision)
            for number in range(20):  # more round trips than a copy that doesn't wait would need
                await here.client.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"c{number}"}})
            assert not len(sets)
            reached.set()
            await here.until(lambda: len(sets) == 1)
            running.cancel()
            await asyncio.wait((running,))
            await component.stop()
            await holder.release()

    asyncio.run(scenario())


def test_groups_and_shards_share_the_work() -> None:
    """Deployments of several namespaces with the replica sets split in two, and everything else apart."""

    async def scenario() -> None:
        async with cluster() as here, AsyncExitStack() as stack:
            for number in (1, 2):
                shard: Any = {"controllers": ["replicaset"], "shard": number, "shards": 2, "shard_by": "uid"}
                await stack.enter_async_context(acting(here, f"sets-{number}", f"s{number}", **shard))
            await stack.enter_async_context(acting(here, "rest", "r", controllers=["*", "-replicaset"]))
            sets = here.watch("apps", "v1", "replicasets")
            here.informers.start()
            await here.informers.synced()
            for number in range(6):
                metadata = {"name": f"web-{number}"}
                await here.client.create(DEPLOYMENTS, {**DEPLOYMENT, "metadata": metadata})
            await here.until(lambda: all(here.available(f"web-{number}") == 3 for number in range(6)))
            assert len(here.pods) == 18
            assert len(sets) == 6

    asyncio.run(scenario())


def test_the_documents_name_every_controller_as_settings_do() -> None:
    text = (Path(__file__).parents[4] / "docs" / "controllers.md").read_text()
    assert [name for name in names() if f"`{name}`" not in text] == []
