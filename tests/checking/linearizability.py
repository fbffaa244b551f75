"""Strict serializability by witness: revisions give the order, a plain model says what each answer should have been.

Every acknowledged transaction and read is carried out again on the state that its answer names, and must give the
same answer in full; revisions must agree with real time; and every revision of the log must have been made by
exactly one call, or by the end of a lease. Near-linear in the length of the history.

`search.py` decides the same question without being led by revisions, for small histories.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

from checking.history import Call, EventLog, History
from checking.model import Past, Versions, carry_out, read, tombstone
from checking.report import Violation

from oarlock.consensus.model import (
    DeleteResult,
    Event,
    EventKind,
    FutureRevision,
    Put,
    PutResult,
    Range,
    RangeResult,
    Transaction,
    TransactionResult,
)


def wrote(answer: TransactionResult) -> bool:
    """Tell from its answer whether a transaction changed anything."""
    return any(
        isinstance(one, PutResult) or (isinstance(one, DeleteResult) and one.deleted > 0) for one in answer.responses
    )


def observed(call: Call) -> int:
    """Return the newest revision that a call's answer proves to have been made, 0 if none."""
    if not call.answered:
        return 0
    if isinstance(call.outcome, RangeResult | TransactionResult):
        return call.outcome.revision
    if call.kind == "compact":
        return int(call.request.revision)
    return call.outcome if call.kind == "revision" else 0


def bound(call: Call) -> int:
    """Return the first revision that can't have been there yet when the call was carried out, 0 for no such bound."""
    outcome = call.outcome
    if not call.answered:
        return asked_future(call) if isinstance(outcome, FutureRevision) else 0
    if isinstance(outcome, TransactionResult):
        return outcome.revision if wrote(outcome) else outcome.revision + 1
    if isinstance(outcome, RangeResult):
        return 0 if call.request[1] else outcome.revision + 1
    return outcome + 1 if call.kind == "revision" else 0


def asked_future(call: Call) -> int:
    """Return the revision that was asked for and not there, the farthest of several."""
    if call.kind == "range":
        return 0 if call.request[1] else call.request[0].revision
    if call.kind == "compact":
        return int(call.request.revision)
    return max((one.revision for one in ranges(call.request)), default=0)


def ranges(transaction: Transaction) -> list[Range]:
    return [one for one in (*transaction.success, *transaction.failure) if isinstance(one, Range)]


class Moments:
    """When each revision was first seen, by any answer or watch, itself or by way of a later one."""

    def __init__(self, history: History) -> None:
        self._first: list[float] = [inf] * (history.last + 2)
        for call in history.calls:
            if call.returned is not None:
                self._saw(observed(call), call.returned)
        for watch in history.watches:
            for at_s, batch in watch.batches:
                # A watch from a revision to come is told that it waits before it, which proves nothing.
                if batch.revision >= watch.start:
                    self._saw(batch.revision, at_s)
        for revision in range(history.last - 1, -1, -1):
            self._first[revision] = min(self._first[revision], self._first[revision + 1])

    def _saw(self, revision: int, at_s: float) -> None:
        if revision < len(self._first):
            self._first[revision] = min(self._first[revision], at_s)

    def seen(self, revision: int) -> float:
        """Return the time by which the revision was certainly there, infinity if nobody saw it."""
        return self._first[revision] if revision < len(self._first) else inf


