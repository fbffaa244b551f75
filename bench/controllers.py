"""How soon the controllers heal, collect and follow, and what they cost when nothing happens.

The store is in memory and the nodes are hollow: the figures are those of the controllers and the API server.
The controllers have a process to themselves, so that their cost can be told.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from bench.report import table
from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.inprocess import InProcessShell
from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings, Tls
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.client.http import STRATEGIC_PATCH, ApiClient
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.kubelet.agent import NodeAgent
from oarlock.cluster.kubelet.settings import AgentSettings
from oarlock.cluster.kubelet.settings import Tls as NodeTls
from oarlock.consensus.memory import MemoryStore

Object = dict[str, Any]

PARTS = {
    "controllers": "oarlock.actors.controllers.component:create",
    "scheduler": "oarlock.actors.scheduler.component:create",
}
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SETTLE_S, IDLE_S = 15.0, 30.0
IN_FLIGHT = 64


class Bench:
    """An API server, controllers and scheduler in processes of their own, and agents with hollow nodes."""

    def __init__(self, folder: Path, settings: ClientSettings, store: MemoryStore) -> None:
        self.folder, self.settings, self.store = folder, settings, store
        self.client = ApiClient(settings)
        self.hosts: dict[str, asyncio.subprocess.Process] = {}

    async def host(self, name: str, *more: str, known_as: str = "") -> None:
        """Run a component, a second copy of one that is `known_as` such, or an agent, in a process of its own."""
        at = self.settings
        files = [str(one) for one in (at.server, at.ca_file, at.cert_file, at.key_file)]
        command = (sys.executable, "-m", "bench.controllers", name, *files, *more)
        self.hosts[known_as or name] = await asyncio.create_subprocess_exec(*command)

    async def agent(self, name: str, hollow: int, number: int) -> None:
        """Run an agent with `hollow` nodes, and wait until all stand in the API."""
        await self.host(name, str(self.folder / name), str(hollow), str(number))

        async def registered() -> bool:
            nodes = (await self.client.list("/api/v1/nodes"))["items"]
            ready = [node for node in nodes if node["metadata"]["name"].startswith(f"{name}-") and node.get("status")]
            return len(ready) == hollow

        await until(registered, 120)

    async def pods(self, app: str) -> list[Object]:
        """Return the pods of one Deployment."""
        page = await self.client.list(PODS, {"resourceVersion": "0", "labelSelector": f"app={app}"})
        found: list[Object] = page["items"]
        return found

    async def deploy(self, name: str, replicas: int) -> None:
        """Create a Deployment and wait until it is available."""
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
        await self.client.create(DEPLOYMENTS, body)

        async def available() -> bool:
            found = await self.client.get(f"{DEPLOYMENTS}/{name}")
            return bool((found.get("status") or {}).get("availableReplicas", 0) == replicas)

        await until(available, 600)

    async def stop(self) -> None:
        """End everything."""
        for process in self.hosts.values():
            process.terminate()
        await asyncio.gather(*(process.wait() for process in self.hosts.values()))
        await self.client.close()


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="oarlock-bench-") as name:
        folder = Path(name)
        (folder / "pki").mkdir(mode=0o700)
        authority = Authority(folder / "pki")
        serving = authority.issue("apiserver", "kube-apiserver", hosts=["127.0.0.1", "localhost"])
        admin = authority.issue("admin", "admin", ["system:masters"])
        tls = Tls(str(serving.ca), str(serving.cert), str(serving.key))
        mine = Tls(str(admin.ca), str(admin.cert), str(admin.key))
        store = MemoryStore()
        server = ApiServer(ApiServerSettings("bench", host="127.0.0.1", tls=tls, kubelet_tls=mine), store)
        await server.start()
        settings = ClientSettings(server.url, mine.ca_file, mine.cert_file, mine.key_file)
        made = Bench(folder, settings, store)
        try:
            for part in PARTS:
                await made.host(part)
            yield made
        finally:
            await made.stop()
            await server.stop()


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float) -> float:
    """Return after how many seconds it held; raises TimeoutError."""
    began = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 - the API is asked as a user would
            await asyncio.sleep(0.05)
    return time.monotonic() - began


async def many(calls: list[Callable[[], Awaitable[object]]]) -> None:
    """Make calls, `IN_FLIGHT` at a time."""
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(call: Callable[[], Awaitable[object]]) -> None:
        async with gate:
            await call()

    await asyncio.gather(*(one(call) for call in calls))


async def idle(made: Bench) -> tuple[float, float]:
    """Return CPU in percent of a core, and MiB, of the controllers while nothing happens."""
    process = made.hosts["controllers"].pid
    await asyncio.sleep(SETTLE_S)
    before = cpu_s(process)
    await asyncio.sleep(IDLE_S)
    return (cpu_s(process) - before) / IDLE_S * 100, _resident_mib(process)


async def healing(made: Bench) -> float:
    """Return the seconds from a node's death until its pods run elsewhere."""
    await made.deploy("healed", 30)
    victims = {pod["metadata"]["name"] for pod in await made.pods("healed") if pod["spec"]["nodeName"] == "n2-1"}
    agent = made.hosts.pop("n2")
    agent.kill()
    await agent.wait()
    began = time.monotonic()

    async def healed() -> bool:
        pods = [pod for pod in await made.pods("healed") if not pod["metadata"].get("deletionTimestamp")]
        running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
        return len(running) == 30 and not victims & {pod["metadata"]["name"] for pod in running}

    await until(healed, 120)
    return time.monotonic() - began


