"""The machine beside a model that keeps a dictionary per revision: every answer, event and old state must agree.

The model knows nothing of the machine's parts. Snapshots are taken and loaded half-way; machine and copy must then go
on alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oarlock.consensus import checkpoint
from oarlock.consensus.commands import Action, Command, Compact, Grant, Outcome, Revoke
from oarlock.consensus.encoding import (
    decode_command,
    decode_error,
    decode_outcome,
    encode_command,
    encode_error,
    encode_outcome,
)
from oarlock.consensus.machine import Applied, Machine
from oarlock.consensus.model import (
    Compacted,
    Compare,
    Delete,
    DeleteResult,
    Event,
    EventKind,
    FutureRevision,
    InvalidRequest,
    KeyValue,
    LeaseExists,
    LeaseNotFound,
    LeaseStatus,
    Operation,
    OperationResult,
    Put,
    PutResult,
    Range,
    RangeResult,
    StoreError,
    Transaction,
    TransactionResult,
    UnknownOutcome,
)

State = dict[bytes, KeyValue]
FIELDS = {"version": "version", "create": "create_revision", "mod": "mod_revision", "lease": "lease"}


def within(state: State, key: bytes, range_end: bytes) -> list[KeyValue]:
    """Return the records of a range in order. Source: etcd v3 API, RangeRequest."""
    if not range_end:
        return [state[key]] if key in state else []
    return [kv for one, kv in sorted(state.items()) if one >= key and (range_end == b"\0" or one < range_end)]


@dataclass
class Model:
    """etcd's semantics, as simple as can be."""

    states: list[State] = field(default_factory=lambda: [{}, {}])
    events: dict[int, list[Event]] = field(default_factory=dict)
    leases: dict[int, int] = field(default_factory=dict)
    last_lease: int = 0
    compacted: int = 0
    known: dict[tuple[int, int], Outcome] = field(default_factory=dict)
    acknowledged: dict[int, int] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    def apply(self, command: Command) -> Outcome:
        request = command.client, command.sequence
        if not command.client:
            return self._run(command.action)
        if command.sequence < self.acknowledged.get(command.client, 0):
            return UnknownOutcome()
        if request not in self.known:
            self.known[request] = self._run(command.action)
            past = max(self.acknowledged.get(command.client, 0), command.acknowledged)
            self.acknowledged[command.client] = past
        return self.known[request]

    def refusal(self, revision: int) -> StoreError | None:
        if revision > self.revision:
            return FutureRevision()
        return Compacted(self.compacted) if 0 < revision < self.compacted else None

    def range(self, request: Range, state: State, now: int) -> RangeResult:
        shown = state if not request.revision or request.revision >= now else self.states[request.revision]
        found = within(shown, request.key, request.range_end)
        if request.count_only:
            return RangeResult(now, (), len(found))
        kept = found[: request.limit] if request.limit else found
        if request.keys_only:
            kept = [KeyValue(k.key, b"", k.create_revision, k.mod_revision, k.version, k.lease) for k in kept]
        return RangeResult(now, tuple(kept), len(found), len(kept) < len(found))

    def _run(self, action: Action) -> Outcome:
        if isinstance(action, Transaction):
            return self._transact(action)
        if isinstance(action, Compact):
            if action.revision <= self.compacted:
                return Compacted(self.compacted)
            if action.revision > self.revision:
                return FutureRevision()
            self.compacted = action.revision
            return self.revision
        if isinstance(action, Grant):
            return self._grant(action)
        if action.lease not in self.leases:
            return LeaseNotFound()
        del self.leases[action.lease]
        state, events = dict(self.states[-1]), list[Event]()
        for kv in sorted(state.values()):
            if kv.lease == action.lease:
                self._remove(kv, state, events)
        self._commit(state, events)
        return self.revision

    def _grant(self, grant: Grant) -> Outcome:
        lease = grant.lease
        if lease in self.leases:
            return LeaseExists()
        if not lease:
            lease = self.last_lease = next(n for n in range(self.last_lease + 1, 1 << 63) if n not in self.leases)
        self.leases[lease] = grant.ttl_ms
        return LeaseStatus(lease, grant.ttl_ms, grant.ttl_ms)

    def _holds(self, compare: Compare) -> bool:
        kv = self.states[-1].get(compare.key)
        if compare.target == "value":
            if kv is None:
                return False
            actual: object = kv.value
        else:
            actual = getattr(kv, FIELDS[compare.target]) if kv else 0
        order = {"==": "__eq__", "!=": "__ne__", "<": "__lt__", ">": "__gt__"}[compare.relation]
        return bool(getattr(actual, order)(compare.value))

    def _transact(self, transaction: Transaction) -> Outcome:
        succeeded = all(map(self._holds, transaction.compares))
        operations = transaction.success if succeeded else transaction.failure
        for operation in operations:
            refusal = None
            if isinstance(operation, Range):
                refusal = self.refusal(operation.revision)
            elif isinstance(operation, Put) and operation.lease and operation.lease not in self.leases:
                refusal = LeaseNotFound()
            if refusal is not None:
                return refusal
        state, events = dict(self.states[-1]), list[Event]()
        responses = [self._operate(operation, state, events) for operation in operations]
        self._commit(state, events)
        return TransactionResult(succeeded, self.revision, tuple(responses))

    def _operate(self, operation: Operation, state: State, events: list[Event]) -> OperationResult:
        if isinstance(operation, Put):
            before = state.get(operation.key)
            create, version = (before.create_revision, before.version) if before else (self.revision + 1, 0)
            after = KeyValue(operation.key, operation.value, create, self.revision + 1, version + 1, operation.lease)
            state[operation.key] = after
            events.append(Event(EventKind.PUT, after, before))
            return PutResult(self.revision + 1, before if operation.previous else None)
        if isinstance(operation, Delete):
            gone = within(state, operation.key, operation.range_end)
            for kv in gone:
                self._remove(kv, state, events)
            now = self.revision + (1 if events else 0)
            return DeleteResult(now, len(gone), tuple(gone) if operation.previous else ())
        return self.range(operation, state, self.revision + (1 if events else 0))

    def _remove(self, kv: KeyValue, state: State, events: list[Event]) -> None:
        del state[kv.key]
        events.append(Event(EventKind.DELETE, KeyValue(kv.key, b"", 0, self.revision + 1, 0), kv))

    def _commit(self, state: State, events: list[Event]) -> None:
        if events:
            self.states.append(state)
            self.events[self.revision] = events


