"""Real agents with hollow nodes, real scheduler and controllers: nodes die, are cut off, come back, a zone goes.

What time does with a node is decided in `test_nodes`, on a clock of its own; here it is shown that all parts together
keep to it. All share one event loop, so that a busy machine makes no node fall silent before the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from harness.controllers import DEPLOYMENTS

from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.inprocess import InProcessShell
from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.client import ClientSettings
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.informers import Informers
from oarlock.cluster.kubelet.agent import NodeAgent
from oarlock.cluster.kubelet.settings import AgentSettings, Tls
from oarlock.consensus.memory import MemoryStore

Object = dict[str, Any]

ZONE = "topology.kubernetes.io/zone"
PARTS = {
    "controllers": "oarlock.actors.controllers.component:create",
    "scheduler": "oarlock.actors.scheduler.component:create",
}
LEASE_TTL_MS = 20_000
pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]


class Wire:
    """What an agent's bytes to the API server go through. Cut, it loses nothing and brings nothing."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = (host, int(port))
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    async def stop(self) -> None:
        self.mend()
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._target)
        for pair in ((reader, back), (there, writer)):
            task = asyncio.ensure_future(self._carry(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                await self._open.wait()
                target.write(data)
                await target.drain()
        target.close()


class World:
    """A cluster whose agents can be killed and cut off."""

    def __init__(self, folder: Path, url: str, stack: AsyncExitStack) -> None:
        self.folder, self.url, self._stack = folder, url, stack
        self.client = ApiClient(ClientSettings(url))
        self.informers = Informers(self.client)
        self.pods = self.informers.cache("", "v1", "pods")
        self.nodes = self.informers.cache("", "v1", "nodes")
        self.authority = Authority(folder)
        self.changed = asyncio.Event()
        for cache in (self.pods, self.nodes):
            cache.add_handler(lambda *_: self.changed.set())

    async def agent(self, name: str, number: int, count: int = 1, zone: str = "") -> tuple[NodeAgent, Wire]:
        wire = Wire(self.url)
        server = await wire.start()
        self._stack.push_async_callback(wire.stop)
        made = self.authority.issue(name, f"system:node:{name}", ["system:nodes"], ["127.0.0.1"])
        tls = Tls(made.ca, made.cert, made.key)
        agent = NodeAgent(
            AgentSettings(
                *(name, "127.0.0.1", f"127.{number}.0", tls, ClientSettings(server), self.folder / name),
                port=0,
                runtime="hollow",
                hollow_count=count,
                labels={ZONE: zone} if zone else {},
            )
        )
        await agent.start()
        self._stack.push_async_callback(agent.stop)
        await agent.wait_registered()
        return agent, wire

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def deploy(self, replicas: int) -> dict[str, str]:
        """Return the uids of the pods that run, each with its node."""
        spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        constraint = {**spread, "labelSelector": {"matchLabels": {"app": "x"}}}
        pod = {"containers": [{"name": "c", "image": "x"}], "topologySpreadConstraints": [constraint]}
        template = {"metadata": {"labels": {"app": "x"}}, "spec": pod}
        spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}, "template": template}
        await self.client.create(DEPLOYMENTS, {"metadata": {"name": "x"}, "spec": spec})
        await self.until(lambda: len(self.running()) == replicas)
        return self.running()

    def running(self) -> dict[str, str]:
        return {
            pod["metadata"]["uid"]: pod["spec"]["nodeName"]
            for pod in self.pods
            if (pod.get("status") or {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
        }

    def ready(self, name: str) -> str:
        conditions = ((self.nodes.get(name) or {}).get("status") or {}).get("conditions") or ()
        return next((str(one["status"]) for one in conditions if one["type"] == "Ready"), "")

    def is_well(self, name: str) -> bool:
        return self.ready(name) == "True" and not (self.nodes.get(name) or {})["spec"].get("taints")


def play(folder: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        server = ApiServer(ApiServerSettings("test"), MemoryStore())
        await server.start()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(server.stop)
            world = World(folder, server.url, stack)
            stack.push_async_callback(world.client.close)
            parts = [
                (
                    factory,
                    ComponentContext(ClientSettings(server.url), f"{name}-a", name, LEASE_TTL_MS, {"ca_pem": "PEM"}),
                )
                for name, factory in PARTS.items()
            ]
            shell = InProcessShell(parts)
            await shell.start()
            stack.push_async_callback(shell.stop)
            world.informers.start()
            stack.push_async_callback(world.informers.stop)
            await world.informers.synced()
            await scenario(world)

    asyncio.run(run())


def test_a_dead_nodes_pods_run_elsewhere(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        (dead, _), *_ = [await world.agent(f"n{number}", number) for number in (1, 2, 3)]
        before = await world.deploy(6)
        assert set(before.values()) == {"n1-1", "n2-1", "n3-1"}
        await dead.stop()
        await world.until(lambda: len(world.running()) == 6 and "n1-1" not in world.running().values())
        stayed = {uid for uid, node in before.items() if node != "n1-1"}
        assert stayed <= set(world.running()), "no other node's pods were touched"

    play(tmp_path, scenario)


def test_a_node_that_is_cut_off_loses_its_pods_and_comes_back_clean(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        (agent, wire), *_ = [await world.agent(f"n{number}", number) for number in (1, 2, 3)]
        before = await world.deploy(6)
        for _ in range(3):  # flapping: shorter than its lease
            wire.cut()
            await asyncio.sleep(2)
            wire.mend()
            await asyncio.sleep(1)
        assert world.running() == before
        wire.cut()
        await world.until(lambda: len(world.running()) == 6 and "n1-1" not in world.running().values())
        assert agent.list_pods(), "it can't know yet"
        wire.mend()
        await world.until(lambda: world.is_well("n1-1") and len(list(world.pods)) == 6)
        async with asyncio.timeout(60):
            while agent.list_pods():  # noqa: ASYNC110 - what an agent runs is told by no event
                await asyncio.sleep(0.1)

    play(tmp_path, scenario)


def test_a_lost_zones_pods_stay_where_they_are(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.agent("a", 1, count=2, zone="a")
        _, wire = await world.agent("b", 2, count=4, zone="b")
        before = await world.deploy(12)
        lost = [f"b-{number}" for number in range(1, 5)]
        assert set(lost) <= set(before.values())
        wire.cut()
        await world.until(lambda: all(world.ready(name) == "Unknown" for name in lost))
        await asyncio.sleep(10)  # longer than one dead node's pods would be left
        assert world.running() == before
        wire.mend()
        await world.until(lambda: all(world.is_well(name) for name in lost))
        assert world.running() == before

    play(tmp_path, scenario)
