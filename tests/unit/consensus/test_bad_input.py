"""Bad input is refused with a clear error, by client and server alike, and nothing is damaged by it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from harness.store import client, endpoint, everything, free_ports, put, replica, run

from oarlock.consensus import client as client_module
from oarlock.consensus.model import (
    OPERATIONS_MAX,
    REQUEST_BYTES_MAX,
    Compare,
    Delete,
    InvalidRequest,
    LeaseNotFound,
    Put,
    Range,
    StoreError,
    Transaction,
)
from oarlock.consensus.storage import FolderRefused

KEYS = tuple(b"k%03d" % n for n in range(OPERATIONS_MAX + 1))
TRANSACTIONS: dict[str, tuple[Transaction, str]] = {
    "a value that is too large": (put(b"k", bytes(REQUEST_BYTES_MAX)), "request is too large"),
    "values that are too large together": (
        Transaction(success=(Put(b"a", bytes(1 << 20)), Put(b"b", bytes(1 << 20)))),
        "request is too large",
    ),
    "a key that is too large": (put(bytes(REQUEST_BYTES_MAX + 1), b""), "request is too large"),
    "129 operations": (Transaction(success=tuple(Put(key, b"") for key in KEYS)), "too many operations in txn request"),
    "129 operations in the branch not taken": (
        Transaction(failure=tuple(Put(key, b"") for key in KEYS)),
        "too many operations in txn request",
    ),
    "129 compares": (
        Transaction(tuple(Compare(key, "mod", "==", 0) for key in KEYS)),
        "too many operations in txn request",
    ),
    "a key put twice": (Transaction(success=(Put(b"k", b"1"), Put(b"k", b"2"))), "duplicate key"),
    "a key put and deleted": (Transaction(success=(Put(b"k", b"1"), Delete(b"k"))), "duplicate key"),
    "a key put and deleted in a range": (Transaction(success=(Delete(b"a", b"z"), Put(b"k", b""))), "duplicate key"),
    "an empty key": (put(b""), "key is not provided"),
    "an empty key to delete": (Transaction(success=(Delete(b""),)), "key is not provided"),
    "an empty key to read": (Transaction(success=(Range(b""),)), "key is not provided"),
    "an empty key to compare": (Transaction((Compare(b"", "mod", "==", 0),)), "key is not provided"),
    "a negative lease": (Transaction(success=(Put(b"k", b"", lease=-1),)), "lease"),
    "a lease beyond 63 bits": (Transaction(success=(Put(b"k", b"", lease=1 << 63),)), "lease"),
    "a number for a value": (Transaction((Compare(b"k", "value", "==", 3),)), "value needs bytes"),
    "bytes for a number": (Transaction((Compare(b"k", "mod", "==", b"3"),)), "needs a number"),
    "a number beyond 64 bits": (Transaction((Compare(b"k", "mod", "==", 1 << 70),)), ""),
    "an unknown target": (Transaction((Compare(b"k", "size", "==", 3),)), ""),  # type: ignore[arg-type]
    "an unknown relation": (Transaction((Compare(b"k", "mod", "~", 3),)), ""),  # type: ignore[arg-type]
    "a negative limit": (Transaction(success=(Range(b"k", limit=-1),)), ""),
    "a negative revision": (Transaction(success=(Range(b"k", revision=-1),)), ""),
}
RANGES: dict[str, Range] = {
    "an empty key": Range(b""),
    "a negative limit": Range(b"k", limit=-1),
    "a negative revision": Range(b"k", revision=-1),
    "a limit beyond 63 bits": Range(b"k", limit=1 << 63),
    "a revision beyond 63 bits": Range(b"k", revision=1 << 63),
    "a limit beyond 64 bits": Range(b"k", limit=1 << 70),
    "a key that is too large": Range(bytes(REQUEST_BYTES_MAX + 1)),
}


@pytest.fixture
def checked_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who refuses; the server must even if a client doesn't check."""
    if request.param == "server":
        for name in ("validate_transaction", "validate_range", "validate_grant"):
            monkeypatch.setattr(client_module, name, lambda *_: None)
    who: str = request.param
    return who


