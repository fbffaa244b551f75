"""The queue's promises: a key waits once, is worked on by one at a time, and is never lost."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.cluster.client.workqueue import ShutDown, WorkQueue


def test_a_key_waits_once() -> None:
    async def scenario() -> None:
        queue = WorkQueue("t")
        for key in ("a", "b", "a"):
            queue.add(key)
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert len(queue) == 0

    asyncio.run(scenario())


def test_a_key_added_while_worked_on_comes_back_after_done() -> None:
    async def scenario() -> None:
        queue = WorkQueue("t")
        queue.add("a")
        key = await queue.get()
        queue.add("a")
        queue.add("a")
        assert len(queue) == 0
        queue.done(key)
        assert await queue.get() == "a"
        queue.done("a")
        assert len(queue) == 0

    asyncio.run(scenario())


def test_get_waits_until_a_key_comes() -> None:
    async def scenario() -> None:
        queue = WorkQueue("t")
        getting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        assert await getting == "a"

    asyncio.run(scenario())


def test_a_cancelled_getter_takes_no_key_with_it() -> None:
    async def scenario() -> None:
        queue = WorkQueue("t")
        first, second = asyncio.ensure_future(queue.get()), asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        assert await second == "a"
        assert first.cancelled()

    asyncio.run(scenario())


def test_of_several_delays_the_shortest_counts() -> None:
    async def scenario() -> None:
        queue = WorkQueue("t")
        queue.add_after("a", 60.0)
        queue.add_after("a", 0.01)
        queue.add_after("a", 30.0)
        assert await queue.get() == "a"
        queue.done("a")
        assert len(queue) == 0

    asyncio.run(scenario())


def test_an_immediate_add_replaces_a_delayed_one() -> None:
    async def scenario() -> None:
        queue = WorkQueue("t")
        queue.add_after("a", 0.01)
        queue.add("a")
        queue.add_after("b", 0.02)
        assert await queue.get() == "a"
        queue.done("a")
        assert await queue.get() == "b"
        assert len(queue) == 0

    asyncio.run(scenario())


def test_back_off_doubles_up_to_its_bound_and_is_forgotten() -> None:
    async def scenario() -> None:
        delays: list[float] = []
        queue = WorkQueue("t", backoff_s=1.0, backoff_max_s=5.0)
        queue.add_after = lambda key, delay_s: delays.append(delay_s)  # type: ignore[method-assign]
        for _ in range(5):
            queue.add_rate_limited("a")
        assert queue.retries("a") == 5
        queue.forget("a")
        queue.add_rate_limited("a")
        assert delays == [1.0, 2.0, 4.0, 5.0, 5.0, 1.0]

    asyncio.run(scenario())


def test_shut_down_ends_waiting_getters() -> None:
    async def scenario() -> None:
        queue = WorkQueue("t")
        waiting = [asyncio.ensure_future(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        queue.shut_down()
        queue.add("a")
        for one in waiting:
            with pytest.raises(ShutDown):
                await one

    asyncio.run(scenario())


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "get", "done", "limited"]), st.sampled_from(["a", "b", "c"])),
        max_size=60,
    )
)
@settings(max_examples=100, deadline=None)
def test_no_key_is_lost_nor_worked_on_twice_at_a_time(steps: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        queue = WorkQueue("t", backoff_s=0.0)
        working: set[str] = set()
        owed: set[str] = set()
        for what, key in steps:
            if what in ("add", "limited"):
                queue.add(key) if what == "add" else queue.add_rate_limited(key)
                owed.add(key)
            elif what == "get" and len(queue):
                got = await queue.get()
                assert got not in working
                working.add(got)
                owed.discard(got)
            elif what == "done" and key in working:
                working.discard(key)
                queue.done(key)
        for key in working:
            queue.done(key)
        left = set()
        while len(queue):
            left.add(await queue.get())
        assert left == owed

    asyncio.run(scenario())