def comparable(outcome: Outcome) -> object:
    """Return what two outcomes must have in common: of an error the kind and the compaction point."""
    if isinstance(outcome, StoreError):
        return type(outcome), getattr(outcome, "compact_revision", None)
    return outcome


def same(one: Applied, other: Applied) -> bool:
    return comparable(one.outcome) == comparable(other.outcome) and one.change == other.change


KEYS = st.sampled_from([b"a", b"b", b"ba", b"bb", b"c", b"d\xff", b"e"])
ENDS = st.sampled_from([b"", b"", b"\0", b"b", b"bb", b"c", b"z"])
VALUES = st.binary(max_size=3)
REVISIONS = st.one_of(st.just(0), st.integers(1, 30))
LEASES = st.one_of(st.just(0), st.integers(1, 4))
RANGES = st.builds(Range, KEYS, ENDS, st.integers(0, 3), REVISIONS, st.booleans(), st.booleans())
PUTS = st.builds(Put, KEYS, VALUES, st.one_of(st.just(0), LEASES), st.booleans())
DELETES = st.builds(Delete, KEYS, ENDS, st.booleans())
RELATIONS = st.sampled_from(["==", "!=", "<", ">"])
COMPARES = st.one_of(
    st.builds(Compare, KEYS, st.just("value"), RELATIONS, VALUES),
    st.builds(Compare, KEYS, st.sampled_from(sorted(FIELDS)), RELATIONS, st.integers(0, 12)),
)
BRANCHES = st.lists(st.one_of(PUTS, PUTS, DELETES, RANGES), max_size=4).map(tuple)
TRANSACTIONS = st.builds(Transaction, st.lists(COMPARES, max_size=2).map(tuple), BRANCHES, BRANCHES)
ACTIONS = st.one_of(
    TRANSACTIONS,
    TRANSACTIONS,
    TRANSACTIONS,
    st.builds(Grant, LEASES, st.integers(1, 9000)),
    st.builds(Revoke, st.integers(1, 4)),
    st.builds(Compact, st.integers(0, 30)),
)
SNAPSHOT = "snapshot"
SLOW_SNAPSHOT = "a snapshot that is drawn after all that follows"
REPEAT = "repeat"
STEPS = st.lists(
    st.one_of(ACTIONS, ACTIONS, ACTIONS, ACTIONS, st.sampled_from([SNAPSHOT, SLOW_SNAPSHOT, REPEAT])), max_size=30
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.randoms(use_true_random=False))
def test_the_machine_does_what_the_model_does(steps: list[Action | str], rng: object) -> None:
    model, machine = Model(), Machine()
    copies: list[Machine] = []
    slow: list[tuple[int, int, Iterator[bytes]]] = []
    sent = [Command(Transaction())]
    for number, step in enumerate(steps, 1):
        if step == SNAPSHOT:
            copies.append(checkpoint.load(list(checkpoint.take(machine))))
            continue
        if step == SLOW_SNAPSHOT:
            slow.append((machine.revision, machine.compact_revision, checkpoint.take(machine)))
            continue
        if isinstance(step, str):
            command = rng.choice(sent)  # type: ignore[attr-defined]
        else:
            command = Command(step, number % 3, number, max(number - 4, 0))
            sent.append(command)
        expected = model.apply(command)
        before = machine.revision
        applied = machine.apply(command)
        assert comparable(applied.outcome) == comparable(expected)
        assert (applied.change is None) == (machine.revision == before)
        if applied.change is not None:
            assert applied.change == (model.revision, tuple(model.events[model.revision]))
        assert all(same(copy.apply(command), applied) for copy in copies)
    for revision, compacted, chunks in slow:
        late = checkpoint.load(chunks)
        assert (late.revision, late.compact_revision) == (revision, compacted)
        assert late.range(Range(b"a", b"\0")).kvs == tuple(sorted(model.states[revision].values()))
    for one in (machine, *copies):
        check(one, model)
    for one in (machine, *copies):
        for _ in range(5):  # what is compacted is swept, to the last byte and with the same answers
            one.apply(Command(Transaction()))
        check(one, model)
        assert one.history.retained_bytes == machine.history.retained_bytes
        assert one.history.live_bytes == machine.history.live_bytes


