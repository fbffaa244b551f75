"""What is stopped and resumed writes nothing after its term: scheduler, controllers, Ray's GCS, servers, store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.boot import processes
from oarlock.cluster.boot.roles import store_client
from oarlock.cluster.boot.state import StateFolder
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.kubeconfig import load
from oarlock.cluster.client.leases import LEASES_PATH, Holding, LeaseHolder
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.client import StoreClient
from oarlock.consensus.model import Event, Put, Range, StoreError, Transaction

pytestmark = [pytest.mark.ray, pytest.mark.chaos]
Waiting = Callable[..., Any]
LEASES = ("kube-scheduler", "kube-controller-manager", "gcs")
MAPS = "/api/v1/namespaces/default/configmaps"
PODS, SETS = b"/registry/core/pods/", b"/registry/apps/replicasets/"
TTL_S = 3.0


@pytest.fixture(scope="module")
def cluster(new_cluster: Callable[[str], Any]) -> Any:
    cluster = new_cluster("pauses")
    cluster.up("--nodes", "0", "--hollow", "3", "--lease-ttl", f"{TTL_S:g}")
    return cluster


def all_ready(cluster: Any) -> bool:
    """Tell whether every part serves; an actor that has died stays registered for a while."""
    status = cluster.status()
    actors = [part for part in status if part["kind"] == "actor" and Path(f"/proc/{part['pid']}").exists()]
    return (
        all(part["state"] == "ready" for part in status) and len(actors) == 4 and sum(p["active"] for p in actors) == 2
    )


def active(cluster: Any, prefix: str) -> dict[str, Any]:
    """Return the part that leads or holds its lease."""
    return next(part for part in cluster.status() if part["active"] and part["name"].startswith(prefix))


def passed_on(cluster: Any, prefix: str, name: str) -> bool:
    """Tell whether another part than this one leads or holds the lease."""
    parts = [part for part in cluster.status() if part["active"] and part["name"].startswith(prefix)]
    return any(part["name"] != name for part in parts)


def stop_active(cluster: Any, component: str, copy: dict[str, Any]) -> dict[str, Any]:
    """Stop the copy that acts and return it: `copy`, unless the lease has passed on by the time that it is stopped."""
    while True:
        os.kill(copy["pid"], signal.SIGSTOP)
        said = log(cluster, copy["name"])
        if said.rfind("component active") > said.rfind("component standing by"):
            return copy
        os.kill(copy["pid"], signal.SIGCONT)
        copy = active(cluster, component)


@contextlib.contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Stop processes for the time of the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


# What the cluster is asked.


def settings(cluster: Any, address: str = "") -> ClientSettings:
    """Return how to reach the cluster, or the API server at an address."""
    found = load(cluster.kubeconfig)
    return replace(found, server=f"https://{address}") if address else found


@contextlib.asynccontextmanager
async def store(cluster: Any, *names: str) -> AsyncIterator[StoreClient]:
    """Open a client of these replicas, or of all."""
    folder = StateFolder(cluster.folder / "state")
    tls = {"ca_file": "ca.crt", "cert_file": "admin.crt", "key_file": "admin.key"}
    parts = [part for part in cluster.status() if part["kind"] == "store"]
    addresses = [part["address"] for part in parts if not names or part["name"] in names]
    client = store_client(addresses, {key: str(folder.pki / file) for key, file in tls.items()})
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def epochs(cluster: Any) -> dict[str, int]:
    """Return the present term of each lease that is held."""

    async def ask() -> dict[str, int]:
        async with ApiClient(settings(cluster)) as client:
            items: Any = (await client.get(LEASES_PATH))["items"]
            return {one["name"]: one["epoch"] for one in items}

    return asyncio.run(ask())


def revision(cluster: Any) -> int:
    async def ask() -> int:
        async with store(cluster) as client:
            return await client.revision()

    return asyncio.run(ask())


def events_after(cluster: Any, first: int, *prefixes: bytes) -> list[Event]:
    """Return what has happened to keys of these prefixes since a revision, from the store's own history."""

    async def ask() -> list[Event]:
        found: list[Event] = []
        async with store(cluster) as client:
            last = await client.revision()
            watch = client.watch(b"\0", b"\0", first + 1, previous=True)
            try:
                async for batch in watch:
                    found += [event for event in batch.events if event.kv.key.startswith(prefixes)]
                    if batch.revision >= last:
                        return found
            finally:
                await watch.close()
        return found

    return asyncio.run(ask())