async def collecting(made: Bench, replicas: int) -> float:
    """Return the seconds from a Deployment's deletion until its last pod is gone."""
    await made.deploy("large", replicas)
    await made.client.delete(f"{DEPLOYMENTS}/large", {"propagationPolicy": "Background"})

    async def gone() -> bool:
        page = await made.client.get(PODS, {"labelSelector": "app=large", "limit": "1", "resourceVersion": "0"})
        return not page["items"]

    return await until(gone, 600)


async def emptying(made: Bench, objects: int) -> float:
    """Return the seconds in which a namespace with so many objects goes."""
    path = "/api/v1/namespaces"
    await made.client.create(path, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "full"}})

    def create(number: int) -> Callable[[], Awaitable[object]]:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}}
        return lambda: made.client.create(f"{path}/full/configmaps", body)

    await many([create(number) for number in range(objects)])
    await made.client.delete(f"{path}/full")

    async def gone() -> bool:
        return "full" not in {one["metadata"]["name"] for one in (await made.client.list(path))["items"]}

    return await until(gone, 300)


async def following(made: Bench, times: int) -> list[float]:
    """Return the seconds from a pod's change of readiness until its slice shows it, sorted."""
    spec = {"selector": {"app": "followed"}, "ports": [{"port": 80}]}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "followed"}, "spec": spec}
    await made.client.create("/api/v1/namespaces/default/services", body)
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "nobody"}}  # no agent that sets the status back
    await made.client.create("/api/v1/nodes", node)
    metadata = {"name": "followed", "labels": {"app": "followed"}}
    container = {"name": "c", "image": "x"}
    pod = {"metadata": metadata, "spec": {"nodeName": "nobody", "containers": [container]}}
    await made.client.create(PODS, {"apiVersion": "v1", "kind": "Pod", **pod})
    address = {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}
    ready = {**address, "conditions": [{"type": "Ready", "status": "True"}]}
    await made.client.patch(f"{PODS}/followed/status", {"status": ready}, STRATEGIC_PATCH)
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    seen: asyncio.Queue[bool] = asyncio.Queue()

    async def watch() -> None:
        async for event in made.client.watch(slices, {"labelSelector": "kubernetes.io/service-name=followed"}):
            for one in event["object"].get("endpoints") or ():
                seen.put_nowait(one["conditions"]["ready"])

    watching = asyncio.ensure_future(watch())
    found = []
    while not await seen.get():
        pass
    for number in range(times):
        ready = number % 2 == 1
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        began = time.monotonic()
        await made.client.patch(
            f"{PODS}/followed/status",
            {"status": {"conditions": [condition]}},
            STRATEGIC_PATCH,
        )
        while await seen.get() != ready:
            pass
        found.append(time.monotonic() - began)
    watching.cancel()
    await made.client.delete("/api/v1/nodes/nobody")
    return sorted(found)


def measure(replicas: int = 5000, objects: int = 2000) -> str:
    """Return the table of figures."""
    return uvloop.run(_measure(replicas, objects))


async def _measure(replicas: int, objects: int) -> str:
    rows: list[tuple[str, str]] = []
    async with bench() as made:
        for number in (1, 2, 3):
            await made.agent(f"n{number}", 1, number)
        percent, mib = await idle(made)
        rows.append(("all controllers idle, CPU of a core", f"{percent:.1f} %"))
        rows.append(("all controllers idle, memory", f"{mib:.0f} MiB"))
        found = await following(made, 100)
        assert found, "nothing was measured"
        half, most = found[len(found) // 2] * 1000, found[-2] * 1000
        rows.append(("a slice follows a pod's readiness, p50 / p99", f"{half:.0f} / {most:.0f} ms"))
        rows.append((f"a namespace with {objects:,} objects gone", f"{await emptying(made, objects):.1f} s"))
        rows.append(("a dead node's 30 pods Running elsewhere", f"{await healing(made):.1f} s"))
        await made.agent("many", 100, 4)
        rows.append((f"{replicas:,} pods of a Deployment collected", f"{await collecting(made, replicas):.1f} s"))
    return table(("what", "figure"), rows)


def _resident_mib(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


def cpu_s(process: int) -> float:
    """Return the CPU seconds that a process has used since its start."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _host(name: str, server: str, ca_file: str, cert_file: str, key_file: str, *more: str) -> None:
    client = ClientSettings(server, ca_file, cert_file, key_file)
    if more:
        tls = NodeTls(ca_file, cert_file, key_file)
        place = (name, "127.0.0.1", f"127.{more[2]}.0", tls, client, Path(more[0]))
        await NodeAgent(
            AgentSettings(*place, port=0, runtime="hollow", hollow_count=int(more[1]), pods_max=5000)
        ).start()
    else:
        # Pods mount the cluster's CA, which a controller publishes.
        ca_pem = await asyncio.to_thread(Path(ca_file).read_text)
        settings = {"ca_pem": ca_pem} if name == "controllers" else {}
        context = ComponentContext(client, f"{name}-{os.getpid()}", name, 5000, settings)
        await InProcessShell([(PARTS[name], context)]).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_host(*sys.argv[1:]))