def check(machine: Machine, model: Model) -> None:
    """Every readable state, every retained event and every lease is the model's."""
    assert machine.revision == model.revision
    assert machine.compact_revision == model.compacted
    for revision in range(max(model.compacted, 1), model.revision + 1):
        for request in (Range(b"a", b"\0"), Range(b"b", b"c", 1), Range(b"ba"), Range(b"aa", b"bb", 2)):
            asked = request._replace(revision=revision)
            assert machine.range(asked) == model.range(asked, model.states[-1], model.revision)
    start = machine.history.log_start
    retained = [tuple(model.events[one]) for one in range(max(start, 2), model.revision + 1)]
    assert machine.history.after(max(start, 2) - 1, 1000) == retained
    assert {lease: held.ttl_ms for lease, held in machine.leases.items()} == model.leases
    for lease, held in machine.leases.items():
        assert set(held.keys) == {kv.key for kv in model.states[-1].values() if kv.lease == lease}


INTEGERS = st.one_of(st.integers(-(1 << 63), (1 << 64) - 1), st.sampled_from([-1, 0, 1, 2, 3, 4]))
WILD_KEYS = st.one_of(st.binary(max_size=3), KEYS)
WILD_COMPARES = st.builds(
    Compare,
    WILD_KEYS,
    st.sampled_from(["value", *FIELDS]),
    RELATIONS,
    st.one_of(INTEGERS, st.binary(max_size=3)),
)
WILD_OPERATIONS = st.one_of(
    st.builds(Put, WILD_KEYS, VALUES, INTEGERS, st.booleans()),
    st.builds(Put, WILD_KEYS, VALUES, st.integers(-1, 3), st.booleans()),
    st.builds(Delete, WILD_KEYS, WILD_KEYS, st.booleans()),
    st.builds(Range, WILD_KEYS, WILD_KEYS, INTEGERS, INTEGERS, st.booleans(), st.booleans()),
)
WILD_BRANCHES = st.lists(WILD_OPERATIONS, max_size=5).map(tuple)
WILD_ACTIONS = st.one_of(
    st.builds(Transaction, st.lists(WILD_COMPARES, max_size=2).map(tuple), WILD_BRANCHES, WILD_BRANCHES),
    st.builds(Grant, INTEGERS, INTEGERS),
    st.builds(Revoke, INTEGERS),
    st.builds(Compact, INTEGERS),
)
NUMBERS = st.one_of(st.integers(0, 3), st.integers(0, (1 << 64) - 1))
WILD = st.builds(Command, WILD_ACTIONS, NUMBERS, NUMBERS, NUMBERS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(WILD, max_size=15))
def test_no_command_whatever_makes_the_machine_raise(commands: list[Command]) -> None:
    """Also one that no validation has seen; its outcome can be sent, and the state be taken and loaded."""
    machine = Machine()
    for command in commands:
        outcome = machine.apply(command).outcome
        if isinstance(outcome, StoreError):
            assert type(decode_error(encode_error(outcome))) is type(outcome)
        else:
            assert decode_outcome(command.action, encode_outcome(outcome)) == outcome
    restored = checkpoint.load(list(checkpoint.take(machine)))
    for command in [*commands, Command(Transaction(success=(Put(b"z", b""), Delete(b"\0", b"\0"))))]:
        assert same(restored.apply(command), machine.apply(command))


@settings(max_examples=100, deadline=None)
@given(WILD)
def test_a_command_s_bytes_give_it_back_or_are_refused(command: Command) -> None:
    data = encode_command(command)
    if all(0 <= number < 1 << 63 for number in checked_numbers(command.action)):
        assert decode_command(data) == command
    else:
        with pytest.raises(InvalidRequest, match="malformed command"):
            decode_command(data)


def checked_numbers(action: Action) -> Iterator[int]:
    for one in action.success + action.failure if isinstance(action, Transaction) else ():
        if isinstance(one, Put):
            yield one.lease
        elif isinstance(one, Range):
            yield from (one.limit, one.revision)
