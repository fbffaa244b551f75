"""How a watch ends: where it can be resumed, or without a word that would make its client miss something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from oarlock.cluster.apiserver import openwatch
from oarlock.cluster.apiserver.entries import Change
from oarlock.cluster.apiserver.metrics import REGISTERED_WATCHERS
from oarlock.cluster.apiserver.openwatch import OpenWatch
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import status
from oarlock.consensus.memory import MemoryStore


class Watcher:
    """Says what it is told to do."""

    def __init__(self) -> None:
        self.call: Callable[[], None] | None = None
        self.is_done = self.is_behind = False
        self.marks: list[int] = []
        self.pumps = 0
        self.failure: Exception | None = None
        self.release = asyncio.Event()

    def deliver(self, changes: list[Change]) -> None: ...

    def lost(self) -> None:
        self.is_done = True
        self.called()

    def called(self) -> None:
        assert self.call is not None
        self.call()

    def progress(self, revision: int) -> None:
        self.marks.append(revision)

    async def pump(self) -> None:
        self.pumps += 1
        await self.release.wait()
        self.release.clear()
        if self.failure is not None:
            raise self.failure
        self.is_behind = False


class Wire:
    def __init__(self) -> None:
        self.sent = b""
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def write_chunks(self, chunks: bytes) -> None: ...

    def push(self, chunks: bytes, unsent_max: int) -> bool:
        raise NotImplementedError

    async def drain(self) -> None: ...

    def unsent(self) -> int:
        return 0

    def abort(self) -> None:
        self.aborted = True


class Rig:
    """An open watch and all that it has to do with; `ended` once it says so."""

    def __init__(self, timeout_s: float = 600.0) -> None:
        self.watcher, self.wire, self.others = Watcher(), Wire(), set[OpenWatch]()
        self.cache = WatchCache(MemoryStore())
        self.cache.revision = 7
        self.ended = asyncio.Event()
        collection = self.cache.collection(b"/registry/x/")
        collection.watchers.add(self.watcher)
        self.gauge = REGISTERED_WATCHERS.labels("", "v1", "tests")
        self.watch = OpenWatch(self.watcher, collection, self.cache, self.gauge, self.others, self.wire, timeout_s)

    def begin(self) -> None:
        self.watch.begin(self._end)

    def _end(self) -> None:
        self.watch.gone()
        self.ended.set()

    async def end(self) -> None:
        async with asyncio.timeout(10):
            await self.ended.wait()
        assert not self.others
        assert not list(self.cache.collection(b"/registry/x/").watchers)
        assert self.gauge._value.get() == 0


def run(scenario: Callable[[], Any]) -> None:
    asyncio.run(scenario())


def test_its_time_ends_it_behind_a_bookmark() -> None:
    async def scenario() -> None:
        rig = Rig(0.01)
        rig.begin()
        await rig.end()
        assert rig.watcher.marks == [7]

    run(scenario)


def test_bookmarks_come_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openwatch, "BOOKMARK_S", 0.001)

    async def scenario() -> None:
        rig = Rig()
        rig.begin()
        async with asyncio.timeout(10):
            while len(rig.watcher.marks) < 3:  # noqa: ASYNC110 - what timers did
                await asyncio.sleep(0.001)
        rig.watch.stop()
        await rig.end()

    run(scenario)


def test_a_server_that_stops_says_where_to_resume() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.begin()
        rig.watch.stop()
        await rig.end()
        assert rig.watcher.marks == [7]

    run(scenario)


def test_one_whose_changes_are_missing_ends_without_a_bookmark() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.begin()
        rig.watcher.lost()
        assert not rig.ended.is_set(), "whoever tells it is in the midst of telling others"
        await rig.end()
        assert rig.watcher.marks == []

    run(scenario)


def test_one_that_is_done_before_it_begins_ends() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.watcher.is_done = True
        rig.begin()
        await rig.end()

    run(scenario)


def test_what_is_held_is_pumped_by_one_task_at_a_time() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.watcher.is_behind = True
        rig.begin()
        for _ in range(3):
            rig.watcher.called()
            await asyncio.sleep(0)
        assert rig.watcher.pumps == 1
        rig.watcher.release.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rig.watcher.called()
        await asyncio.sleep(0)
        assert rig.watcher.pumps == 1, "nothing is held any more"
        rig.watcher.is_behind = True
        rig.watcher.called()
        while rig.watcher.pumps < 2:  # noqa: ASYNC110 - turns of the loop
            await asyncio.sleep(0)
        rig.watch.stop()
        await rig.end()

    run(scenario)


def test_what_can_not_be_converted_ends_it_with_the_reason() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.watcher.is_behind, rig.watcher.failure = True, status.unreasoned("no such webhook")
        rig.begin()
        rig.watcher.release.set()
        await rig.end()
        assert b'"type":"ERROR"' in rig.wire.sent
        assert b"no such webhook" in rig.wire.sent

    run(scenario)


def test_a_bug_in_it_cuts_the_connection() -> None:
    async def scenario() -> None:
        rig = Rig()
        rig.watcher.is_behind, rig.watcher.failure = True, ZeroDivisionError()
        rig.begin()
        rig.watcher.release.set()
        async with asyncio.timeout(10):
            while not rig.wire.aborted:  # noqa: ASYNC110 - turns of the loop
                await asyncio.sleep(0)
        rig.watch.gone()

    run(scenario)
