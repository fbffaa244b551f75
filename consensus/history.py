"""Every key's retained versions: the present in a table and an index, the past in a log of revisions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import chain, islice
from operator import attrgetter

from oarlock.consensus.index import KeyIndex, holds
from oarlock.consensus.model import Event, EventKind, KeyValue, Range, RangeResult
from oarlock.consensus.table import KeyTable, TableCopy

RECORD_BYTES = 320
"""What a version costs in memory beyond its key and value, roughly."""

_mod_revision = attrgetter("mod_revision")


class History:
    """Versions of keys between the compaction point and now.

    `current` holds each live key's newest version. `_past` holds the superseded versions and the tombstones
    (version 0) of keys that changed since the compaction point, oldest first. `_log[i]` holds the events of
    revision `_log_start + i`, of which the first `_swept` of `_log[0]` are forgotten already.
    """

    def __init__(self, log_start: int = 2, compact_revision: int = 0) -> None:
        """Start empty; a history that is to be restored has a compaction point and a first retained revision."""
        self.current: KeyTable[KeyValue] = KeyTable()
        self.compact_revision = compact_revision
        self.live_bytes = 0
        self.retained_bytes = 0
        self._live = KeyIndex()
        self._ghosts = KeyIndex()
        self._past: KeyTable[list[KeyValue]] = KeyTable()
        self._log: list[tuple[Event, ...]] = []
        self._log_start = log_start
        self._swept = 0

    def capture(self) -> tuple[TableCopy[KeyValue], int, list[tuple[Event, ...]]]:
        """Return the live records in parts and any order, the first readable revision and the log from it on."""
        return self.current.copy(), self.log_start, self._log[self.log_start - self._log_start :]

    def restore_live(self, records: Iterable[KeyValue]) -> None:
        """Take over live records of a snapshot; they come before the log."""
        for kv in records:
            self.current[kv.key] = kv
            self.live_bytes += _size(kv)
            self._live.add(kv.key)

    def restore_log(self, events: tuple[Event, ...], *, goes_on: bool) -> None:
        """Take over events of the next revision, or more of the last one's where that `goes_on`."""
        if goes_on:
            self._log[-1] += events
        else:
            self._log.append(events)
        for event in events:
            self._remember(event)

    @property
    def log_start(self) -> int:
        """The first revision whose events are at hand."""
        return max(self._log_start, self.compact_revision)

    def live_keys(self, key: bytes, range_end: bytes) -> list[bytes]:
        """Return the present keys of a range in order."""
        if not range_end:
            return [key] if key in self.current else []
        return list(self._live.between(key, range_end))

    def read(self, request: Range, revision: int, unlogged: Sequence[Event] = ()) -> RangeResult:
        """Answer a range request whose revision is retained; `revision` is the store's.

        Inside a transaction that is one more than the log knows of, and `unlogged` is what has happened so far.
        """
        if 0 < request.revision < revision:
            return self._read_past(request, revision, unlogged)
        if not request.range_end:
            kv = self.current.get(request.key)
            if kv is None:
                return RangeResult(revision)
            return RangeResult(revision, () if request.count_only else _shown([kv], request), 1)
        count = self._live.count(request.key, request.range_end)
        if request.count_only:
            return RangeResult(revision, (), count)
        keys = self._live.between(request.key, request.range_end)
        if 0 < request.limit < count:
            keys = islice(keys, request.limit)
        kvs = list(map(self.current.__getitem__, keys))
        return RangeResult(revision, _shown(kvs, request), count, count > len(kvs))

    def put(self, kv: KeyValue, previous: KeyValue | None) -> None:
        """Make `kv` the key's newest version."""
        key = kv.key
        self.current[key] = kv
        size = len(key) + len(kv.value) + RECORD_BYTES
        self.live_bytes += size
        self.retained_bytes += size
        if previous is not None:
            self._supersede(previous)
        else:
            self._live.add(key)
            if key in self._past:
                self._ghosts.remove(key)

    def bury(self, keys: list[bytes], revision: int) -> list[Event]:
        """Delete live keys, given in order, and return what happened."""
        current, past = self.current, self._past
        events: list[Event] = []
        for wanted in keys:
            previous = current[wanted]
            del current[wanted]
            key = previous.key
            tombstone = KeyValue(key, b"", 0, revision, 0)
            versions = past.get(key)
            if versions is None:
                past[key] = [previous, tombstone]
            else:
                versions += (previous, tombstone)
            events.append(Event(EventKind.DELETE, tombstone, previous))
            self.live_bytes -= len(key) + len(previous.value) + RECORD_BYTES
            self.retained_bytes += len(key) + RECORD_BYTES
        if len(keys) == 1:
            self._live.remove(keys[0])
            self._ghosts.add(events[0].kv.key)
        else:
            self._live.remove_all(keys)
            self._ghosts.add_all([event.kv.key for event in events])
        return events

    def log(self, events: tuple[Event, ...]) -> None:
        """Append the events of the next revision."""
        self._log.append(events)

    def after(self, revision: int, limit: int) -> list[tuple[Event, ...]]:
        """Return the events of each revision newer than `revision`, oldest first, at most `limit` revisions."""
        start = revision + 1 - self._log_start
        assert start >= 0
        return self._log[start : start + limit]

    def __len__(self) -> int:
        """Return how many revisions are retained."""
        return len(self._log)

    def compact(self, revision: int) -> None:
        """Make `revision` the first readable one; `sweep` frees the memory."""
        self.compact_revision = revision

    def sweep(self, limit: int) -> None:
        """Free what compaction has made unreadable, at most about `limit` events of it."""
        behind = self.compact_revision - self._log_start
        if behind <= 0:
            return
        done = 0
        while done < behind and limit > 0:
            events = self._log[done]
            part = events[self._swept : self._swept + limit]
            for event in part:
                self._forget(event.kv)
            limit -= len(part)
            self._swept += len(part)
            if self._swept < len(events):
                break
            self._swept = 0
            done += 1
        del self._log[:done]
        self._log_start += done

    def _read_past(self, request: Range, revision: int, unlogged: Sequence[Event]) -> RangeResult:
        if not request.range_end:
            kv = self._version_at(request.key, request.revision)
            kvs = [] if kv is None else [kv]
            return RangeResult(revision, () if request.count_only else _shown(kvs, request), len(kvs))
        if request.count_only:
            return RangeResult(revision, (), self._count_past(request, unlogged))
        keys = merge(
            self._live.between(request.key, request.range_end), self._ghosts.between(request.key, request.range_end)
        )
        versions = (self._version_at(key, request.revision) for key in keys)
        found = (kv for kv in versions if kv is not None)
        if request.limit <= 0:
            kvs = list(found)
            return RangeResult(revision, _shown(kvs, request), len(kvs))
        kvs = list(islice(found, request.limit))
        count = self._count_past(request, unlogged)
        return RangeResult(revision, _shown(kvs, request), count, count > len(kvs))

    def _count_past(self, request: Range, unlogged: Sequence[Event]) -> int:
        """Count the keys of a past revision: those of now, and what has come and gone since."""
        count = self._live.count(request.key, request.range_end)
        changed = {
            event.kv.key
            for events in chain(islice(self._log, request.revision + 1 - self._log_start, None), (unlogged,))
            for event in events
            if holds(request.key, request.range_end, event.kv.key)
        }
        for key in changed:
            count += (self._version_at(key, request.revision) is not None) - (key in self.current)
        return count

    def _version_at(self, key: bytes, revision: int) -> KeyValue | None:
        kv = self.current.get(key)
        if kv is not None and kv.mod_revision <= revision:
            return kv
        past = self._past.get(key)
        if past is None:
            return None
        at = bisect_right(past, revision, key=_mod_revision)
        return past[at - 1] if at and past[at - 1].version else None

    def _supersede(self, previous: KeyValue) -> None:
        key = previous.key
        self.live_bytes -= len(key) + len(previous.value) + RECORD_BYTES
        past = self._past.get(key)
        if past is None:
            self._past[key] = [previous]
        else:
            past.append(previous)

    def _remember(self, event: Event) -> None:
        """Add a logged event to the key's past. It is the key's newest, or a later one follows."""
        kv, previous = event.kv, event.previous
        key = kv.key
        self.retained_bytes += _size(kv)
        if kv.mod_revision <= self.compact_revision:
            return
        past = self._past.get(key)
        added = [previous] if previous is not None else []
        if event.kind is EventKind.DELETE:
            added.append(kv)
        if past is not None:
            past += added
        elif added:
            self._past[key] = added
            if key not in self.current:
                self._ghosts.add(key)

    def _forget(self, changed: KeyValue) -> None:
        """Drop a key's versions that no readable revision shows."""
        key = changed.key
        self.retained_bytes -= _size(changed)
        past = self._past.get(key)
        if past is None:
            return
        newest = self.current.get(key)
        if newest is not None and newest.mod_revision <= self.compact_revision:
            drop = len(past)
        else:
            drop = bisect_right(past, self.compact_revision, key=_mod_revision)
            # The newest of them is what the oldest readable revision shows, unless it is a tombstone.
            drop -= drop > 0 and past[drop - 1].version > 0
        del past[:drop]
        if not past:
            del self._past[key]
            if newest is None:
                self._ghosts.remove(key)


def _size(kv: KeyValue) -> int:
    return len(kv.key) + len(kv.value) + RECORD_BYTES


def _shown(kvs: list[KeyValue], request: Range) -> tuple[KeyValue, ...]:
    if request.keys_only:
        return tuple([kv._replace(value=b"") for kv in kvs])
    return tuple(kvs)