class Witness:
    """Judges one history. `past` is what its log implies.

    After `judge`, `ends` tells which revisions are the ends of which leases.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._log: EventLog = history.log
        self._last = history.last
        self.past: Past = Versions(history.log)
        self.moments = Moments(history)
        self.owners: dict[int, Call] = {}
        """Revision → the acknowledged call that made it."""
        self.ends: dict[int, int] = {}
        """Revision → the lease whose end it is, where nothing else can explain it."""

    def judge(self) -> Iterator[Violation]:
        """Yield what is wrong."""
        yield from self._judge_log()
        for call in self._history.calls:
            yield from self._judge_time(call)
            if isinstance(call.outcome, TransactionResult):
                yield from self._judge_transaction(call, call.outcome)
            elif isinstance(call.outcome, RangeResult):
                yield from self._judge_read(call, call.outcome)
        yield from _judge_replicas(self._history)
        yield from self._judge_unowned()

    def _judge_log(self) -> Iterator[Violation]:
        """Events must say of versions and previous values what the log itself implies."""
        for revision in range(2, self._last + 1):
            events = self._log.get(revision)
            if not events:
                yield Violation("log", f"revision {revision} has no events", revision=revision)
                continue
            for event in events:
                kv = self.past.get(event.kv.key, revision) or tombstone(event.kv.key, revision)
                right = Event(event.kind, kv, self.past.get(event.kv.key, revision - 1))
                if event not in {right, right._replace(previous=None)}:
                    yield Violation("log", "a wrong event", expected=right, revision=revision)

    def _judge_time(self, call: Call) -> Iterator[Violation]:
        first = bound(call)
        if first and self.moments.seen(first) < call.invoked:
            seen = self.moments.seen(first)
            yield Violation("order", f"revision {first} was seen at {seen:.6f}, before this began", call)
        if bound(call) and call.answered and observed(call) < 1:
            yield Violation("answer", "a store's first revision is 1", call)
        if observed(call) > self._last:
            yield Violation("lost", f"told of revision {observed(call)}, the log ends at {self._last}", call)

    def _judge_transaction(self, call: Call, answer: TransactionResult) -> Iterator[Violation]:
        revision = answer.revision
        if revision > self._last:
            return
        changed = wrote(answer)
        right, events = carry_out(self.past, call.request, revision - 1 if changed else revision)
        if right != answer:
            yield Violation("answer", "a wrong answer to a transaction", call, right, revision)
        elif changed and _told(events) != _told(self._log.get(revision, ())):
            yield Violation("lost", f"revision {revision} of the log isn't what this wrote", call, events, revision)
        if changed and self.owners.setdefault(revision, call) is not call:
            yield Violation("order", f"two calls say that they made revision {revision}", call, revision=revision)

    def _judge_read(self, call: Call, answer: RangeResult) -> Iterator[Violation]:
        request: Range = call.request[0]
        if answer.revision > self._last:
            return
        if request.revision > answer.revision:
            yield Violation("answer", "an answer from a revision that was yet to come", call)
            return
        right = read(self.past, request, answer.revision)
        if right != answer:
            yield Violation("answer", "a wrong answer to a read", call, right, answer.revision)

    # Revisions that no acknowledged call has made.

    def _judge_unowned(self) -> Iterator[Violation]:
        """Each is the end of a lease, or one of the calls whose outcome is unknown has made it, and no other."""
        unknown = _Unknown(self._history)
        makers: dict[int, list[Call]] = {}
        ends = self._possible_ends()
        for revision in self._log:
            if revision in self.owners:
                continue
            candidates = unknown.candidates(self._log[revision])
            makers[revision] = [call for call in candidates if self._may_have_made(call, revision)]
            if revision in ends and not makers[revision]:
                self.ends[revision] = ends[revision]
        unmatched = match({revision: found for revision, found in makers.items() if revision not in ends})
        for revision in unmatched:
            shown = self._log[revision]
            refused = next((one for one in self._history.calls if one.refused and _writes(one, shown)), None)
            if refused is not None:
                yield Violation("refused", "a refused write is in the log", refused, revision=revision)
            else:
                yield Violation("doubled", f"nobody has made revision {revision}, or twice", revision=revision)

    def _may_have_made(self, call: Call, revision: int) -> bool:
        if call.invoked > self.moments.seen(revision):
            return False
        return _told(carry_out(self.past, call.request, revision - 1).events) == _told(self._log[revision])

    def _possible_ends(self) -> dict[int, int]:
        """Return the revisions that delete all keys of one lease and nothing else, with the lease."""
        attached: dict[int, set[bytes]] = {}
        ends: dict[int, int] = {}
        for revision, events in self._log.items():
            held = [self.past.get(event.kv.key, revision - 1) for event in events]
            leases = {kv.lease if kv else 0 for kv in held}
            lease = next(iter(leases))
            gone = [event.kv.key for event in events if event.kind is EventKind.DELETE]
            if leases == {lease} and lease and gone == sorted(attached.get(lease, ())) and len(gone) == len(events):
                ends[revision] = lease
            for event, before in zip(events, held, strict=True):
                if before is not None and before.lease:
                    attached[before.lease].discard(before.key)
                if event.kv.lease:
                    attached.setdefault(event.kv.lease, set()).add(event.kv.key)
        return ends


class _Unknown:
    """The transactions whose outcome is unknown, by what they would write."""

    def __init__(self, history: History) -> None:
        self._found: dict[tuple[bytes, bytes] | None, dict[Call, None]] = {}
        for call in history.calls:
            if call.kind == "transact" and call.unknown:
                for one in (*call.request.success, *call.request.failure):
                    if not isinstance(one, Range):
                        written = (one.key, one.value) if isinstance(one, Put) else None
                        self._found.setdefault(written, {})[call] = None

    def candidates(self, events: tuple[Event, ...]) -> list[Call]:
        """Return those that may have made these events, and some others."""
        put = next((event.kv for event in events if event.kind is EventKind.PUT), None)
        return list(self._found.get((put.key, put.value) if put else None, ()))


def match(makers: dict[int, list[Call]]) -> list[int]:
    """Give every revision a call of its own, as far as it goes; return the revisions that have none."""
    given: dict[int, int] = {}

    def find(revision: int, tried: set[int]) -> bool:
        for call in makers[revision]:
            if id(call) not in tried:
                tried.add(id(call))
                if id(call) not in given or find(given[id(call)], tried):
                    given[id(call)] = revision
                    return True
        return False

    return [revision for revision in makers if not find(revision, set())]


def _told(events: tuple[Event, ...]) -> list[tuple[Any, ...]]:
    return [(event.kind, event.kv.key, event.kv.value, event.kv.lease) for event in events]


def _writes(call: Call, events: tuple[Event, ...]) -> bool:
    """Tell whether the call would have put one of these values."""
    if not isinstance(call.request, Transaction):
        return False
    put = {(event.kv.key, event.kv.value) for event in events if event.kind is EventKind.PUT}
    operations = (*call.request.success, *call.request.failure)
    return any((one.key, getattr(one, "value", None)) in put for one in operations)


def _judge_replicas(history: History) -> Iterator[Violation]:
    """What one running replica shows of itself never goes back."""
    newest: dict[str, tuple[float, int]] = {}
    local = [call for call in history.calls if call.replica and call.kind == "range" and call.answered]
    ended = sorted(local, key=lambda call: call.returned or 0)
    reached = 0
    for call in sorted(local, key=lambda call: call.invoked):
        while reached < len(ended) and (ended[reached].returned or 0) < call.invoked:
            before = ended[reached]
            if before.outcome.revision > newest.get(before.replica, (0, 0))[1]:
                newest[before.replica] = before.returned or 0, before.outcome.revision
            reached += 1
        at_s, revision = newest.get(call.replica, (0, 0))
        if call.outcome.revision < revision:
            yield Violation("order", f"{call.replica} was at revision {revision} at {at_s:.6f} already", call)
