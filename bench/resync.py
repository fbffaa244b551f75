"""The longest that the controllers' loop stands still while 50,000 pods are listed, looked at and listed again.

A stall is the CPU time of one callback of the event loop, so that busy neighbours disturb it little. Python's own
collector runs inside callbacks and counts. The API server has a process to itself and its store in memory.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from asyncio.events import Handle
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from bench.report import table
from oarlock.actors.controllers.component import Controllers, create
from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.hosted import COLLECTOR_THRESHOLDS
from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.cluster.client import ClientSettings
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.leases import LeaseHolder
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import Put, Range, Transaction

Object = dict[str, Any]

PODS, QUICK_PODS = 50_000, 2_000
SET_PODS, SPACE_SETS, NODE_PODS, AT_ONCE = 50, 20, 100, 100
QUIET_S, LIMIT_S = 3.0, 300.0
#: Nobody renews the nodes' leases here.
HOSTED = ["*", "-node_lifecycle_controller"]
LABELS = {"app": "many"}


class Stalls:
    """Times every callback of the running loop: the longest of each phase, and what it was."""

    def __init__(self) -> None:
        self.longest: dict[str, tuple[float, str]] = {}
        self.phase = ""

    def note(self, cpu_s: float, what: str) -> None:
        if cpu_s > self.longest.get(self.phase, (0.0, ""))[0]:
            self.longest[self.phase] = (cpu_s, what)

    @contextmanager
    def watching(self) -> Iterator[None]:
        plain = Handle._run  # noqa: SLF001 - the one place through which every callback goes

        def timed(handle: Handle) -> None:
            began = time.thread_time()
            plain(handle)
            self.note(time.thread_time() - began, repr(handle))

        Handle._run = timed  # type: ignore[method-assign]  # noqa: SLF001
        try:
            yield
        finally:
            Handle._run = plain  # type: ignore[method-assign]  # noqa: SLF001


def measure(*, quick: bool = False) -> str:
    """Return the table: phase, its length, and its longest stall."""
    return asyncio.run(_measure(QUICK_PODS if quick else PODS))


async def _measure(pods: int) -> str:
    stalls, rows = Stalls(), []
    async with _served(pods) as settings, ApiClient(settings) as client:
        component = create(ComponentContext(settings, "bench", "controllers", settings={"controllers": HOSTED}))
        holder = LeaseHolder(client, "controllers", "bench", ttl_s=600)
        gc.set_threshold(*COLLECTOR_THRESHOLDS)
        with stalls.watching():
            for phase, step in (
                ("listed for the first time", component.warm()),
                ("acting begins, every object is looked at", _act(component, holder)),
                ("listed again", _list_again(component, client)),
            ):
                stalls.phase, began = phase, time.monotonic()
                await step
                cpu_s, what = stalls.longest[phase]
                print(f"{phase}: {cpu_s * 1e3:.0f} ms in {what[:300]}", file=sys.stderr)
                rows.append((phase, time.monotonic() - began, cpu_s * 1e3))
        await holder.release()
        await component.stop()
    return f"{pods:,} pods of {pods // SET_PODS:,} ReplicaSets.\n\n" + table(("", "s", "longest stall, CPU ms"), rows)


async def _act(component: Controllers, holder: LeaseHolder) -> None:
    """Act until nothing is left to do."""
    term = await holder.acquire()
    acting = asyncio.ensure_future(component.run(term.fence))
    wanted_s = -QUIET_S
    while _wanted_s() - wanted_s > QUIET_S / 10:
        wanted_s = _wanted_s()
        await asyncio.sleep(QUIET_S)
        if acting.done():
            acting.result()
    acting.cancel()
    await asyncio.wait((acting,))


def _wanted_s() -> float:
    """The seconds that this process has run or waited for its turn: beside busy neighbours it is not done sooner."""
    ran_ns, waited_ns, _ = Path("/proc/self/schedstat").read_text().split()
    return (int(ran_ns) + int(waited_ns)) / 1e9


async def _list_again(component: Controllers, client: ApiClient) -> None:
    """Wait for a revision that tells of no pod: a watch that says nothing is replaced by a list."""
    made = await client.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "new"}})
    pods = component._view.caches["pods"]  # noqa: SLF001
    await pods.wait_revision(int(made["metadata"]["resourceVersion"]))


@asynccontextmanager
async def _served(pods: int) -> AsyncIterator[ClientSettings]:
    command = (sys.executable, "-m", "bench.resync", str(pods))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT_S):
            url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise RuntimeError("the API server did not start")
        yield ClientSettings(url)
    finally:
        process.terminate()
        await process.wait()


async def _serve(pods: int) -> None:
    """Serve a cluster of so many pods, ready and owned; say where on standard output."""
    store = MemoryStore()
    server = ApiServer(ApiServerSettings("bench", disabled_plugins=("ServiceAccount",)), store)
    await server.start()
    async with ApiClient(ClientSettings(server.url)) as client:
        await _populate(client, store, pods)
    print(server.url, flush=True)
    await asyncio.Event().wait()


async def _populate(client: ApiClient, store: MemoryStore, pods: int) -> None:
    """Make one pod and one ReplicaSet as users do, and copy what the store holds of them."""
    for number in range(pods // NODE_PODS + 1):
        await client.create("/api/v1/nodes", {"metadata": {"name": f"n{number}"}})
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "host/x"}]}}
    spec = {"replicas": SET_PODS, "selector": {"matchLabels": LABELS}, "template": template}
    sets, path = "/apis/apps/v1/namespaces/default/replicasets", "/api/v1/namespaces/default/pods"
    owner = await client.create(sets, {"metadata": {"name": "set-name"}, "spec": spec})
    counts = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas", "fullyLabeledReplicas"), SET_PODS)
    await client.patch(f"{sets}/set-name/status", {"status": {**counts, "observedGeneration": 1}})
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "set-name", "uid": owner["metadata"]["uid"]}
    metadata = {"name": "pod-name", "labels": LABELS, "ownerReferences": [{**reference, "controller": True}]}
    made = await client.create(path, {"metadata": metadata, "spec": {**template["spec"], "nodeName": "node-name"}})
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    state = {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [ready]}
    await client.patch(f"{path}/pod-name/status", {"status": state})
    puts: list[Put] = []
    held = {kind: await _held(store, kind) for kind in (b"pods", b"replicasets")}
    for number in range(pods // SET_PODS):
        space = f"default-{number // SPACE_SETS}"
        if number % SPACE_SETS == 0:
            await client.create("/api/v1/namespaces", {"metadata": {"name": space}})
            service = {"selector": LABELS, "ports": [{"port": 80}]}
            await client.create(f"/api/v1/namespaces/{space}/services", {"metadata": {"name": "s"}, "spec": service})
        node = f"n{number * SET_PODS // NODE_PODS}"
        names = {"default": space, "node-name": node}
        names |= {"set-name": f"set-{number}", owner["metadata"]["uid"]: f"set-uid-{number}"}
        puts.append(_copy(held[b"replicasets"], names))
        for pod in range(SET_PODS):
            own = {"pod-name": f"pod-{number}-{pod}", made["metadata"]["uid"]: f"pod-uid-{number}-{pod}"}
            puts.append(_copy(held[b"pods"], {**names, **own}))
    for start in range(0, len(puts), AT_ONCE):
        await store.transact(Transaction(success=tuple(puts[start : start + AT_ONCE])))
        await asyncio.sleep(0)
    await client.delete(f"{path}/pod-name", {"gracePeriodSeconds": 0})
    await client.delete(f"{sets}/set-name")


async def _held(store: MemoryStore, kind: bytes) -> tuple[bytes, bytes]:
    everything = await store.range(Range(b"/registry/", b"/registry0"))
    (found,) = [one for one in everything.kvs if f"/{kind.decode()}/default/".encode() in one.key]
    return found.key, found.value


def _copy(held: tuple[bytes, bytes], names: dict[str, str]) -> Put:
    key, value = held
    for old, new in names.items():
        before, after = (f"/{old}".encode(), f"/{new}".encode()), (f'"{old}"'.encode(), f'"{new}"'.encode())
        key, value = key.replace(*before), value.replace(*after)
    return Put(key, value)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
