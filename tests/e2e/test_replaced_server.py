"""A store whose folder was replaced comes back, as a process under its host's supervisor, and harms nothing."""

from __future__ import annotations

import asyncio
import shutil
import socket
from dataclasses import asdict
from pathlib import Path

import pytest
from harness.authority import Authority

from oarlock.cluster.boot.parts import Part, PartStatus
from oarlock.cluster.boot.state import StateFolder
from oarlock.cluster.boot.supervisor import Supervisor
from oarlock.consensus.certificates import NAME_PREFIX
from oarlock.consensus.client import StoreClient
from oarlock.consensus.model import Put, Range, Transaction

pytestmark = pytest.mark.e2e

LOOPBACK = "127.0.0.1"
NAMES = "abc"


class Hosts:
    """Three hosts of one machine, each with a supervisor that runs a store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        authority = Authority(folder / "pki")
        listeners = [socket.create_server((LOOPBACK, 0)) for _ in range(2 * len(NAMES))]
        ports = [listener.getsockname()[1] for listener in listeners]
        for listener in listeners:
            listener.close()
        self._tls = {
            name: authority.issue(NAME_PREFIX + name, ["system:masters"], file=name, hosts=[LOOPBACK]) for name in NAMES
        }
        self._members = {name: [LOOPBACK, port] for name, port in zip(NAMES, ports[:3], strict=True)}
        self._ports = dict(zip(NAMES, ports[3:], strict=True))
        self.supervisors: dict[str, Supervisor] = {}

    def data(self, name: str) -> Path:
        return self._folder / name / "data"

    async def start(self, *names: str) -> None:
        for name in names:
            folder = StateFolder(self._folder / name / "state")
            folder.create()
            settings = {
                "name": name,
                "members": self._members,
                "data_dir": str(self.data(name)),
                "cluster_id": "one",
                "host": LOOPBACK,
                "port": self._ports[name],
                "tls": {key: str(file) for key, file in asdict(self._tls[name]).items()},
            }
            supervisor = self.supervisors[name] = Supervisor([Part("store", "store", "store", settings)], folder)
            await supervisor.start()
        for name in names:
            await self.state(name, "ready")

    async def state(self, name: str, wanted: str) -> PartStatus:
        """Wait until the store of a host is in a state, and return its status."""
        board = self.supervisors[name].board
        async with asyncio.timeout(60):
            async for _ in board.watch():
                if board.statuses["store"].state == wanted:
                    break
        return board.statuses["store"]

    async def joined(self, name: str, times: int) -> None:
        """Wait until a host's store has said so often that it votes: once for each empty folder that it was given."""
        log = self._folder / name / "state" / "logs" / "store.log"
        async with asyncio.timeout(60):
            while log.read_text().count(f"votes from now on name={name}") < times:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # a log has no event

    async def stop(self, *names: str) -> None:
        await asyncio.gather(*(self.supervisors.pop(name).stop() for name in names))
        for name in names:
            shutil.rmtree(StateFolder(self._folder / name / "state").runtime)

    def client(self, *names: str) -> StoreClient:
        return StoreClient([f"{LOOPBACK}:{self._ports[name]}" for name in names], self._tls["a"])

    async def put(self, value: bytes, *names: str) -> None:
        """Write a value, which all of `names` together acknowledge if they are a bare majority."""
        client = self.client(*names)
        await client.start()
        await client.transact(Transaction((), (Put(b"key", value),), ()))
        await client.close()

    async def get(self, *names: str) -> bytes:
        client = self.client(*names)
        await client.start()
        found = await client.range(Range(b"key"))
        await client.close()
        return found.kvs[0].value


def test_an_old_disk_comes_back_after_its_seat_was_taken(tmp_path: Path) -> None:
    async def scenario(hosts: Hosts) -> None:
        old, new = tmp_path / "old", tmp_path / "new"
        await hosts.start(*NAMES)
        await asyncio.gather(*(hosts.joined(name, 1) for name in NAMES))
        await hosts.put(b"first", *NAMES)
        await hosts.stop("c")
        hosts.data("c").rename(old)
        await hosts.start("c")
        await hosts.joined("c", 2)
        await hosts.stop("b")
        await hosts.put(b"acknowledged", "a", "c")  # which b lacks, and the old folder of c
        await hosts.stop("a", "c")
        hosts.data("c").rename(new)
        shutil.copytree(old, hosts.data("c"))
        await hosts.start("b", "c")
        refused = await hosts.state("c", "refused")
        assert "member b says that the seat of member c belongs to a newer folder" in refused.error
        assert "start here with an empty folder" in refused.error
        assert (refused.pid, refused.restarts) == (0, 0)
        assert (await hosts.state("b", "ready")).restarts == 0
        for file in (old / "journal").iterdir():
            assert (hosts.data("c") / "journal" / file.name).read_bytes() == file.read_bytes()
        await hosts.stop("c")
        shutil.rmtree(hosts.data("c"))
        new.rename(hosts.data("c"))
        await hosts.start("c")
        assert await hosts.get("b", "c") == b"acknowledged"
        await hosts.start("a")
        await hosts.put(b"later", "a", "b", "c")

    async def cleanly() -> None:
        hosts = Hosts(tmp_path)
        try:
            await scenario(hosts)
        finally:
            await hosts.stop(*hosts.supervisors)

    asyncio.run(cleanly())
