"""The GCS's state begins once for each generation, and only who holds the lease can begin it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from harness.redis import Redis
from harness.store import run

from oarlock.actors.shell.ray_head import whereabouts
from oarlock.actors.shell.ray_processes import HeadSettings, Hosted
from oarlock.actors.shell.ray_state import StateUnreachable, cluster_id, prepare, until_cut
from oarlock.cluster.client.settings import ClientSettings
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import Delete, Put, Transaction
from oarlock.consensus.resp.server import RespServer, RespSettings

ACTORS = (Hosted("scheduler", "a.b:c"), Hosted("controllers", "d.e:f"))


class World:
    def __init__(self, front: RespServer, store: MemoryStore) -> None:
        self.store, self.front = store, front
        client = ClientSettings("http://127.0.0.1:1")
        self.head = HeadSettings(client, 1, "127.0.0.1", front.port, "secret", "first")

    async def term(self) -> str:
        await self.store.transact(Transaction(success=(Delete(b"/leases/gcs"),)))
        done = await self.store.transact(Transaction(success=(Put(b"/leases/gcs", b"x"),)))
        return f"gcs={done.revision}"

    async def redis(self) -> Redis:
        redis = await Redis.connect(self.head.state_port)
        await redis("AUTH", await self.term(), "secret")
        return redis


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    store = MemoryStore()
    front = RespServer(RespSettings("127.0.0.1", 0, "secret", "/ray/", "/leases/"), store)
    await front.start()
    try:
        yield World(front, store)
    finally:
        await front.stop()


def test_a_generation_begins_once_and_keeps_its_actors() -> None:
    async def scenario() -> None:
        async with world() as one:
            assert await prepare(one.head, await one.term(), ACTORS) == (True, ACTORS)
            redis = await one.redis()
            await redis("HSET", "RAYoarlock@NODE", "n", "kept")
            name = b"@namespace_cluster:ray_cluster_id"
            assert (await redis("HGET", "RAYoarlock@KV", name)).hex() == cluster_id("first")
            assert await prepare(one.head, await one.term(), ()) == (False, ACTORS), "what is kept counts"
            redis = await one.redis()
            assert await redis("HGET", "RAYoarlock@NODE", "n") == b"kept"

    run(scenario)


def test_another_generation_begins_with_nothing() -> None:
    async def scenario() -> None:
        async with world() as one:
            await prepare(one.head, await one.term(), ACTORS)
            redis = await one.redis()
            await redis("HSET", "RAYoarlock@NODE", "n", "old")
            second = dataclasses.replace(one.head, generation="second")
            assert await prepare(second, await one.term(), ACTORS[:1]) == (True, ACTORS[:1])
            redis = await one.redis()
            assert await redis("HGET", "RAYoarlock@NODE", "n") is None

    run(scenario)


def test_who_lost_the_lease_begins_nothing() -> None:
    async def scenario() -> None:
        async with world() as one:
            late = await one.term()
            await prepare(one.head, await one.term(), ACTORS)
            with pytest.raises(StateUnreachable, match="WRONGPASS"):
                await prepare(dataclasses.replace(one.head, generation="second"), late, ())
            assert await prepare(one.head, await one.term(), ()) == (False, ACTORS)
            with pytest.raises(StateUnreachable):
                await prepare(dataclasses.replace(one.head, state_port=1), late, ())

    run(scenario)


def test_a_head_learns_that_its_front_or_its_term_is_gone() -> None:
    async def scenario() -> None:
        async with world() as one:
            for end in (one.term, one.front.stop):
                holding = asyncio.ensure_future(until_cut(one.head, await one.term()))
                assert not (await asyncio.wait((holding,), timeout=0.2))[0]
                await end()
                with pytest.raises(StateUnreachable):
                    await holding

    run(scenario)


@pytest.mark.parametrize(
    ("identity", "where"),
    [
        ("ray-1/7.2@127.0.0.1:6380", ("127.0.0.1", 6380)),
        ("ray-1/7.2@fd00::1:6380", ("fd00::1", 6380)),
        ("scheduler-a/7.1", None),
        ("", None),
    ],
)
def test_an_identity_says_where_the_gcs_is(identity: str, where: Any) -> None:
    assert whereabouts(identity) == where