def refused(tmp_path: Path, act: Callable[[Any], Any], match: str, *errors: type[Exception]) -> None:
    """Check that `act(store)` is refused, that nothing changed, and that the store serves on."""

    async def scenario() -> None:
        async with replica(tmp_path) as server, client(endpoint(server), wait_s=5) as store:
            await store.transact(put(b"k", b"before"))
            before = await everything(store)
            with pytest.raises(errors or InvalidRequest, match=match or None):
                await act(store)
            assert await everything(store) == before
            assert (await store.transact(put(b"k", b"after"))).revision == before[0] + 1
            assert server.store.machine.range(Range(b"k")).kvs[0].value == b"after"

    run(scenario)


def both(kinds: Iterable[str]) -> list[tuple[str, str]]:
    """Return each kind with each who refuses it; what can't be said on the wire never comes to a server."""
    return [(kind, who) for kind in kinds for who in ("client", "server") if who == "client" or "64 bits" not in kind]


@pytest.mark.parametrize(("kind", "checked_by"), both(TRANSACTIONS), indirect=["checked_by"])
def test_transactions(tmp_path: Path, kind: str, checked_by: str) -> None:
    transaction, match = TRANSACTIONS[kind]
    refused(tmp_path, lambda store: store.transact(transaction), match if checked_by == "client" else "")


@pytest.mark.parametrize(("kind", "checked_by"), both(RANGES), indirect=["checked_by"])
def test_ranges(tmp_path: Path, kind: str, checked_by: str) -> None:
    refused(tmp_path, lambda store: store.range(RANGES[kind]), "")


@pytest.mark.parametrize(("lease", "ttl_ms"), [(0, 0), (0, -1), (-1, 1000), (1 << 63, 1000), (0, 1 << 62)])
@pytest.mark.parametrize("checked_by", ["client", "server"], indirect=True)
def test_leases(tmp_path: Path, lease: int, ttl_ms: int, checked_by: str) -> None:
    refused(tmp_path, lambda store: store.lease_grant(ttl_ms, lease), "")


@pytest.mark.parametrize("number", [-1, 0, 1 << 63, 1 << 70])
def test_numbers_of_other_calls(tmp_path: Path, number: int) -> None:
    refused(tmp_path, lambda store: store.compact(number), "", StoreError)
    refused(tmp_path, lambda store: store.lease_keep_alive(number), "", InvalidRequest, LeaseNotFound)
    refused(tmp_path, lambda store: store.lease_revoke(number), "", InvalidRequest, LeaseNotFound)
    refused(tmp_path, lambda store: store.lease_status(number), "", InvalidRequest, LeaseNotFound)


async def _first(store: Any, key: bytes, start: int) -> None:
    async for _ in store.watch(key, b"", start):
        return


@pytest.mark.parametrize(("key", "start"), [(b"", 1), (b"k", -1), (b"k", 1 << 63), (b"k", 1 << 70)])
def test_watches(tmp_path: Path, key: bytes, start: int) -> None:
    refused(tmp_path, lambda store: _first(store, key, start), "")


def test_the_largest_that_is_allowed_is_carried_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with replica(tmp_path) as server, client(endpoint(server)) as store:
            value = os.urandom(REQUEST_BYTES_MAX - 1)
            await store.transact(put(b"k", value))
            assert (await store.range(Range(b"k"))).kvs[0].value == value
            many = Transaction(success=tuple(Put(key, b"v") for key in KEYS[:-1]))
            assert len((await store.transact(many)).responses) == OPERATIONS_MAX
            whole = await everything(store)
        async with replica(tmp_path) as server, client(endpoint(server)) as store:
            assert await everything(store) == whole

    run(scenario)


# Folders, with real processes.


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """What a store process reads."""
    peer, port = free_ports(2)
    return {
        "name": "a", "members": {"a": ["127.0.0.1", peer]}, "data_dir": str(folder / "data"), "cluster_id": "one",
        "host": "127.0.0.1", "port": port,
    } | changes  # fmt: skip


