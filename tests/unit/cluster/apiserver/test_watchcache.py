"""The watch cache goes on whatever becomes of those who watch."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.apiserver.connection import ChunkedWire
from oarlock.cluster.apiserver.entries import Batch
from oarlock.cluster.apiserver.fanout import TOLD_AT_ONCE
from oarlock.cluster.apiserver.watchcache import Collection, WatchCache
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import Event, EventKind, KeyValue, Put, Transaction

PREFIX = b"/registry/core/configmaps/"


class Watcher:
    def __init__(self, *, broken: bool) -> None:
        self.broken, self.seen, self.is_lost = broken, 0, False

    def deliver(self, changes: Batch) -> None:
        if self.broken:
            raise AttributeError("what a closed transport says")
        self.seen += len(changes)

    def lost(self) -> None:
        self.is_lost = True


class Ordered(Watcher):
    def __init__(self) -> None:
        super().__init__(broken=False)
        self.revisions: list[int] = []

    def deliver(self, changes: Batch) -> None:
        self.revisions += [change.revision for change in changes]


async def told(cache: WatchCache) -> int:
    """Return the present revision once all watchers have been told of it."""
    revision = await cache.fresh()
    while cache.told_revision < revision:  # noqa: ASYNC110 - every turn of the loop is one step of the telling
        await asyncio.sleep(0)
    return revision


def test_a_watcher_that_fails_is_dropped_and_stops_nobody_else() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        cache = WatchCache(store)
        await cache.start()
        broken, sound = Watcher(broken=True), Watcher(broken=False)
        for watcher in (broken, sound):
            cache.collection(PREFIX).watchers.add(watcher)
        for number in range(3):
            await store.transact(Transaction(success=(Put(PREFIX + b"d/%d" % number, b'{"metadata":{"name":"x"}}'),)))
            await told(cache)
        assert (sound.seen, sound.is_lost) == (3, False)
        assert broken.is_lost
        assert list(cache.collection(PREFIX).watchers) == [sound]
        await cache.stop()
        await store.close()

    asyncio.run(scenario())


def test_many_watchers_are_told_in_several_turns_and_the_others_have_theirs_between() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        cache = WatchCache(store)
        await cache.start()
        watchers = [Watcher(broken=False) for _ in range(3 * TOLD_AT_ONCE)]
        for watcher in watchers:
            cache.collection(PREFIX).watchers.add(watcher)
        between: list[tuple[int, bool]] = []

        async def look() -> None:
            while not between or between[-1][0] < len(watchers):
                told = sum(watcher.seen for watcher in watchers)
                between.append((told, cache.told_revision < cache.revision))
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        await store.transact(Transaction(success=(Put(PREFIX + b"d/0", b'{"metadata":{"name":"x"}}'),)))
        await looking
        some = [behind for told, behind in between if 0 < told < len(watchers)]
        assert some, "all were told in one turn"
        assert all(some), "a bookmark could say that all was told while it wasn't"
        await cache.fresh()
        await cache.stop()
        await store.close()

    asyncio.run(scenario())


def test_changes_reach_each_watcher_in_order_however_many_there_are() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        cache = WatchCache(store)
        await cache.start()
        watchers = [Ordered() for _ in range(2 * TOLD_AT_ONCE + 1)]
        for watcher in watchers:
            cache.collection(PREFIX).watchers.add(watcher)
        for number in range(20):
            await store.transact(Transaction(success=(Put(PREFIX + b"d/%d" % number, b'{"metadata":{"name":"x"}}'),)))
        last = await told(cache)
        assert all(watcher.revisions == list(range(last - 19, last + 1)) for watcher in watchers)
        await cache.stop()
        await store.close()

    asyncio.run(scenario())


def test_a_connection_that_closes_has_nothing_left_to_send() -> None:
    class Closed:
        def is_closing(self) -> bool:
            return True

        def get_write_buffer_size(self) -> int:
            raise AttributeError("'NoneType' object has no attribute '_get_write_buffer_size'")

    class Connection:
        transport = Closed()

    assert ChunkedWire(Connection()).unsent() == 0  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=80), st.integers(0, 40), st.integers(0, 40))
def test_a_collection_s_ranges_follow_every_change(steps: list[tuple[int, bool]], one: int, other: int) -> None:
    collection, expected = Collection(PREFIX, 0), dict[bytes, int]()
    for revision, (number, stays) in enumerate(steps, start=1):
        key = PREFIX + b"%02d/x" % number
        value = b'{"metadata":{"name":"x"}}' if stays else b""
        kv = KeyValue(key, value, 1, revision, 1)
        collection.apply(Event(EventKind.PUT if stays else EventKind.DELETE, kv))
        if stays:
            expected[key] = revision
        else:
            expected.pop(key, None)
    start, end = (PREFIX + b"%02d/" % number for number in sorted((one, other)))
    within = [(key, expected[key]) for key in sorted(expected) if start <= key < end]
    assert [(entry.key, entry.revision) for entry in collection.between(start, end)] == within
    assert collection.count(start, end) == len(within)
    assert collection.exceeds(start, end, len(within)) is False
    assert collection.exceeds(start, end, len(within) - 1) is True or not within
