"""The watch cache goes on whatever becomes of those who watch."""

from __future__ import annotations

import asyncio

from oarlock.cluster.apiserver.connection import ChunkedWire
from oarlock.cluster.apiserver.entries import Change
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import Put, Transaction

PREFIX = b"/registry/core/configmaps/"


class Watcher:
    def __init__(self, *, broken: bool) -> None:
        self.broken, self.seen, self.is_lost = broken, 0, False

    def deliver(self, changes: list[Change]) -> None:
        if self.broken:
            raise AttributeError("what a closed transport says")
        self.seen += len(changes)

    def lost(self) -> None:
        self.is_lost = True


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
            await cache.fresh()
        assert (sound.seen, sound.is_lost) == (3, False)
        assert broken.is_lost
        assert list(cache.collection(PREFIX).watchers) == [sound]
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
