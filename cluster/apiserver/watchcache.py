"""A complete, ordered copy of the registry, fed by one watch over the whole key space.

Because the watch covers every key, each revision of the store reaches the cache, whatever it changed: a read that
must see revision R waits until the cache has reached R. Objects are kept as the bytes that go to clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Iterator

from oarlock.cluster.apiserver.audience import Audience
from oarlock.cluster.apiserver.entries import Change, Entry
from oarlock.cluster.apiserver.fanout import Fanout
from oarlock.cluster.apiserver.indexing import Indexes
from oarlock.consensus.index import KeyIndex
from oarlock.consensus.model import Compacted, Event, EventKind, Range, Store, StoreError

log = logging.getLogger(__name__)

REGISTRY = b"/registry/"
_REGISTRY_END = b"/registry0"
EVERY_KEY = (b"\0", b"\0")
RING_EVENTS_MAX = 4096
"""Events kept for each resource, from which a watch can resume."""
RESUME_REVISIONS = 2000
"""How far back a cache begins, if the store's history reaches that far: a client whose API server died resumes its
watches at another or a new one instead of listing everything anew."""
PAGE_KEYS = 2000
RETRY_S = 0.2


class Collection:
    """All objects under one key prefix, in key order, with the latest changes."""

    def __init__(self, prefix: bytes, floor: int) -> None:
        self.prefix = prefix
        self.entries: dict[bytes, Entry] = {}
        self.keys = KeyIndex()
        self.watchers = Audience()
        self.indexes = Indexes()
        self.floor = floor
        """A watch may resume from this revision or a newer one."""
        self.removals = 0
        """Counts what went: what was found to be used up stays so while this stays."""
        self._ring: deque[Change] = deque()

    def reset(self, floor: int) -> None:
        """Forget everything; what comes next starts at revision `floor`."""
        self.entries, self.keys, self.floor = {}, KeyIndex(), floor
        self.removals += 1
        self._ring.clear()
        self.indexes.clear()

    def fill(self, entries: Iterable[Entry]) -> None:
        """Add entries of new keys that arrive in key order."""
        keys = []
        for entry in entries:
            self.entries[entry.key] = entry
            keys.append(entry.key)
        self.keys.add_all(keys)

    def between(self, start: bytes, end: bytes) -> Iterator[Entry]:
        """Return the entries of `[start, end)` in key order. The collection must not change meanwhile."""
        return map(self.entries.__getitem__, self.keys.between(start, end))

    def count(self, start: bytes, end: bytes) -> int:
        """Return how many entries `[start, end)` holds."""
        return self.keys.count(start, end)

    def exceeds(self, start: bytes, end: bytes, count: int) -> bool:
        """Tell whether `[start, end)` holds more than `count` entries, at the cost of a look at so many keys."""
        return self.keys.exceeds(start, end, count)

    def apply(self, event: Event) -> Change:
        """Take in one store event and remember it for watches that resume."""
        key = event.kv.key
        old = self.entries.get(key)
        new = None if event.kind is EventKind.DELETE else Entry.of(event.kv)
        if new is None:
            if old is not None:
                del self.entries[key]
                self.removals += 1
                self.keys.remove(key)
        else:
            self.entries[key] = new
            if old is None:
                self.keys.add(key)
        change = Change(event.kv.mod_revision, old, new)
        self.indexes.apply(change)
        self._ring.append(change)
        if len(self._ring) > RING_EVENTS_MAX:
            self.floor = self._ring.popleft().revision
        return change

    def after(self, revision: int) -> list[Change] | None:
        """Return the changes newer than `revision`, oldest first, or None if some of them are forgotten."""
        if revision < self.floor:
            return None
        newer: list[Change] = []
        for change in reversed(self._ring):
            if change.revision <= revision:
                break
            newer.append(change)
        newer.reverse()
        return newer


class WatchCache:
    """The registry as of `revision`. `start` returns once it is complete."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._collections: dict[bytes, Collection] = {}
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._feeder: asyncio.Task[None] | None = None
        self._fanout = Fanout()
        self._floor = 0
        self.revision = 0
        self.oldest_shown = 1
        """Reads that any version will do for wait for this one: what was loaded to resume watches is older."""
        self.synced = False

    @property
    def told_revision(self) -> int:
        """Every watcher has been told of all changes up to this one, which may precede `revision`."""
        told = self._fanout.told
        return self.revision if told is None else told

    async def start(self) -> None:
        """Load everything, follow, and return once the present is reached. Raises StoreError if that fails."""
        await self._load_history()
        self._feeder = asyncio.create_task(self._feed(), name="watch cache")
        await self.reach(self.oldest_shown)
        self.synced = True

    async def stop(self) -> None:
        """Stop following; open watches end."""
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
            self._feeder = None
        self._lose_watchers()

    async def failed(self) -> None:
        """Return when following has ended; raise what ended it."""
        if self._feeder is not None:
            await asyncio.wait({self._feeder})
            if not self._feeder.cancelled():
                self._feeder.result()

    def collection(self, prefix: bytes) -> Collection:
        """Return the collection of keys under `prefix` (`/registry/GROUP/PLURAL/`), empty if nothing is there."""
        found = self._collections.get(prefix)
        if found is None:
            found = self._collections[prefix] = Collection(prefix, self._floor)
        return found

    def entry(self, key: bytes) -> Entry | None:
        """Return what the cache shows under a key of the registry."""
        return self.collection(_prefix(key)).entries.get(key)

    def collections(self) -> list[Collection]:
        """Return every collection that was ever asked for or filled."""
        return list(self._collections.values())

    async def reach(self, revision: int, timeout_s: float | None = None) -> None:
        """Wait until the cache holds `revision`. Raises TimeoutError."""
        if self.revision >= revision:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, waiter))
        async with asyncio.timeout(timeout_s):
            await waiter

    async def fresh(self, timeout_s: float = 10.0) -> int:
        """Wait until the cache holds everything acknowledged before this call; return the revision asked for.

        Raises TimeoutError, StoreError.
        """
        revision = await self._store.revision()
        await self.reach(revision, timeout_s)
        return revision

    async def _load_history(self) -> None:
        """Hold the registry as it was RESUME_REVISIONS ago, if the store knows that, else as it is."""
        self.oldest_shown = await self._store.revision()
        past = max(1, self.oldest_shown - RESUME_REVISIONS)
        if past < self.oldest_shown:
            with contextlib.suppress(Compacted):
                await self._load(past)
                return
        await self._load()

    async def _load(self, revision: int = 0) -> None:
        """Hold the registry as of `revision`, 0 for now."""
        start = REGISTRY
        entries: dict[bytes, list[Entry]] = {}
        while True:
            page = await self._store.range(Range(start, _REGISTRY_END, limit=PAGE_KEYS, revision=revision))
            revision = revision or page.revision
            for kv in page.kvs:
                entries.setdefault(_prefix(kv.key), []).append(Entry.of(kv))
            if not page.more:
                break
            start = page.kvs[-1].key + b"\0"
        for collection in self._collections.values():
            collection.reset(revision)
        self._floor = revision
        for prefix, group in entries.items():
            self.collection(prefix).fill(group)
        self._advance(revision)

    async def _feed(self) -> None:
        while True:
            try:
                await self._follow()
            except Compacted:
                log.warning("watch cache fell behind the store's history: loading anew")
                await self._reload()
            except StoreError as error:
                log.warning("watch cache lost its store watch at revision %d: %s", self.revision, error)
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        watch = self._store.watch(*EVERY_KEY, self.revision + 1)
        try:
            async for batch in watch:
                self._take(batch.events)
                self._advance(max(batch.revision, self.revision))
                self._fanout.begin()
                await self._fanout.room()
        finally:
            await watch.close()

    async def _reload(self) -> None:
        self.synced = False
        self._lose_watchers()
        while not self.synced:
            try:
                await self._load()
                self.synced = True
            except StoreError as error:
                log.warning("watch cache can't load: %s", error)
                await asyncio.sleep(RETRY_S)

    def _take(self, events: tuple[Event, ...]) -> None:
        """Hold what the events made of the registry, and have told of it whom it concerns."""
        touched: dict[bytes, list[Change]] = {}
        for event in events:
            key = event.kv.key
            if key.startswith(REGISTRY) and event.kv.mod_revision > self.revision:
                prefix = _prefix(key)
                change = self.collection(prefix).apply(event)
                if change.old is not None or change.new is not None:
                    touched.setdefault(prefix, []).append(change)
        for prefix, changes in touched.items():
            self._fanout.add(self._collections[prefix].watchers, changes)

    def _advance(self, revision: int) -> None:
        self.revision = revision
        if not self._waiting:
            return
        waiting: list[tuple[int, asyncio.Future[None]]] = []
        for asked, waiter in self._waiting:
            if waiter.done():
                continue
            if asked <= revision:
                waiter.set_result(None)
            else:
                waiting.append((asked, waiter))
        self._waiting = waiting

    def _lose_watchers(self) -> None:
        self._fanout.clear()
        for collection in self._collections.values():
            watchers, collection.watchers = collection.watchers, Audience()
            for watcher in watchers:
                watcher.lost()


def _prefix(key: bytes) -> bytes:
    parts = key.split(b"/", 4)
    return b"/".join((*parts[:4], b""))
