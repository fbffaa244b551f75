"""Nothing from the network is ever unpickled, though pysyncobj's own wire is pickle."""

from __future__ import annotations

import ast
import asyncio
import pickle
from pathlib import Path
from typing import Any, NoReturn

import pysyncobj.pickle
import pysyncobj.poller
import pysyncobj.tcp_connection
import pysyncobj.tcp_server
import pysyncobj.transport
import pytest
from harness.store import QUICK, client, everything, free_ports, put, run

import oarlock.consensus.replica
from oarlock.consensus.server import StoreServer, StoreSettings

ROOM = Path(oarlock.consensus.replica.__file__).parent
UNSAFE = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "jsonpickle", "joblib"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}


def forbidden(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("pickle or pysyncobj's own network was used")


@pytest.fixture
def disarmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every way to unpickle, and pysyncobj's sockets, fail."""
    for module in (pickle, pysyncobj.pickle):
        for name in ("loads", "load", "Unpickler", "dumps", "dump", "Pickler"):
            monkeypatch.setattr(module, name, forbidden, raising=False)
    monkeypatch.setattr(pysyncobj.transport.TCPTransport, "__init__", forbidden)
    monkeypatch.setattr(pysyncobj.tcp_connection.TcpConnection, "__init__", forbidden)
    monkeypatch.setattr(pysyncobj.tcp_server.TcpServer, "__init__", forbidden)
    monkeypatch.setattr(pysyncobj.poller, "createPoller", forbidden)


async def reached(server: StoreServer, revision: int) -> None:
    """Return once the replica has applied that much."""
    while server.store.machine.revision < revision:  # noqa: ASYNC110 - the machine has no event for it
        await asyncio.sleep(0.005)


def test_members_and_clients_speak_without_pickle(tmp_path: Path, disarmed: None) -> None:
    """Elections, replication, a restart that sends a snapshot, reads and leases."""
    members = {name: ("127.0.0.1", port) for name, port in zip("abc", free_ports(3), strict=True)}

    def server(name: str) -> StoreServer:
        return StoreServer(
            StoreSettings(name, members, tmp_path / name, port=0, times=QUICK, snapshot_after_bytes=20_000)
        )

    async def scenario() -> None:
        servers = {name: server(name) for name in members}
        await asyncio.gather(*(one.start() for one in servers.values()))
        try:
            async with client(*(f"127.0.0.1:{one.port}" for one in servers.values())) as store:
                await store.transact(put(b"first"))
                follower = next(name for name, one in servers.items() if not one.store.leads)
                await servers[follower].stop()
                for n in range(50):
                    await store.transact(put(b"k%d" % n, bytes(5000)))
                lease = await store.lease_grant(60_000)
                servers[follower] = server(follower)
                await servers[follower].start()
                revision = await store.revision()
                await reached(servers[follower], revision)
                assert (await store.lease_keep_alive(lease.lease)).ttl_ms == 60_000
                assert len((await everything(store))[1]) == 51
        finally:
            await asyncio.gather(*(one.stop() for one in servers.values()))

    run(scenario)


@pytest.mark.parametrize("path", sorted(ROOM.glob("*.py")), ids=lambda path: path.stem)
def test_no_module_can_turn_bytes_into_code(path: Path) -> None:
    tree = ast.parse(path.read_bytes())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "", *(alias.name for alias in node.names)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not imported & UNSAFE
    assert not called & UNSAFE_CALLS
    if path.stem != "chassis":
        assert "pysyncobj" not in imported