def log(cluster: Any, name: str) -> str:
    return str((cluster.folder / "state" / "logs" / f"{name}.log").read_text(errors="replace"))


# Actors.


@pytest.mark.parametrize("component", ["scheduler", "controllers"])
def test_a_stopped_actor_writes_nothing_once_resumed(cluster: Any, waiting: Waiting, component: str) -> None:
    """It lies with work in its queues and in its sockets; all is done by its successor, and nothing twice."""
    waiting(lambda: all_ready(cluster), 120)
    name, count = f"left-{component}", 40
    old, began = active(cluster, component), revision(cluster)
    cluster.kubectl("create", "deployment", name, "--image=host/sleep", f"--replicas={count}", "--", "sleep", "1000")
    old = stop_active(cluster, component, old)
    with stopped(old["pid"]):
        stood_by = log(cluster, old["name"]).count("standing by")
        waiting(lambda: passed_on(cluster, component, old["name"]), 60)
        cluster.rolled_out(name)
        before = events_after(cluster, began, PODS, SETS)
        quiet = revision(cluster)
    waiting(lambda: log(cluster, old["name"]).count("standing by") > stood_by, 60, cluster.logs)
    assert "lease lost" in log(cluster, old["name"]) or "lease expired unrenewed" in log(cluster, old["name"])
    assert events_after(cluster, quiet, PODS, SETS) == [], "nobody had anything left to write"
    made = [event.kv for event in before if event.kv.version == 1 and name.encode() in event.kv.key]
    assert sum(kv.key.startswith(PODS) for kv in made) == count
    assert sum(kv.key.startswith(SETS) for kv in made) == 1
    bound = [event for event in before if name.encode() in event.kv.key and binds(event)]
    assert sorted(event.kv.key for event in bound) == sorted(kv.key for kv in made if kv.key.startswith(PODS))

    os.kill(active(cluster, component)["pid"], signal.SIGKILL)
    cluster.kubectl("create", "deployment", f"{name}-again", "--image=host/sleep", "--", "sleep", "1000")
    cluster.rolled_out(f"{name}-again")


def binds(event: Event) -> bool:
    """Tell whether a pod has got its node, or another one, by this."""
    before = event.previous.value if event.previous is not None else b""
    return node(event.kv.value) not in (b"", node(before))


def node(pod: bytes) -> bytes:
    return pod.partition(b'"nodeName":"')[2].partition(b'"')[0]


# Ray's head.


def test_a_stopped_head_is_cut_off_once_resumed(cluster: Any, waiting: Waiting) -> None:
    waiting(lambda: all_ready(cluster), 120)
    term, old = epochs(cluster)["gcs"], active(cluster, "ray-")
    (gcs,) = gcs_processes(cluster)
    actors = {part["name"]: part["pid"] for part in cluster.status() if part["kind"] == "actor"}
    with stopped(old["pid"], gcs):
        waiting(lambda: epochs(cluster).get("gcs", term) > term, 60)
        waiting(lambda: passed_on(cluster, "ray-", old["name"]), 30)
        waiting(lambda: len(gcs_processes(cluster)) == 2, 30)
        cluster.kubectl("create", "deployment", "headless", "--image=host/sleep", "--", "sleep", "1000")
        cluster.rolled_out("headless")
        os.kill(gcs, signal.SIGCONT)  # alone: nobody is there to end it
        waiting(lambda: gcs not in gcs_processes(cluster), 60)
    waiting(lambda: all_ready(cluster), 120)
    assert len(gcs_processes(cluster)) == 1
    after = {part["name"]: part["pid"] for part in cluster.status() if part["kind"] == "actor"}
    assert after == actors, "actors never stopped"


