"""Devices in a cluster at work: a driver publishes them, pods of a Deployment get one each, and never one twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from harness.controllers import DEPLOYMENTS, PODS, Cluster, acting, cluster
from harness.devices import DRIVER, ask, class_object, device_object, request, slice_object
from harness.scheduling import node_object

from oarlock.actors.scheduler.component import create
from oarlock.actors.shell.component import ComponentContext
from oarlock.cluster.client.leases import LeaseHolder

Object = dict[str, Any]
GROUP, API = "/apis/resource.k8s.io/v1", "resource.k8s.io/v1"
SCHEDULER = "devices"
CARDS = 2
"""Devices of a node."""


class Judge:
    """Sees every change of claims in order, and remembers any device that two of them had at once."""

    def __init__(self, here: Cluster) -> None:
        self.claims = here.watch("resource.k8s.io", "v1", "resourceclaims")
        self.claims.add_handler(lambda *_: self._look())
        self.twice: list[str] = []
        self.given = 0

    def held(self) -> dict[str, list[str]]:
        """The claims of each device that is allocated."""
        found: dict[str, list[str]] = {}
        for claim in self.claims:
            allocation = (claim.get("status") or {}).get("allocation") or {}
            for one in (allocation.get("devices") or {}).get("results") or ():
                found.setdefault(f"{one['pool']}/{one['device']}", []).append(claim["metadata"]["name"])
        return found

    def _look(self) -> None:
        held = self.held()
        self.given = max(self.given, len(held))
        self.twice.extend(f"{device}: {', '.join(claims)}" for device, claims in held.items() if len(claims) > 1)


async def make(here: Cluster, nodes: int, replicas: int) -> None:
    """Nodes with cards, a class and a template that ask for one, and a Deployment whose pods want one each."""
    for index in range(nodes):
        name = f"d{index}"
        obj = node_object(name)
        await here.client.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", **obj})
        await here.client.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": None}})
        await here.client.patch(f"/api/v1/nodes/{name}/status", {"status": obj["status"]})
        published = slice_object(name, *(device_object(f"card-{card}", model="a") for card in range(CARDS)))
        await here.client.create(f"{GROUP}/resourceslices", {"apiVersion": API, "kind": "ResourceSlice", **published})
    chosen = class_object("gpu", f'device.driver == "{DRIVER}"')
    await here.client.create(f"{GROUP}/deviceclasses", {"apiVersion": API, "kind": "DeviceClass", **chosen})
    wanted = ask("gpu", f'device.attributes["{DRIVER}"].model == "a"')
    spec = {"devices": {"requests": [request("card", exactly=wanted)]}}
    await here.client.create(
        f"{GROUP}/namespaces/default/resourceclaimtemplates",
        {
            "apiVersion": API,
            "kind": "ResourceClaimTemplate",
            "metadata": {"name": "one-card"},
            "spec": {"spec": spec},
        },
    )
    pod: Object = {
        "schedulerName": SCHEDULER,
        "terminationGracePeriodSeconds": 0,
        # Nobody plays the nodes' agents, so the controllers take them for dead.
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "host/x", "resources": {"claims": [{"name": "card"}]}}],
        "resourceClaims": [{"name": "card", "resourceClaimTemplateName": "one-card"}],
    }
    labels = {"app": "cards"}
    deployment: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "cards"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    await here.client.create(DEPLOYMENTS, deployment)


async def settled(here: Cluster, holds: Callable[[], bool]) -> None:
    await here.until(holds, timeout_s=120)


def placed(here: Cluster) -> int:
    return sum(1 for pod in here.pods if pod["spec"].get("nodeName"))


@asynccontextmanager
async def scheduling(here: Cluster, identity: str) -> AsyncIterator[LeaseHolder]:
    """A scheduler that goes on with the epoch of the lease that it once got, whoever has the lease by now."""
    settings: dict[str, object] = {"scheduler_name": SCHEDULER}
    copy = create(ComponentContext(here.settings, identity, "scheduler", settings=settings))
    holder = LeaseHolder(here.client, "scheduler", identity, ttl_s=60)
    await copy.warm()
    term = await holder.acquire()
    running = asyncio.ensure_future(copy.run(term.fence))
    try:
        yield holder
    finally:
        running.cancel()
        await asyncio.wait((running,))
        await copy.stop()


def test_pods_of_a_deployment_get_a_device_each_and_give_it_back() -> None:
    async def story() -> None:
        async with cluster() as here, acting(here, ttl_s=60):
            judge = Judge(here)
            here.informers.start()
            await here.informers.synced()
            async with scheduling(here, "a"):
                await make(here, nodes=2, replicas=5)
                await settled(here, lambda: placed(here) == 4 and len(judge.held()) == 4)
                on = {pod["spec"].get("nodeName") for pod in here.pods}
                assert on == {"d0", "d1", None}
                # A card becomes free with a pod's end, and the pod that waits gets it.
                await here.client.patch(f"{DEPLOYMENTS}/cards", {"spec": {"replicas": 4}})
                await settled(here, lambda: len(here.pods) == 4 and len(judge.claims) == 4)
                gone = next(pod for pod in here.pods if pod["spec"].get("nodeName"))
                await here.client.delete(f"{PODS}/{gone['metadata']['name']}")
                await settled(here, lambda: placed(here) == 4 and len(judge.claims) == 4 and len(judge.held()) == 4)
                claim = judge.claims.list()[0]
                assert claim["metadata"]["finalizers"] == ["resource.kubernetes.io/delete-protection"]
                (user,) = claim["status"]["reservedFor"]
                assert user["resource"] == "pods"
                allocated = claim["status"]["allocation"]
                (result,) = allocated["devices"]["results"]
                assert (result["request"], result["driver"]) == ("card", DRIVER)
                (term,) = allocated["nodeSelector"]["nodeSelectorTerms"]
                assert term["matchFields"][0]["values"] == [result["pool"]]
                # Without the Deployment nothing is held any more.
                await here.client.delete(f"{DEPLOYMENTS}/cards", {"propagationPolicy": "Background"})
                await settled(here, lambda: not len(here.pods) and not len(judge.claims))
            assert judge.twice == []

    asyncio.run(story())


def test_no_device_is_given_twice_while_pods_come_and_go_and_a_deposed_scheduler_goes_on() -> None:
    async def story() -> None:
        chance = random.Random(8)
        async with cluster() as here, acting(here, ttl_s=60):
            judge = Judge(here)
            here.informers.start()
            await here.informers.synced()
            async with scheduling(here, "a") as first:
                await make(here, nodes=3, replicas=9)
                await settled(here, lambda: len(judge.held()) == 3 * CARDS)
                await first.release()
                # Both decide from here on; what the first writes is refused.
                async with scheduling(here, "b"):
                    for _ in range(4):
                        names = [pod["metadata"]["name"] for pod in here.pods if pod["spec"].get("nodeName")]
                        for name in chance.sample(names, k=3):
                            await here.client.delete(f"{PODS}/{name}")
                        await settled(here, lambda: len(judge.held()) == 3 * CARDS and placed(here) == 6)
            assert judge.twice == []
            assert judge.given == 3 * CARDS

    asyncio.run(story())