SERVE = """
import asyncio, json, sys
from pathlib import Path
from oarlock.consensus.server import StoreServer, StoreSettings
from oarlock.consensus.replica import ReplicaFailed
from oarlock.consensus.storage import StorageFault

async def main(data_dir, members, **settings):
    server = StoreServer(StoreSettings(
        data_dir=Path(data_dir), members={name: tuple(one) for name, one in members.items()}, **settings))
    try:
        await server.start()
    except (StorageFault, OSError) as fault:
        sys.exit(f"refused: {fault}")
    print("serves", flush=True)
    await server.wait()

asyncio.run(main(**json.loads(sys.argv[1])))
"""


def serve(options: dict[str, Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, json.dumps(options)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def digest(folder: Path) -> dict[str, str]:
    """Return what every file of a replica holds; the lock file names the process that has it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


async def fill(folder: Path) -> tuple[Any, ...]:
    """Write a little, and return the state."""
    async with replica(folder, cluster_id="one") as server, client(endpoint(server)) as store:
        for n in range(10):
            await store.transact(put(b"k%d" % n))
        return await everything(store)


def change_identity(folder: Path, **changes: Any) -> None:
    file = folder / "data" / "identity.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | changes))


@pytest.mark.parametrize(
    ("options", "identity", "text"),
    [
        ({}, {"version": 0}, "has format version 0, this release reads version"),
        ({}, {"version": 99}, "has format version 99, this release reads version"),
        ({"cluster_id": "two"}, {}, "belongs to cluster 'one', not to 'two'"),
        ({"name": "b", "members": {"b": ["127.0.0.1", 1]}}, {}, "belongs to member 'a', not to 'b'"),
    ],
)
def test_another_s_folder_is_refused_and_left_as_it_was(
    tmp_path: Path, options: dict[str, Any], identity: dict[str, Any], text: str
) -> None:
    async def scenario() -> None:
        whole = await fill(tmp_path)
        original = (tmp_path / "data" / "identity.json").read_bytes()
        change_identity(tmp_path, **identity)
        before = digest(tmp_path / "data")
        process = await asyncio.to_thread(serve, settings(tmp_path, **options))
        _, error = await asyncio.to_thread(process.communicate)
        assert process.returncode == 1
        assert error.startswith("refused: the folder")
        assert text in error
        assert digest(tmp_path / "data") == before
        (tmp_path / "data" / "identity.json").write_bytes(original)
        async with replica(tmp_path, cluster_id="one") as server, client(endpoint(server)) as store:
            assert await everything(store) == whole

    run(scenario)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xff", b'{"version": 1}'])
def test_an_unreadable_identity_is_refused(tmp_path: Path, content: bytes) -> None:
    async def scenario() -> None:
        await fill(tmp_path)
        (tmp_path / "data" / "identity.json").write_bytes(content)
        before = digest(tmp_path / "data")
        with pytest.raises(FolderRefused, match=r"identity\.json is unreadable"):
            async with replica(tmp_path, cluster_id="one"):
                pass
        assert digest(tmp_path / "data") == before

    run(scenario)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("precious")

    async def scenario() -> None:
        with pytest.raises(FolderRefused, match=r"holds thesis\.txt but no identity"):
            async with replica(tmp_path):
                pass

    run(scenario)
    assert (tmp_path / "data" / "thesis.txt").read_text() == "precious"


def test_a_second_process_on_a_folder_is_refused_and_the_first_serves_on(tmp_path: Path) -> None:
    options = settings(tmp_path)
    first = serve(options)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "serves\n"

        async def scenario() -> None:
            async with client(f"127.0.0.1:{options['port']}") as store:
                await store.transact(put(b"k"))
                second = await asyncio.to_thread(serve, settings(tmp_path))
                _, error = await asyncio.to_thread(second.communicate)
                assert second.returncode == 1
                assert f"is in use by another process (pid {first.pid}): stop it first" in error
                assert (await store.transact(put(b"k", b"2"))).revision == 3
                assert len((await everything(store))[1]) == 1

        run(scenario)
    finally:
        first.kill()
        first.communicate()

    async def again() -> None:
        async with replica(tmp_path, cluster_id="one") as server, client(endpoint(server)) as store:
            assert (await store.range(Range(b"k"))).kvs[0].value == b"2"

    run(again)
