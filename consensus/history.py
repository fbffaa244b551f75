"""Every key's retained versions: the present in a dictionary and an index, the past in a log of revisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge

from oarlock.consensus.index import KeyIndex
from oarlock.consensus.model import Event, EventKind, KeyValue, Range, RangeResult

RECORD_BYTES = 200
"""What a version costs in memory beyond its key and value, roughly."""


class History:
    """Versions of keys between the compaction point and now.

    `current` holds each live key's newest version. `_past` holds the superseded versions and the tombstones
    (version 0) of keys that changed since the compaction point, oldest first. `_log[i]` holds the events of
    revision `_log_start + i`.
    """

    def __init__(self) -> None:
        self.current: dict[bytes, KeyValue] = {}
        self.compact_revision = 0
        self.live_bytes = 0
        self.retained_bytes = 0
        self._live = KeyIndex()
        self._ghosts = KeyIndex()
        self._past: dict[bytes, list[KeyValue]] = {}
        self._log: list[tuple[Event, ...]] = []
        self._log_start = 2

    @classmethod
    def restored(
        cls, records: Iterable[KeyValue], log: list[tuple[Event, ...]], log_start: int, compact_revision: int
    ) -> History:
        """Return the history that has these live records and retained revisions."""
        history = cls()
        history.compact_revision = compact_revision
        history.current = {kv.key: kv for kv in records}
        history.live_bytes = sum(_size(kv) for kv in history.current.values())
        history._log = log
        history._log_start = log_start
        for events in log:
            for event in events:
                history._remember(event)
        history._live = KeyIndex(sorted(history.current))
        history._ghosts = KeyIndex(sorted(key for key in history._past if key not in history.current))
        return history

    def capture(self) -> tuple[list[KeyValue], int, list[tuple[Event, ...]]]:
        """Return the live records in any order, the first logged revision and the log, as of now."""
        return list(self.current.values()), self._log_start, list(self._log)

    @property
    def log_start(self) -> int:
        """The first revision whose events are at hand."""
        return max(self._log_start, self.compact_revision)

    def live_keys(self, key: bytes, range_end: bytes) -> list[bytes]:
        """Return the present keys of a range in order."""
        if not range_end:
            return [key] if key in self.current else []
        return list(self._live.between(key, range_end))

    def read(self, request: Range, revision: int) -> RangeResult:
        """Answer a range request whose revision is retained; `revision` is the store's."""
        if request.revision and request.revision < revision:
            return self._read_past(request, revision)
        if not request.range_end:
            kv = self.current.get(request.key)
            if kv is None:
                return RangeResult(revision)
            return RangeResult(revision, () if request.count_only else (_trim(kv, request),), 1)
        count = self._live.count(request.key, request.range_end)
        if request.count_only:
            return RangeResult(revision, (), count)
        current = self.current
        limit = request.limit or count
        kvs: list[KeyValue] = []
        for key in self._live.between(request.key, request.range_end):
            if len(kvs) == limit:
                break
            kvs.append(current[key])
        if request.keys_only:
            kvs = [kv._replace(value=b"") for kv in kvs]
        return RangeResult(revision, tuple(kvs), count, count > len(kvs))

    def put(self, kv: KeyValue, previous: KeyValue | None) -> None:
        """Make `kv` the key's newest version."""
        self.current[kv.key] = kv
        size = _size(kv)
        self.live_bytes += size
        self.retained_bytes += size
        if previous is not None:
            self._supersede(previous)
        else:
            self._live.add(kv.key)
            if kv.key in self._past:
                self._ghosts.remove(kv.key)

    def delete(self, previous: KeyValue, revision: int) -> KeyValue:
        """Bury a live key under a tombstone, which is returned."""
        key = previous.key
        tombstone = KeyValue(key, b"", 0, revision, 0)
        del self.current[key]
        self._live.remove(key)
        self._ghosts.add(key)
        self._supersede(previous)
        self._past[key].append(tombstone)
        self.retained_bytes += _size(tombstone)
        return tombstone

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
        """Free what compaction has made unreadable, at most `limit` revisions of it."""
        behind = min(self.compact_revision - self._log_start, limit)
        if behind <= 0:
            return
        for events in self._log[:behind]:
            for event in events:
                self._forget(event.kv)
        del self._log[:behind]
        self._log_start += behind

    def _read_past(self, request: Range, revision: int) -> RangeResult:
        kvs: list[KeyValue] = []
        count = 0
        for key in self._keys_ever(request.key, request.range_end):
            kv = self._version_at(key, request.revision)
            if kv is None:
                continue
            count += 1
            if not request.count_only and (not request.limit or len(kvs) < request.limit):
                kvs.append(_trim(kv, request))
        return RangeResult(revision, tuple(kvs), count, not request.count_only and count > len(kvs))

    def _keys_ever(self, key: bytes, range_end: bytes) -> Iterator[bytes]:
        if not range_end:
            return iter((key,))
        return merge(self._live.between(key, range_end), self._ghosts.between(key, range_end))

    def _version_at(self, key: bytes, revision: int) -> KeyValue | None:
        kv = self.current.get(key)
        if kv is not None and kv.mod_revision <= revision:
            return kv
        for old in reversed(self._past.get(key, ())):
            if old.mod_revision <= revision:
                return old if old.version else None
        return None

    def _supersede(self, previous: KeyValue) -> None:
        self.live_bytes -= _size(previous)
        past = self._past.get(previous.key)
        if past is None:
            self._past[previous.key] = [previous]
        else:
            past.append(previous)

    def _remember(self, event: Event) -> None:
        self.retained_bytes += _size(event.kv)
        if event.kv.mod_revision <= self.compact_revision:
            return
        past = [event.previous] if event.previous is not None else []
        if event.kind is EventKind.DELETE:
            past.append(event.kv)
        if past:
            self._past.setdefault(event.kv.key, []).extend(past)

    def _forget(self, changed: KeyValue) -> None:
        """Drop a key's versions that no readable revision shows."""
        key = changed.key
        self.retained_bytes -= _size(changed)
        past = self._past.get(key)
        if past is None:
            return
        newest = self.current.get(key)
        if newest is not None and newest.mod_revision <= self.compact_revision:
            keep = len(past)
        else:
            keep = 0
            while keep + 1 < len(past) and past[keep + 1].mod_revision <= self.compact_revision:
                keep += 1
            if not past[keep].version and past[keep].mod_revision <= self.compact_revision:
                keep += 1
        del past[:keep]
        if not past:
            del self._past[key]
            if newest is None:
                self._ghosts.remove(key)


def _size(kv: KeyValue) -> int:
    return len(kv.key) + len(kv.value) + RECORD_BYTES


def _trim(kv: KeyValue, request: Range) -> KeyValue:
    return kv._replace(value=b"") if request.keys_only else kv
