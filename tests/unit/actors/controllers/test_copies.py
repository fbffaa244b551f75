"""No workload gets a pod too many, whatever copies of its controller there are and whatever they have seen so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from harness.controllers import Cluster, cluster

from oarlock.actors.controllers.component import Controllers, create
from oarlock.actors.shell.component import ComponentContext, fence_revision
from oarlock.cluster.client.cache import Cache
from oarlock.cluster.client.leases import LeaseHolder

Object = dict[str, Any]

LABELS = {"app": "w"}
POD = {"containers": [{"name": "c", "image": "host/x"}]}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": POD}
ONCE = {"metadata": {"labels": LABELS}, "spec": {**POD, "restartPolicy": "Never"}}
SELECTED = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}
ASKED = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
CLAIMS = {"volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": ASKED}]}
PODS = 4
NODES = "/api/v1/nodes"
MAPS = "/api/v1/namespaces/default/configmaps"

WORKLOADS: dict[str, tuple[str, Object]] = {
    "deployments": ("apps/v1", {**SELECTED, "replicas": PODS}),
    "replicasets": ("apps/v1", {**SELECTED, "replicas": PODS}),
    "replicationcontrollers": ("v1", {"selector": LABELS, "template": TEMPLATE, "replicas": PODS}),
    "statefulsets": ("apps/v1", {**SELECTED, **CLAIMS, "replicas": PODS, "serviceName": "w"}),
    "daemonsets": ("apps/v1", SELECTED),
    "jobs": ("batch/v1", {"template": ONCE, "parallelism": PODS, "completions": PODS, "completionMode": "Indexed"}),
    "cronjobs": (
        "batch/v1",
        {
            "schedule": "@every 1s",
            "concurrencyPolicy": "Forbid",  # its one job never ends here
            "jobTemplate": {"spec": {"template": ONCE, "parallelism": PODS}},
        },
    ),
}


class Blind:
    """Has caches show nothing new until `see()`, as those of a copy whose watches are slow."""

    def __init__(self, caches: Mapping[str, Cache]) -> None:
        self._seeing = False
        self._missed: list[Callable[[], None]] = []
        for cache in caches.values():
            for name in ("apply", "advance"):
                setattr(cache, name, partial(self._later, getattr(cache, name)))
            cache.replacing = partial(self._listed, cache.replacing)  # type: ignore[method-assign]

    def see(self) -> None:
        self._seeing = True
        for one in self._missed:
            one()

    def _later(self, change: Callable[..., None], *arguments: object) -> None:
        if self._seeing:
            change(*arguments)
        else:
            self._missed.append(partial(change, *arguments))

    def _listed(self, replacing: Callable[..., Iterator[None]], *arguments: object) -> Iterator[None]:
        while not self._seeing:
            yield
        yield from replacing(*arguments)


class Copy:
    """One copy of all controllers: what it acts under is told apart from when it acts, and it stops only when told."""

    def __init__(self, here: Cluster, identity: str) -> None:
        self.component: Controllers = create(ComponentContext(here.settings, identity, "controllers"))
        self.lease = LeaseHolder(here.client, "controllers", identity, ttl_s=60)
        self.fence = ""
        self._running: asyncio.Future[None] | None = None

    async def acquire(self) -> None:
        """Take the lease."""
        self.fence = (await self.lease.acquire()).fence

    def act(self) -> None:
        """Act under the lease that was taken, whether or not it is still held."""
        self._running = asyncio.ensure_future(self.component.run(self.fence))

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))
        await self.lease.release()
        await self.component.stop()


@asynccontextmanager
async def copies(here: Cluster) -> AsyncIterator[tuple[Copy, Copy]]:
    both = Copy(here, "a"), Copy(here, "b")
    for one in both:
        await one.component.warm()
    try:
        yield both
    finally:
        for one in both:
            await one.stop()


def play(scenario: Callable[[Cluster, list[str], Copy, Copy], Any]) -> list[str]:
    """Play with two copies; returns the names of all pods that were ever made."""
    made: list[str] = []

    async def run() -> None:
        async with cluster() as here:
            here.pods.add_handler(
                lambda what, _, new: made.append(new["metadata"]["name"]) if what == "ADDED" else None
            )
            here.informers.start()
            await here.informers.synced()
            ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
            for number in range(2, PODS + 1):
                await here.client.create(NODES, {"metadata": {"name": f"n{number}"}})
            for number in range(1, PODS + 1):
                await here.client.patch(f"{NODES}/n{number}/status", ready)
            async with copies(here) as (first, second):
                await scenario(here, made, first, second)

    asyncio.run(run())
    return made


async def begin(here: Cluster, plural: str, *copies: Copy) -> None:
    """Create the workload and wait until the copies have seen it, while nobody acts."""
    version, spec = WORKLOADS[plural]
    root = "/api/v1" if version == "v1" else f"/apis/{version}"
    body = {"metadata": {"name": "w"}, "spec": spec}
    made = await here.client.create(f"{root}/namespaces/default/{plural}", body)
    for one in copies:
        await one.component._caches[plural].wait_revision(int(made["metadata"]["resourceVersion"]))


async def quiet(here: Cluster) -> None:
    """Make more round trips than a copy would need that had something left to do."""
    for number in range(30):
        await here.client.create(MAPS, {"metadata": {"generateName": f"round-{number}-"}})


@pytest.mark.parametrize("plural", WORKLOADS)
def test_a_deposed_copy_goes_on_with_what_it_saw_last(plural: str) -> None:
    """Ray may well keep one running that has lost its lease and hears nothing of its successor's pods."""

    async def scenario(here: Cluster, made: list[str], first: Copy, second: Copy) -> None:
        await begin(here, plural, first, second)
        await first.acquire()
        await first.component._informers.wait_revision(fence_revision(first.fence))
        Blind(first.component._caches)
        await first.lease.release()
        await second.acquire()
        second.act()
        await here.until(lambda: len(made) >= PODS)
        first.act()
        await quiet(here)

    assert len(play(scenario)) == PODS


@pytest.mark.parametrize("plural", WORKLOADS)
def test_a_successor_has_not_seen_its_predecessors_pods(plural: str) -> None:
    async def scenario(here: Cluster, made: list[str], first: Copy, second: Copy) -> None:
        await begin(here, plural, first, second)
        blind = Blind(second.component._caches)
        await first.acquire()
        first.act()
        await here.until(lambda: len(made) >= PODS)
        await first.stop()
        await second.acquire()
        second.act()
        await quiet(here)
        blind.see()
        await quiet(here)

    assert len(play(scenario)) == PODS


@pytest.mark.parametrize("plural", WORKLOADS)
def test_a_copy_is_replaced_while_pods_are_made(plural: str) -> None:
    async def scenario(here: Cluster, made: list[str], first: Copy, second: Copy) -> None:
        await begin(here, plural)
        await first.acquire()
        first.act()
        await here.until(lambda: bool(made))
        await first.stop()
        await second.acquire()
        second.act()
        await here.until(lambda: len(made) >= PODS)
        await quiet(here)

    assert len(play(scenario)) == PODS
