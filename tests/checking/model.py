"""etcd's rules for reads and transactions, told as plainly as possible: what every answer is measured by.

It shares no code with the store's machine. A `Past` holds every version of every key, so any revision can be looked
at; `carry_out` answers a transaction without changing anything.
Source: etcd v3 API ("KV"), etcd's server/etcdserver/txn for comparisons of missing keys.
"""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from checking.history import EventLog

from oarlock.consensus.model import (
    Compare,
    Delete,
    DeleteResult,
    Event,
    EventKind,
    KeyValue,
    OperationResult,
    Put,
    PutResult,
    Range,
    RangeResult,
    Transaction,
    TransactionResult,
)

RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
FIELDS = {"version": "version", "create": "create_revision", "mod": "mod_revision", "lease": "lease"}


class Past(Protocol):
    """All states that a store has had, one for each revision; at revision 1 it is empty."""

    def get(self, key: bytes, revision: int) -> KeyValue | None:
        """Return what a key was."""
        ...

    def span(self, key: bytes, range_end: bytes, revision: int) -> list[KeyValue]:
        """Return what a range held, in order of keys."""
        ...


class Effect(NamedTuple):
    """A transaction's answer, and its events with their previous values; no events if it only read."""

    result: TransactionResult
    events: tuple[Event, ...]


def read(past: Past, request: Range, now: int) -> RangeResult:
    """Answer a read when the store is at revision `now`. The asked revision must be one that has been."""
    return _shown(request, past.span(request.key, request.range_end, request.revision or now), now)


def _shown(request: Range, found: list[KeyValue], now: int) -> RangeResult:
    if request.count_only:
        return RangeResult(now, (), len(found))
    kvs = found[: request.limit] if request.limit else found
    if request.keys_only:
        kvs = [kv._replace(value=b"") for kv in kvs]
    return RangeResult(now, tuple(kvs), len(found), len(found) > len(kvs))


def carry_out(past: Past, transaction: Transaction, now: int) -> Effect:
    """Answer a transaction that meets the store at revision `now`."""
    succeeded = all(compared(compare, past.get(compare.key, now)) for compare in transaction.compares)
    work = _Work(past, now)
    operations = transaction.success if succeeded else transaction.failure
    responses = tuple([work.run(operation) for operation in operations])
    return Effect(TransactionResult(succeeded, work.revision, responses), tuple(work.events))


def compared(compare: Compare, kv: KeyValue | None) -> bool:
    """Tell whether a comparison holds for what a key is."""
    if compare.target == "value":
        if kv is None:
            return False  # whatever the relation
        return RELATIONS[compare.relation](kv.value, compare.value)
    return RELATIONS[compare.relation](getattr(kv, FIELDS[compare.target]) if kv else 0, compare.value)


class _Work:
    """A transaction half-way: what it has changed lies over the state that it met."""

    def __init__(self, past: Past, now: int) -> None:
        self._past = past
        self._now = now
        self._changed: dict[bytes, KeyValue | None] = {}
        self.events: list[Event] = []

    @property
    def revision(self) -> int:
        return self._now + 1 if self.events else self._now

    def run(self, operation: Put | Delete | Range) -> OperationResult:
        if isinstance(operation, Put):
            return self._put(operation)
        if isinstance(operation, Delete):
            return self._delete(operation)
        if operation.revision and operation.revision <= self._now:
            return read(self._past, operation, self.revision)
        return _shown(operation, self._span(operation.key, operation.range_end), self.revision)

    def _put(self, put: Put) -> PutResult:
        new = self._now + 1
        before = next(iter(self._span(put.key, b"")), None)
        created, version = (before.create_revision, before.version + 1) if before else (new, 1)
        after = KeyValue(put.key, put.value, created, new, version, put.lease)
        self._changed[put.key] = after
        self.events.append(Event(EventKind.PUT, after, before))
        return PutResult(new, before if put.previous else None)

    def _delete(self, delete: Delete) -> DeleteResult:
        gone = self._span(delete.key, delete.range_end)
        for before in gone:
            self._changed[before.key] = None
            self.events.append(Event(EventKind.DELETE, tombstone(before.key, self._now + 1), before))
        return DeleteResult(self.revision, len(gone), tuple(gone) if delete.previous else ())

    def _span(self, key: bytes, range_end: bytes) -> list[KeyValue]:
        found: dict[bytes, KeyValue | None] = {kv.key: kv for kv in self._past.span(key, range_end, self._now)}
        found |= {one: kv for one, kv in self._changed.items() if within(key, range_end, one)}
        return [kv for _, kv in sorted(found.items()) if kv is not None]