def gcs_processes(cluster: Any) -> list[int]:
    """Return the process ids of GCSs that belong to this cluster, but for those that are over."""
    found = []
    for pid in processes.marked(f"{processes.MARK}={cluster.folder / 'state'}"):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/gcs_server"):
                found.append(pid)
    return found


# Servers.


def test_a_resumed_api_server_reads_nothing_stale_and_skips_no_fence(cluster: Any, waiting: Waiting) -> None:
    """What lay in its sockets is answered by what is true now, not by what was when it came."""
    waiting(lambda: all_ready(cluster), 120)
    servers = [part for part in cluster.status() if part["kind"] == "apiserver"]

    async def story() -> None:
        old, other = (ApiClient(settings(cluster, part["address"])) for part in servers)
        async with old, other:
            await other.create(MAPS, {"metadata": {"name": "seen"}, "data": {"at": "before"}})
            held = await other.create(f"{LEASES_PATH}/test/acquire", {"identity": "test", "ttlMillis": 60_000})
            fence = f"test={held['epoch']}"
            late = ApiClient(settings(cluster, servers[0]["address"]))
            fenced = ApiClient(replace(settings(cluster, servers[0]["address"]), fence=lambda: fence))
            async with late, fenced:
                for one in (late, fenced):
                    await one.get("/version")  # connected
                await fenced.patch(f"{MAPS}/seen", {"data": {"fenced": "in time"}})
                with stopped(servers[0]["pid"]):
                    reading = asyncio.ensure_future(late.get(f"{MAPS}/seen"))
                    writing = asyncio.ensure_future(fenced.patch(f"{MAPS}/seen", {"data": {"fenced": "late"}}))
                    await asyncio.sleep(0.2)  # what was sent lies in the sockets by then; nothing tells of it
                    await other.patch(f"{MAPS}/seen", {"data": {"at": "after"}})
                    await other.create(f"{LEASES_PATH}/test/release", {"identity": "test", "epoch": held["epoch"]})
                    async with ApiClient(settings(cluster)) as people:
                        assert (await people.get(f"{MAPS}/seen"))["data"]["at"] == "after", "through the balancer"
                assert (await reading)["data"]["at"] == "after"
                with pytest.raises(ApiError, match='lease "test" is no longer held') as refused:
                    await writing
                assert refused.value.code == 409
            assert (await other.get(f"{MAPS}/seen"))["data"] == {"at": "after", "fenced": "in time"}

    asyncio.run(asyncio.wait_for(story(), 90))


def test_a_stopped_store_leader_costs_no_lease_and_acknowledges_nothing_late(cluster: Any, waiting: Waiting) -> None:
    waiting(lambda: all_ready(cluster), 120)
    before, leader = epochs(cluster), active(cluster, "store-")
    assert set(LEASES) <= set(before)

    async def story() -> None:
        async with (
            store(cluster) as client,
            store(cluster, leader["name"]) as only_old,
            ApiClient(settings(cluster)) as api,
        ):
            holder = LeaseHolder(api, "watched", "test", ttl_s=TTL_S)
            holding: Holding = await holder.acquire()
            lease = (await client.range(Range(b"/oarlock/leases/watched"))).kvs[0].lease
            with stopped(leader["pid"]):
                put = asyncio.ensure_future(only_old.transact(Transaction((), (Put(b"/test/late", b"late"),))))
                renewal = asyncio.ensure_future(only_old.lease_keep_alive(lease))
                for number in range(2):
                    # In all longer than the time to live: whatever isn't renewed meanwhile is lost by then.
                    await client.transact(Transaction((), (Put(b"/test/on-time", b"%d" % number),)))
                    await asyncio.sleep(TTL_S * 0.75)
                assert holder.fence == holding.fence
            with pytest.raises(StoreError):
                await renewal
            with contextlib.suppress(StoreError):
                await put
                # It was told that it wrote, so it has: the resumed member must have been elected again for that.
                assert (await client.range(Range(b"/test/late"))).kvs
            assert (await client.range(Range(b"/test/on-time"))).kvs[0].value == b"1"
            await holder.release()

    asyncio.run(asyncio.wait_for(story(), 90))
    after = epochs(cluster)
    assert {name: after.get(name) for name in LEASES} == {name: before[name] for name in LEASES}
