"""Two nodes compete to be Ray's head, with a real GCS on a store in this process, and without raylets."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from harness.redis import Redis
from harness.store import free_ports, run

from oarlock.actors.shell import ray_remains
from oarlock.actors.shell.ray_head import RayHead
from oarlock.actors.shell.ray_keeping import Keeper
from oarlock.actors.shell.ray_processes import (
    MARK,
    HeadSettings,
    RayNodeSettings,
    gcs_command,
    gcs_environment,
    prepare_folders,
)
from oarlock.actors.shell.ray_state import cluster_id
from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.cluster.apiserver.storage import LEASES
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.settings import ClientSettings
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.resp.server import RespServer, RespSettings

pytestmark = [pytest.mark.e2e, pytest.mark.ray]
LEASE = "/oarlock/v1/leases/gcs"


@dataclass
class Node:
    settings: RayNodeSettings
    keeper: Keeper
    head: RayHead


class World:
    def __init__(self, folder: Path, url: str, front: RespServer) -> None:
        self.client = ApiClient(ClientSettings(url))
        self.front = front
        self.nodes = [self._node(folder, place, url) for place in ("a", "b")]

    def _node(self, folder: Path, place: str, url: str) -> Node:
        forwarder, gcs = free_ports(2)
        head = HeadSettings(ClientSettings(url), gcs, "127.0.0.1", self.front.port, "secret", "first")
        token = folder / "token"
        token.write_text("0123456789abcdef0123456789abcdef")
        address = f"127.0.0.1:{forwarder}"
        settings = RayNodeSettings(f"ray-{place}", place, str(folder / place), address, str(token), head)
        prepare_folders(settings)
        keeper = Keeper(settings)
        return Node(settings, keeper, RayHead(settings, keeper))

    async def held(self, accept: Callable[[dict[str, Any]], bool]) -> tuple[Node, int, dict[str, Any]]:
        """Return the node that holds an acceptable term of the lease, its GCS's process, and the term."""
        async for line in self.client.lines(LEASE, {"watch": "1"}):
            state = orjson.loads(line)
            if state["type"] == "HELD" and accept(state):
                node = next(one for one in self.nodes if state["holder"].startswith(f"{one.settings.name}/"))
                return node, await self.serving(node), state
        raise AssertionError("the watch on the lease ended")

    def running(self) -> set[str]:
        """The names of the nodes that run a GCS."""
        return {one.settings.name for one in self.nodes if "gcs" in one.keeper.pids}

    async def serving(self, node: Node, other_than: int = 0) -> int:
        """Return the node's GCS once the other's is gone and all forwarders reach it."""
        while self.running() != {node.settings.name} or node.keeper.pids["gcs"] == other_than:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for one in self.nodes:
            ip, _, port = one.settings.gcs_address.rpartition(":")
            reader, writer = await asyncio.open_connection(ip, int(port))
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            assert await reader.readexactly(9), "HTTP/2 settings"
            writer.close()
        return node.keeper.pids["gcs"]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="oh"))
    store = MemoryStore()
    server = ApiServer(ApiServerSettings("a", loopback_network=True, advertise_address="10.0.0.1"), store)
    await server.start()
    front = RespServer(RespSettings("127.0.0.1", 0, "secret", "/oarlock/ray/", LEASES.decode()), store)
    await front.start()
    one = World(folder, server.url, front)
    try:
        yield one
    finally:
        await asyncio.gather(*(node.head.stop() for node in one.nodes))
        ray_remains.end_all(MARK, str(folder / "a"), grace_s=0)
        await one.client.close()
        await front.stop()
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def id_in_state(world: World, term: dict[str, Any]) -> str:
    redis = await Redis.connect(world.front.port)
    await redis("AUTH", f"gcs={term['epoch']}", "secret")
    found: bytes = await redis("HGET", "RAYoarlock@KV", "@namespace_cluster:ray_cluster_id")
    redis.close()
    return found.hex()


def test_the_head_moves_with_its_state() -> None:
    async def story() -> None:
        async with world() as one:
            await asyncio.gather(*(node.head.start() for node in one.nodes))
            first, gcs, term = await one.held(lambda _: True)
            assert await id_in_state(one, term) == cluster_id("first")

            os.kill(gcs, signal.SIGKILL)
            second_life = await one.serving(first, other_than=gcs)
            assert (await one.client.get(LEASE))["epoch"] == term["epoch"], "a GCS that dies alone moves nowhere"

            os.kill(second_life, signal.SIGSTOP)
            await one.client.create(f"{LEASE}/release", {"identity": term["holder"], "epoch": term["epoch"]})
            epoch = term["epoch"]
            _, third_life, term = await one.held(lambda state: state["epoch"] != epoch)
            assert third_life != second_life
            with pytest.raises(ProcessLookupError):
                os.kill(second_life, 0)  # nothing of the old term is left

            holder = next(node for node in one.nodes if term["holder"].startswith(f"{node.settings.name}/"))
            one.nodes.remove(holder)
            await holder.head.stop()
            after, _, term = await one.held(lambda state: not state["holder"].startswith(f"{holder.settings.name}/"))
            assert after is not holder
            assert await id_in_state(one, term) == cluster_id("first")

    run(story, "uvloop", 110)


def test_a_gcs_whose_node_is_paused_ends_with_its_term() -> None:
    """Nobody kills it: the front cuts it off, and it can't go on without its state."""

    async def story() -> None:
        async with world() as one:
            node = one.nodes[0]
            term = await one.client.create(f"{LEASE}/acquire", {"identity": "paused", "ttlMillis": 60_000})
            command = gcs_command(node.settings, f"gcs={term['epoch']}")
            process = await node.keeper.spawn(command, gcs_environment(node.settings.head))
            ip, port = "127.0.0.1", node.settings.head.gcs_port
            while True:
                try:
                    _, writer = await asyncio.open_connection(ip, port)
                    break
                except OSError:
                    await asyncio.sleep(0.02)
            writer.close()
            await one.client.create(f"{LEASE}/release", {"identity": "paused", "epoch": term["epoch"]})
            assert await process.wait() != 0

    run(story, "uvloop", 110)
