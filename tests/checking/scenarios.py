"""Makes histories that a correct store could have had: calls of several clients that overlap in time."""

from __future__ import annotations

import random
from typing import Any

from checking.history import Call, EventLog, History, Read, WatchRecord
from checking.model import States, carry_out, read, within

from oarlock.consensus.model import (
    Compare,
    Delete,
    Event,
    FutureRevision,
    Operation,
    Put,
    Range,
    Transaction,
    Unavailable,
    UnknownOutcome,
    WatchBatch,
)

KEYS = (b"a", b"b", b"c", b"d")


def make(seed: int, *, calls: int = 40, clients: int = 3, unknown: float = 0.1, watches: int = 2) -> History:
    """Return a history of a store that did all right, the same for the same seed."""
    return _Run(random.Random(seed), unknown).run(calls, clients, watches)


class _Run:
    def __init__(self, rng: random.Random, unknown: float) -> None:
        self._rng = rng
        self._unknown = unknown
        self._states = States()
        self._log: EventLog = {}
        self._made_s: dict[int, float] = {}
        self._value = 0

    def run(self, calls: int, clients: int, watches: int) -> History:
        planned: list[tuple[float, Call]] = []
        free_s = [0.0] * clients
        for _ in range(calls):
            client = self._rng.randrange(clients)
            invoked = free_s[client] + self._rng.random()
            returned = invoked + self._rng.random() * 3
            free_s[client] = returned
            planned.append((self._rng.uniform(invoked, returned), Call(client, "", None, invoked, returned)))
        planned.sort(key=lambda one: one[0])
        for at_s, call in planned:
            self._carry_out(call, at_s)
        done = sorted((call for _, call in planned), key=lambda call: call.invoked)
        return History(done, [self._watch(number) for number in range(watches)], self._log)

    def _carry_out(self, call: Call, at_s: float) -> None:
        """Choose a request, and give it the answer that the state at this moment has for it."""
        chance = self._rng.random()
        if chance < 0.6:
            call.kind, call.request = "transact", self._transaction()
            self._transact(call, at_s)
        elif chance < 0.9:
            call.kind, call.request = "range", self._read()
            self._range(call)
        else:
            call.kind, call.outcome = "revision", self._states.revision

    def _transact(self, call: Call, at_s: float) -> None:
        lost = self._rng.random() < self._unknown
        if lost and self._rng.random() < 0.3:
            call.outcome = Unavailable("no leader")
            return
        if lost:
            call.outcome = UnknownOutcome("the answer was lost")
            if self._rng.random() < 0.5:
                return
        result, events = carry_out(self._states, call.request, self._states.revision)
        self._states = self._states.then(events)
        if events:
            self._log[self._states.revision] = events
            self._made_s[self._states.revision] = at_s
        if not lost:
            call.outcome = result

    def _range(self, call: Call) -> None:
        request, serializable = call.request
        now = self._states.revision
        if serializable:
            now = self._rng.randint(max(1, request.revision), max(now, request.revision))
        if max(request.revision, now) > self._states.revision:
            call.outcome = FutureRevision("not yet")
        else:
            call.outcome = read(self._states, request, now)

    def _read(self) -> Read:
        revision = self._rng.choice((0, 0, 0, 1)) * self._rng.randint(1, self._states.revision + 1)
        request = Range(*self._span(), self._rng.choice((0, 0, 1)), revision, self._rng.random() < 0.1)
        return Read(request, self._rng.random() < 0.2)

    def _span(self) -> tuple[bytes, bytes]:
        return self._rng.choice(((self._rng.choice(KEYS), b""), (b"a", b"c"), (b"\0", b"\0")))

    def _transaction(self) -> Transaction:
        rng = self._rng
        compares: list[Compare] = []
        if rng.random() < 0.4:
            compares.append(Compare(rng.choice(KEYS), rng.choice(("mod", "version")), rng.choice(("==", "<")), 2))
        return Transaction(tuple(compares), self._operations(), self._operations() if compares else ())

    def _operations(self) -> tuple[Operation, ...]:
        found: list[Operation] = []
        for key in self._rng.sample(KEYS, self._rng.randint(1, 2)):
            self._value += 1
            put = Put(key, b"%d" % self._value, 0, self._rng.random() < 0.5)
            found.append(self._rng.choice((put, put, Delete(key, b"", self._rng.random() < 0.5), Range(key))))
        return tuple(found)

    def _watch(self, client: int) -> WatchRecord:
        key, range_end = self._span()
        start, last = self._rng.randint(1, self._states.revision), self._states.revision
        record = WatchRecord(client, key, range_end, start, self._rng.random() < 0.5)
        shown, at_s = start - 1, 0.0
        while shown < last:
            until = self._rng.randint(shown + 1, last)
            events: list[Event] = []
            for revision in range(shown + 1, until + 1):
                events += [e for e in self._log.get(revision, ()) if within(key, range_end, e.kv.key)]
            if not record.previous:
                events = [event._replace(previous=None) for event in events]
            at_s = max(at_s, self._made_s.get(until, 0.0)) + 0.001
            record.batches.append((at_s, WatchBatch(until, tuple(events))))
            shown = until
        return record


def answered(history: History, kind: type[Any]) -> list[Call]:
    """Return the calls whose answer is of a type."""
    return [call for call in history.calls if isinstance(call.outcome, kind)]
