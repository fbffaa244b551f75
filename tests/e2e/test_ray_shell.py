"""Two Ray nodes host the scheduler for a real API server: takeover, what survives what, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oarlock.actors.shell import ray_remains
from oarlock.actors.shell.hosted import HostedSettings
from oarlock.actors.shell.ray_node import RayNode
from oarlock.actors.shell.ray_processes import MARK, HeadSettings, Hosted, RayNodeSettings, settings_file
from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.cluster.apiserver.storage import LEASES
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.settings import ClientSettings
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.resp.server import RespServer, RespSettings

pytestmark = [pytest.mark.e2e, pytest.mark.ray]
PODS = "/api/v1/namespaces/default/pods"
LEASE = "/oarlock/v1/leases/scheduler"
# No controllers run here, so nobody makes the service accounts of pods or takes the taint of a new node away.
_UNATTENDED = ("ServiceAccount", "TaintNodesByCondition")


@dataclass
class World:
    client: ApiClient
    nodes: dict[str, RayNode]

    def head(self) -> RayNode:
        """The node that runs the GCS, of which there is one."""
        (head,) = (node for node in self.nodes.values() if "gcs" in node.pids)
        return head

    async def holder(self, accept: Callable[[str], bool]) -> tuple[str, int]:
        """Wait for an acceptable holder of the lease; return (copy, process id) out of `scheduler-a/123.1`."""
        async for state in _states(self.client):
            identity = state.get("holder") or ""
            if state["type"] == "HELD" and accept(identity):
                copy, _, rest = identity.partition("/")
                return copy, int(rest.partition(".")[0])
        raise AssertionError("the watch on the lease ended")

    async def bound(self, name: str) -> str:
        """Create a pod and return the node that it was bound to."""
        container = {"name": "c", "image": "host/sleep"}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [container]},
        }
        created = await self.client.create(PODS, pod)
        since = {"resourceVersion": created["metadata"]["resourceVersion"], "fieldSelector": f"metadata.name={name}"}
        async for event in self.client.watch(PODS, since):
            if node := event["object"]["spec"].get("nodeName"):
                return str(node)
        raise AssertionError("the watch on the pod ended")


async def _states(client: ApiClient) -> AsyncIterator[dict[str, Any]]:
    import orjson

    async for line in client.lines(LEASE, {"watch": "1"}):
        yield orjson.loads(line)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """An API server, a Kubernetes node to bind to, and two Ray nodes that host the scheduler."""
    store = MemoryStore()
    server = ApiServer(
        ApiServerSettings("a", loopback_network=True, advertise_address="10.0.0.1", disabled_plugins=_UNATTENDED),
        store,
    )
    await server.start()
    front = RespServer(RespSettings("127.0.0.1", 0, "secret", "/oarlock/ray/", LEASES.decode()), store)
    await front.start()
    client = ApiClient(ClientSettings(server.url))
    await _kubernetes_node(client)
    token_file = folder / "token"
    token_file.write_text("0123456789abcdef0123456789abcdef")
    nodes = {place: RayNode(_settings(folder, place, server.url, front.port)) for place in ("a", "b")}
    try:
        await asyncio.gather(*(node.start() for node in nodes.values()))
        yield World(client, nodes)
    finally:
        await asyncio.gather(*(node.stop() for node in nodes.values()))
        await client.close()
        await front.stop()
        await server.stop()


def _settings(folder: Path, place: str, url: str, state_port: int) -> RayNodeSettings:
    file = settings_file(str(folder / place), "scheduler")
    file.parent.mkdir(parents=True)
    HostedSettings(ClientSettings(url), "scheduler", 1500, log_folder=str(folder / "log")).save(str(file))
    forwarder, gcs = _free_port(), _free_port()
    return RayNodeSettings(
        name=f"ray-{place}",
        position=place,
        folder=str(folder / place),
        gcs_address=f"127.0.0.1:{forwarder}",
        token_file=str(folder / "token"),
        head=HeadSettings(ClientSettings(url), gcs, "127.0.0.1", state_port, "secret", folder.name),
        hosted=(Hosted("scheduler", "oarlock.actors.scheduler.component:create"),),
    )


async def _kubernetes_node(client: ApiClient) -> None:
    node = await client.create("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n0"}})
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    node["status"] = {"capacity": amounts, "allocatable": amounts}
    await client.update("/api/v1/nodes/n0/status", node)


def test_the_scheduler_survives_its_processes() -> None:
    """Sockets need a short path, so the folder isn't pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="or"))
    folders = [str(folder / place) for place in ("a", "b")]

    async def story() -> None:
        async with world(folder) as ray:
            copy, active = await ray.holder(bool)
            assert await ray.bound("before") == "n0"
            raylet = ray.nodes["a"].pids["raylet"]
            assert os.getpriority(os.PRIO_PROCESS, active) == os.getpriority(os.PRIO_PROCESS, raylet)

            zygote = ray.nodes[copy[-1]].pids["zygote"]
            assert parent(active) == zygote
            os.kill(zygote, signal.SIGKILL)
            assert await ray.bound("after-zygote") == "n0"
            assert await ray.holder(bool) == (copy, active), "the death of what actors were forked from must stop none"

            os.kill(active, signal.SIGKILL)
            successor, second = await ray.holder(lambda identity: bool(identity) and f"/{active}." not in identity)
            assert await ray.bound("after-actor") == "n0"

            os.kill(ray.head().pids["gcs"], signal.SIGKILL)
            assert await ray.bound("after-gcs") == "n0"
            assert await ray.holder(bool) == (successor, second), "the death of the GCS must stop no actor"

            place = successor[-1]
            os.kill(ray.nodes[place].pids["raylet"], signal.SIGKILL)
            third, pid = await ray.holder(lambda identity: bool(identity) and f"/{second}." not in identity)
            assert pid not in (active, second)
            assert third[-1] != place, "the standby was on the other node"
            assert await ray.bound("after-raylet") == "n0"
            assert {copy, successor, third} <= {"scheduler-a", "scheduler-b"}

    try:
        asyncio.run(story())
        assert [ray_remains.processes(MARK, each) for each in folders] == [[], []]
    finally:
        for each in folders:
            ray_remains.end_all(MARK, each, grace_s=0)
        shutil.rmtree(folder, ignore_errors=True)