def within(key: bytes, range_end: bytes, candidate: bytes) -> bool:
    """Tell whether a range holds a key."""
    if range_end == b"":
        return candidate == key
    return key <= candidate and (range_end == b"\0" or candidate < range_end)


def tombstone(key: bytes, revision: int) -> KeyValue:
    """Return what a delete's event says of the key."""
    return KeyValue(key, b"", 0, revision, 0)


class States:
    """A past as one dictionary for each revision: nothing can be plainer, for few keys. Never changed once made."""

    def __init__(
        self, states: tuple[dict[bytes, KeyValue], ...] = ({},), made: tuple[tuple[Event, ...], ...] = ()
    ) -> None:
        self._states = states
        self._made = made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, States) and self._made == other._made

    def __hash__(self) -> int:
        return hash(self._made)

    @property
    def revision(self) -> int:
        return len(self._states)

    @property
    def newest(self) -> dict[bytes, KeyValue]:
        return self._states[-1]

    def get(self, key: bytes, revision: int) -> KeyValue | None:
        return self._states[revision - 1].get(key)

    def span(self, key: bytes, range_end: bytes, revision: int) -> list[KeyValue]:
        return [kv for one, kv in sorted(self._states[revision - 1].items()) if within(key, range_end, one)]

    def then(self, events: tuple[Event, ...]) -> States:
        """Return the past that these events, if any, go on to."""
        if not events:
            return self
        state = dict(self.newest)
        for event in events:
            state.pop(event.kv.key, None)
            if event.kind is EventKind.PUT:
                state[event.kv.key] = event.kv
        return States((*self._states, state), (*self._made, events))


class Versions:
    """A past as a list of versions for each key, read off an event log: for long histories.

    Of the log it trusts only which keys were put or deleted, with which value and lease; the rest it derives.
    """

    def __init__(self, log: EventLog) -> None:
        self._revisions: dict[bytes, list[int]] = {}
        self._versions: dict[bytes, list[KeyValue | None]] = {}
        for revision in sorted(log):
            for event in log[revision]:
                self._add(revision, event)
        self._keys = sorted(self._versions)

    def _add(self, revision: int, event: Event) -> None:
        key, before = event.kv.key, self.get(event.kv.key, revision - 1)
        after = None
        if event.kind is EventKind.PUT:
            created, version = (before.create_revision, before.version + 1) if before else (revision, 1)
            after = KeyValue(key, event.kv.value, created, revision, version, event.kv.lease)
        self._revisions.setdefault(key, []).append(revision)
        self._versions.setdefault(key, []).append(after)

    def get(self, key: bytes, revision: int) -> KeyValue | None:
        place = bisect_right(self._revisions.get(key, ()), revision)
        return self._versions[key][place - 1] if place else None

    def span(self, key: bytes, range_end: bytes, revision: int) -> list[KeyValue]:
        if not range_end:
            keys = [key]
        else:
            last = len(self._keys) if range_end == b"\0" else bisect_left(self._keys, range_end)
            keys = self._keys[bisect_left(self._keys, key) : last]
        return [kv for one in keys if (kv := self.get(one, revision)) is not None]
