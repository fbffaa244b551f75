"""Watches: every change reaches every watcher of its key once, in order, from the revision it asked for.

A watcher that keeps up is handed its events as they happen. One that falls `PENDING_MAX` batches behind is handed
no more; it reads on from the retained history when it has room, and is cut, alone, once compaction has overtaken it.
So the memory of a slow watcher is bounded, and it delays nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from oarlock.consensus.history import History
from oarlock.consensus.index import holds
from oarlock.consensus.model import Compacted, Event, InvalidRequest, StoreError, WatchBatch

PENDING_MAX = 1024
"""Revisions that wait for one watcher beside the history."""
BATCH_EVENTS_MAX = 1000
"""Events after which a batch ends, at the next revision's border."""
BATCH_BYTES_MAX = 1 << 20
WATCHERS_MAX = 100_000
"""Of one replica."""
SCAN_MAX = 5000
"""Revisions of the history that one `take` looks through, so that catching up never stalls the loop."""


class Watcher:
    """One subscription. `take` hands over the next batch; `on_ready` is called when there is one after there was none.

    `ready` says whether there is one.
    `next_revision` is the first revision that has not been handed over or queued.
    """

    __slots__ = ("_hub", "_lagging", "_notice", "_on_ready", "_pending", "failure", "key", "next_revision",
                 "previous", "range_end", "ready")  # fmt: skip

    def __init__(
        self, hub: WatchHub, key: bytes, range_end: bytes, start: int, on_ready: Callable[[], None], *, previous: bool
    ) -> None:
        self.key = key
        self.range_end = range_end
        self.previous = previous
        self.next_revision = start
        self.failure: StoreError | None = None
        self._hub = hub
        self._on_ready = on_ready
        self._pending: deque[tuple[int, list[Event]]] = deque()
        self._lagging = start <= hub.revision
        self._notice = True
        self.ready = True

    def offer(self, revision: int, events: Sequence[Event]) -> None:
        """Queue the watched events of a new revision, or leave them to be read from the history."""
        if revision < self.next_revision or self._lagging:
            return
        if len(self._pending) >= PENDING_MAX:
            self._lagging = True
            return
        self._pending.append((revision, self._dressed(events)))
        self.next_revision = revision + 1
        self._wake()

    def notify(self) -> None:
        """Have the next batch tell the revision even if nothing happened."""
        self._notice = True
        self._wake()

    def rewind(self) -> None:
        """Read on from a history that has been replaced."""
        self._lagging = self.next_revision <= self._hub.revision
        self._wake()

    def fail(self, failure: StoreError) -> None:
        """End the watch; `take` raises the failure after what is queued."""
        self.failure = failure
        self._wake()

    def take(self) -> WatchBatch | None:
        """Return the next batch, None when there is nothing to tell until `on_ready`. Raises what ended the watch."""
        try:
            return self._take()
        finally:
            self.ready = bool(self._pending) or self._lagging or self.failure is not None

    def _take(self) -> WatchBatch | None:
        if self._pending:
            return self._take_pending()
        if self.failure is not None:
            raise self.failure
        if self._lagging:
            return self._take_history()
        if self._notice:
            self._notice = False
            return WatchBatch(self._hub.revision, ())
        return None

    def close(self) -> None:
        """Stop watching; queued events are dropped."""
        self._pending.clear()
        self._hub.discard(self)

    def _take_pending(self) -> WatchBatch:
        batch: list[Event] = []
        revision = size = 0
        while self._pending and len(batch) < BATCH_EVENTS_MAX and size < BATCH_BYTES_MAX:
            revision, events = self._pending.popleft()
            batch += events
            size += sum(len(event.kv.value) for event in events)
        self._notice = False
        return WatchBatch(revision, tuple(batch))

    def _take_history(self) -> WatchBatch | None:
        history = self._hub.history
        if self.next_revision < history.compact_revision:
            self.failure = Compacted(history.compact_revision)
            self._hub.discard(self)
            raise self.failure
        batch: list[Event] = []
        size = 0
        for events in history.after(self.next_revision - 1, SCAN_MAX):
            watched = [event for event in events if holds(self.key, self.range_end, event.kv.key)]
            batch += self._dressed(watched)
            size += sum(len(event.kv.value) for event in watched)
            self.next_revision += 1
            if len(batch) >= BATCH_EVENTS_MAX or size >= BATCH_BYTES_MAX:
                break
        self._lagging = self.next_revision <= self._hub.revision
        self._notice = False
        return WatchBatch(self.next_revision - 1, tuple(batch))

    def _dressed(self, events: Iterable[Event]) -> list[Event]:
        if self.previous:
            return list(events)
        return [Event(event.kind, event.kv) for event in events]

    def _wake(self) -> None:
        if not self.ready:
            self.ready = True
            self._on_ready()


