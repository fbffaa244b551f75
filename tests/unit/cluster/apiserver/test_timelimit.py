"""Blocks that share a time limit end when theirs is over, and nobody else's."""

from __future__ import annotations

import asyncio

import pytest

from oarlock.cluster.apiserver.timelimit import TimeLimit


def test_a_block_that_takes_too_long_is_cancelled() -> None:
    async def scenario() -> None:
        limit = TimeLimit(0.01)
        with pytest.raises(TimeoutError), limit.begun():
            await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(scenario())


def test_each_block_has_its_own_time() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        limit, ended = TimeLimit(0.05), dict[str, float]()

        async def block(name: str, after_s: float) -> None:
            await asyncio.sleep(after_s)
            began = loop.time()
            with pytest.raises(TimeoutError), limit.begun():
                await asyncio.Event().wait()
            ended[name] = loop.time() - began

        await asyncio.gather(block("first", 0), block("second", 0.02), block("third", 0.2))
        assert list(ended) == ["first", "second", "third"]
        assert min(ended.values()) >= 0.05

    asyncio.run(scenario())


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    async def scenario() -> str:
        limit = TimeLimit(0.01)
        with limit.begun():
            pass
        with pytest.raises(KeyError), limit.begun():
            raise KeyError
        with pytest.raises(TimeoutError), limit.begun():
            await asyncio.Event().wait()  # until the timer has been at work, for all three
        return "went on"

    assert asyncio.run(scenario()) == "went on"


def test_another_cancellation_stays_one() -> None:
    async def scenario() -> None:
        limit, inside = TimeLimit(0.01), asyncio.Event()

        async def work() -> None:
            with limit.begun():
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
