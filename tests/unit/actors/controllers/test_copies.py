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
from oarlock.actors.shell.component import ComponentContext
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
    """One copy of all controllers, which acts from `act()` on and stops only when it is told to."""

    def __init__(self, here: Cluster, identity: str) -> None:
        self.component: Controllers = create(ComponentContext(here.settings, identity, "controllers"))
        self.lease = LeaseHolder(here.client, "controllers", identity)
        self._running: asyncio.Future[None] | None = None

    async def act(self) -> None:
        term = await self.lease.acquire()
        self._running = asyncio.ensure_future(self.component.run(term.fence))

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


def play(plural: str, scenario: Callable[[Cluster, list[str], Copy, Copy], Any]) -> list[str]:
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


async def begin(here: Cluster, plural: str) -> None:
    version, spec = WORKLOADS[plural]
    root = "/api/v1" if version == "v1" else f"/apis/{version}"
    await here.client.create(f"{root}/namespaces/default/{plural}", {"metadata": {"name": "w"}, "spec": spec})


async def quiet(here: Cluster) -> None:
    """Make more round trips than a copy would need that had something left to do."""
    for number in range(30):
        await here.client.create(MAPS, {"metadata": {"generateName": f"round-{number}-"}})


@pytest.mark.parametrize("plural", WORKLOADS)
def test_two_copies_act_at_once(plural: str) -> None:
    """The first has lost its lease in the middle and doesn't know: Ray may well keep it running."""

    async def scenario(here: Cluster, made: list[str], first: Copy, second: Copy) -> None:
        await first.act()
        await begin(here, plural)
        await here.until(lambda: bool(made))
        await first.lease.release()
        await second.act()
        await here.until(lambda: len(made) >= PODS)
        await quiet(here)

    assert len(play(plural, scenario)) == PODS


@pytest.mark.parametrize("plural", WORKLOADS)
def test_a_successor_has_seen_nothing_yet(plural: str) -> None:
    async def scenario(here: Cluster, made: list[str], first: Copy, second: Copy) -> None:
        blind = Blind(second.component._caches)
        await first.act()
        await begin(here, plural)
        await here.until(lambda: len(made) >= PODS)
        await first.stop()
        await second.act()
        await quiet(here)
        blind.see()
        await quiet(here)

    assert len(play(plural, scenario)) == PODS
