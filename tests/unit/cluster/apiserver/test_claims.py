"""A write and its claims happen together or not at all, and who fails learns why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from oarlock.cluster.apiserver.claims import Claim, Unmet, release, replace, require, take
from oarlock.cluster.apiserver.storage import Fence, Stale, Storage
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import Put, Range, Transaction

KEY, ONE, TWO = b"/registry/core/configmaps/default/a", b"/held/one", b"/held/two"
OBJ = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}}
Scenario = Callable[[MemoryStore, Storage], Awaitable[None]]


def run(scenario: Scenario) -> None:
    async def main() -> None:
        store = MemoryStore()
        try:
            await scenario(store, Storage(store, WatchCache(store)))
        finally:
            await store.close()

    asyncio.run(main())


async def value(store: MemoryStore, key: bytes) -> bytes | None:
    kvs = (await store.range(Range(key))).kvs
    return kvs[0].value if kvs else None


async def put(store: MemoryStore, key: bytes, text: bytes) -> int:
    return (await store.transact(Transaction((), (Put(key, text),)))).revision


def test_claims_come_into_force_with_the_object() -> None:
    async def scenario(store: MemoryStore, storage: Storage) -> None:
        revision = await put(store, TWO, b"before")
        entry = await storage.put(KEY, OBJ, None, claims=(take(ONE, b"mine"), replace(TWO, revision, b"after")))
        assert (await value(store, ONE), await value(store, TWO)) == (b"mine", b"after")
        await storage.remove(KEY, entry, claims=(release(ONE, entry.revision), require(TWO, entry.revision)))
        assert [await value(store, key) for key in (KEY, ONE, TWO)] == [None, None, b"after"]

    run(scenario)


@pytest.mark.parametrize(
    "wrong",
    [
        take(ONE, b"mine"),
        replace(ONE, 7, b"mine"),
        release(ONE, 7),
        require(ONE, 7),
        require(ONE, 0),
        replace(TWO, 7, b""),
    ],
)
def test_one_unmet_claim_undoes_all(wrong: Claim) -> None:
    async def scenario(store: MemoryStore, storage: Storage) -> None:
        revision = await put(store, ONE, b"theirs")
        with pytest.raises(Unmet) as unmet:
            await storage.put(KEY, OBJ, None, claims=(take(b"/held/three", b""), wrong))
        assert [await value(store, key) for key in (KEY, ONE, b"/held/three")] == [None, b"theirs", None]
        (found,) = unmet.value.found.items()
        held = found[1].value if found[1] is not None else None
        assert (found[0], held, unmet.value.revision) == (wrong.key, await value(store, wrong.key), revision)

    run(scenario)


def test_a_changed_object_and_a_lost_fence_are_told_before_claims() -> None:
    async def scenario(store: MemoryStore, storage: Storage) -> None:
        await put(store, ONE, b"theirs")
        first = await storage.put(KEY, OBJ, None)
        with pytest.raises(Stale):
            await storage.put(KEY, OBJ, None, claims=(take(ONE, b"mine"),))
        with pytest.raises(ApiError, match="no longer held"):
            await storage.put(KEY, OBJ, first, (Fence("scheduler", 3),), (take(ONE, b"mine"),))

    run(scenario)