class WatchHub:
    """All watchers of one replica, found by key; `publish` is called with every revision in order."""

    def __init__(self, history: History, revision: int) -> None:
        self.history = history
        self.revision = revision
        self._by_key: dict[bytes, dict[Watcher, None]] = {}
        self._of_ranges: dict[Watcher, None] = {}
        self._told_compaction = history.compact_revision
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def watch(
        self, key: bytes, range_end: bytes, start_revision: int, on_ready: Callable[[], None], *, previous: bool = False
    ) -> Watcher:
        """Subscribe from `start_revision` on, 0 for from now on. The first batch is there at once, if only a notice.

        A notice is a batch without events; it tells the store's revision, also where the watch begins only later.

        Raises Compacted if the history from there is gone, InvalidRequest beyond WATCHERS_MAX.
        """
        if self._size >= WATCHERS_MAX:
            raise InvalidRequest(f"more than {WATCHERS_MAX} watches")
        start = start_revision or self.revision + 1
        if start < self.history.compact_revision:
            raise Compacted(self.history.compact_revision)
        watcher = Watcher(self, key, range_end, max(start, 2), on_ready, previous=previous)
        self._size += 1
        if range_end:
            self._of_ranges[watcher] = None
        else:
            self._by_key.setdefault(key, {})[watcher] = None
        return watcher

    def publish(self, revision: int, events: tuple[Event, ...]) -> None:
        """Hand the events of the newest revision to their watchers."""
        self.revision = revision
        for watcher in self._of_ranges:
            watched = [event for event in events if holds(watcher.key, watcher.range_end, event.kv.key)]
            if watched:
                watcher.offer(revision, watched)
        if self._by_key:
            for event in events:
                for watcher in self._by_key.get(event.kv.key, ()):
                    watcher.offer(revision, (event,))

    def compacted(self) -> None:
        """Tell watchers of quiet keys how far they are, so that none has to resume from behind the compaction point."""
        for watcher in self.watchers():
            watcher.notify()

    def watchers(self) -> list[Watcher]:
        """Return every open watcher."""
        return [*self._of_ranges, *(watcher for group in self._by_key.values() for watcher in group)]

    def reset(self, history: History, revision: int) -> None:
        """Follow another history, as after a snapshot: every watcher reads on from it."""
        self.history = history
        self.revision = revision
        for watcher in self.watchers():
            watcher.rewind()

    def fail(self, failure: StoreError) -> None:
        """End every watch."""
        for watcher in self.watchers():
            watcher.fail(failure)
            self.discard(watcher)

    def discard(self, watcher: Watcher) -> None:
        """Forget a watcher; harmless if it is forgotten already."""
        if watcher.range_end:
            found = self._of_ranges.pop(watcher, self) is None
        else:
            group = self._by_key.get(watcher.key, {})
            found = group.pop(watcher, self) is None
            if found and not group:
                del self._by_key[watcher.key]
        self._size -= found


class LocalWatch:
    """A watch within the store's own process; implements `model.Watch`."""

    def __init__(self, hub: WatchHub, key: bytes, range_end: bytes, start_revision: int, *, previous: bool) -> None:
        self._ready = asyncio.Event()
        self._closed = False
        self._failure: StoreError | None = None
        self._watcher: Watcher | None = None
        try:
            self._watcher = hub.watch(key, range_end, start_revision, self._ready.set, previous=previous)
        except StoreError as refusal:
            self._failure = refusal

    def __aiter__(self) -> LocalWatch:
        return self

    async def __anext__(self) -> WatchBatch:
        while not self._closed:
            if self._watcher is None:
                assert self._failure is not None
                raise self._failure
            batch = self._watcher.take()
            if batch is not None:
                return batch
            self._ready.clear()
            await self._ready.wait()
        raise StopAsyncIteration

    async def close(self) -> None:
        self._closed = True
        self._ready.set()
        if self._watcher is not None:
            self._watcher.close()
