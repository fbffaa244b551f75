"""The MVCC machine against a naive model that keeps every state it ever had."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.consensus import checkpoint
from oarlock.consensus.commands import Command, Compact, Grant, Outcome, Revoke
from oarlock.consensus.index import CHUNK_MAX, KeyIndex, holds
from oarlock.consensus.machine import Machine
from oarlock.consensus.model import (
    Compacted,
    Compare,
    Delete,
    EventKind,
    FutureRevision,
    KeyValue,
    LeaseExists,
    LeaseNotFound,
    LeaseStatus,
    Operation,
    Put,
    Range,
    Relation,
    Target,
    Transaction,
    TransactionResult,
    UnknownOutcome,
)


def transact(machine: Machine, *operations: Operation) -> TransactionResult:
    outcome = machine.apply(Command(Transaction(success=operations))).outcome
    assert isinstance(outcome, TransactionResult)
    return outcome


def run(machine: Machine, action: Transaction | Grant | Revoke | Compact) -> Outcome:
    return machine.apply(Command(action)).outcome


def test_a_key_s_revisions_and_version_are_etcd_s() -> None:
    machine = Machine()
    transact(machine, Put(b"a", b"1"))
    transact(machine, Put(b"b", b"1"), Put(b"a", b"2"))
    assert machine.range(Range(b"a", b"\0")).kvs == (
        KeyValue(b"a", b"2", 2, 3, 2),
        KeyValue(b"b", b"1", 3, 3, 1),
    )
    transact(machine, Delete(b"a"))
    transact(machine, Put(b"a", b"3"))
    assert machine.range(Range(b"a")).kvs == (KeyValue(b"a", b"3", 5, 5, 1),)


def test_a_transaction_that_changes_nothing_takes_no_revision() -> None:
    machine = Machine()
    assert transact(machine, Range(b"a"), Delete(b"a")).revision == 1
    assert machine.apply(Command(Transaction())).change is None


def test_events_carry_the_previous_value_and_a_delete_only_key_and_revision() -> None:
    machine = Machine()
    transact(machine, Put(b"a", b"1"))
    change = machine.apply(Command(Transaction(success=(Delete(b"a"),)))).change
    assert change is not None
    (event,) = change.events
    assert event.kind is EventKind.DELETE
    assert event.kv == KeyValue(b"a", b"", 0, 3, 0)
    assert event.previous == KeyValue(b"a", b"1", 2, 2, 1)


def test_reads_in_a_transaction_see_its_writes() -> None:
    machine = Machine()
    result = transact(machine, Put(b"a", b"1"), Range(b"a"), Delete(b"a", previous=True), Range(b"a"))
    assert result.responses[1].kvs[0].value == b"1"  # type: ignore[union-attr]
    assert result.responses[2].previous[0].value == b"1"  # type: ignore[union-attr,index]
    assert result.responses[3].kvs == ()  # type: ignore[union-attr]


def test_reads_of_the_past_in_a_transaction_are_spared_its_writes() -> None:
    machine = Machine()
    transact(machine, Put(b"a", b"1"))
    transact(machine, Put(b"b", b"1"))
    counted = Range(b"a", b"z", revision=machine.revision, count_only=True)
    listed = Range(b"a", b"z", revision=machine.revision, limit=1)
    result = transact(machine, Put(b"c", b"1"), Delete(b"a"), Put(b"d", b"1"), counted, listed)
    assert result.responses[3].count == 2  # type: ignore[union-attr]
    assert result.responses[4].kvs[0].key == b"a"  # type: ignore[union-attr]
    assert (result.responses[4].count, result.responses[4].more) == (2, True)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("target", "relation", "value", "present", "missing"),
    [
        ("value", "==", b"v", True, False),
        ("value", "!=", b"w", True, False),
        ("value", ">", b"u", True, False),
        ("version", "==", 1, True, False),
        ("version", "<", 1, False, True),
        ("create", "==", 0, False, True),
        ("mod", ">", 1, True, False),
        ("mod", "!=", 2, False, True),
        ("lease", "==", 0, True, True),
    ],
)
def test_compares(target: Target, relation: Relation, value: int | bytes, present: bool, missing: bool) -> None:
    machine = Machine()
    transact(machine, Put(b"k", b"v"))
    for key, expected in ((b"k", present), (b"x", missing)):
        outcome = run(machine, Transaction((Compare(key, target, relation, value),)))
        assert isinstance(outcome, TransactionResult)
        assert outcome.succeeded is expected


def test_a_refused_transaction_leaves_no_trace() -> None:
    machine = Machine()
    outcome = run(machine, Transaction(success=(Put(b"a", b""), Put(b"b", b"", lease=9))))
    assert isinstance(outcome, LeaseNotFound)
    assert machine.range(Range(b"a", b"\0")).count == 0
    assert isinstance(run(machine, Transaction(success=(Put(b"a", b""), Range(b"a", revision=7)))), FutureRevision)
    assert machine.revision == 1


def test_leases_take_their_keys_with_them() -> None:
    machine = Machine()
    granted = run(machine, Grant(0, 1000))
    assert isinstance(granted, LeaseStatus)
    assert isinstance(run(machine, Grant(granted.lease, 5)), LeaseExists)
    transact(machine, Put(b"a", b"", lease=granted.lease), Put(b"b", b"", lease=granted.lease))
    transact(machine, Put(b"b", b""))
    assert machine.lease_status(granted.lease).keys == (b"a",)
    change = machine.apply(Command(Revoke(granted.lease))).change
    assert change is not None
    assert [event.kv.key for event in change.events] == [b"a"]
    assert isinstance(run(machine, Revoke(granted.lease)), LeaseNotFound)
    assert [kv.key for kv in machine.range(Range(b"a", b"\0")).kvs] == [b"b"]


def test_compaction_refuses_the_past_and_the_future() -> None:
    machine = Machine()
    for number in range(5):
        transact(machine, Put(b"a", b"%d" % number))
    assert run(machine, Compact(4)) == 6
    with pytest.raises(Compacted) as refused:
        machine.range(Range(b"a", revision=3))
    assert refused.value.compact_revision == 4
    assert machine.range(Range(b"a", revision=4)).kvs[0].value == b"2"
    assert isinstance(run(machine, Compact(4)), Compacted)
    assert isinstance(run(machine, Compact(7)), FutureRevision)


def test_compaction_frees_what_no_reader_can_see() -> None:
    machine = Machine()
    for number in range(300):
        transact(machine, Put(b"k%d" % (number % 3), bytes(100)))
        transact(machine, Put(b"gone", b""))
        transact(machine, Delete(b"gone"))
    run(machine, Compact(machine.revision))
    for _ in range(20):
        run(machine, Transaction())
    assert len(machine.history) == 1
    assert machine.history.live_keys(b"\0", b"\0") == [b"k0", b"k1", b"k2"]
    assert machine.history.retained_bytes < 1000


def test_a_repeated_request_gets_the_first_outcome() -> None:
    machine = Machine()
    command = Command(Transaction(success=(Put(b"a", b"1"),)), 5, 1, 1)
    first = machine.apply(command)
    again = machine.apply(command)
    assert again.outcome == first.outcome
    assert again.change is None
    assert machine.revision == 2
    machine.apply(Command(Transaction(), 5, 2, 2))
    assert isinstance(machine.apply(command).outcome, UnknownOutcome)


def test_the_index_splits_and_shrinks() -> None:
    index = KeyIndex()
    keys = [b"%06d" % (number * 7919 % 5000) for number in range(5000)]
    for key in keys:
        index.add(key)
    assert list(index) == sorted(keys)
    assert index.count(b"001000", b"002000") == 1000
    assert len(list(index.between(b"004990", b"\0"))) == 10
    for key in sorted(keys)[: 4 * CHUNK_MAX]:
        index.remove(key)
    assert list(index) == sorted(keys)[4 * CHUNK_MAX :]
    assert index.count(b"\0", b"\0") == len(index) == 5000 - 4 * CHUNK_MAX


class Counted(bytes):
    """A key that counts how often such keys are compared."""

    compared = 0

    def __lt__(self, other: bytes) -> bool:
        Counted.compared += 1
        return super().__lt__(other)


@pytest.mark.parametrize("count", [1_000, 100_000])
def test_a_key_comes_and_goes_at_a_cost_that_hardly_grows(count: int) -> None:
    """Few keys are compared, and those that move stand in one short list, however many there are."""
    index = KeyIndex(Counted(b"%06d" % number) for number in range(0, 2 * count, 2))
    for number in range(1, 2 * count, 2 * count // 500):
        key = Counted(b"%06d" % (number | 1))
        Counted.compared = 0
        index.add(key)
        index.remove(key)
        index.add(key)
        assert Counted.compared < 3 * 2 * math.log2(2 * count)
        assert max(map(len, index._chunks)) <= CHUNK_MAX
    assert len(index) == len(list(index)) > count


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_index_takes_and_gives_whole_ranges(data: st.DataObject) -> None:
    every = [b"%05d" % number for number in range(4 * CHUNK_MAX)]
    index, present = KeyIndex(), set[bytes]()
    for _ in range(data.draw(st.integers(1, 6))):
        low, high = sorted(data.draw(st.tuples(st.integers(0, len(every)), st.integers(0, len(every)))))
        step = data.draw(st.integers(1, 7))
        some = every[low:high:step]
        if data.draw(st.booleans()):
            index.add_all([key for key in some if key not in present])
            present.update(some)
        else:
            index.remove_all([key for key in some if key in present])
            present.difference_update(some)
        assert list(index) == sorted(present)
        assert len(index) == index.count(b"\0", b"\0") == len(present)
        start, end = sorted(data.draw(st.tuples(st.sampled_from(every), st.sampled_from(every))))
        count = sum(start <= key < end for key in present)
        assert index.count(start, end) == len(list(index.between(start, end))) == count
        assert [index.exceeds(start, end, most) for most in (0, count - 1, count, 5000) if most >= 0] == [
            count > most for most in (0, count - 1, count, 5000) if most >= 0
        ]


def test_a_large_revocation_is_one_revision_and_is_swept_bit_by_bit() -> None:
    machine = Machine()
    run(machine, Grant(5, 1000))
    for number in range(3000):
        transact(machine, Put(b"k%04d" % number, b"", lease=5 if number % 3 else 0))
    change = machine.apply(Command(Revoke(5))).change
    assert change is not None
    assert len(change.events) == 2000
    assert machine.range(Range(b"k", b"l", count_only=True)).count == 1000
    assert machine.range(Range(b"k", b"l", revision=3001, count_only=True)).count == 3000
    copy = checkpoint.load(checkpoint.take(machine))
    assert copy.history.after(3000, 2) == machine.history.after(3000, 2)
    transact(machine, Put(b"k0001", b"again"))
    run(machine, Compact(machine.revision))
    for _ in range(200):
        run(machine, Transaction())
    assert len(machine.history) == 1
    assert machine.history.live_keys(b"k", b"k0003") == [b"k0000", b"k0001"]
    assert copy.range(Range(b"k", b"l", limit=10)).count == 1000


KEYS = st.sampled_from([b"a", b"b", b"ba", b"c", b"d"])
ENDS = st.sampled_from([b"", b"\0", b"b", b"c", b"d"])
STEPS = st.one_of(
    st.builds(Put, KEYS, st.binary(max_size=2), st.just(0), st.just(value=False)),
    st.builds(Delete, KEYS, ENDS, st.just(value=False)),
    st.builds(Compact, st.integers(1, 40)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40), st.integers(0, 40))
def test_every_readable_revision_reads_as_it_was(steps: list[Put | Delete | Compact], restart_at: int) -> None:
    machine = Machine()
    states: dict[int, dict[bytes, bytes]] = {1: {}}
    for position, step in enumerate(steps):
        if position == restart_at:
            machine = checkpoint.load(checkpoint.take(machine))
        if isinstance(step, Compact):
            run(machine, step)
            continue
        transact(machine, step)
        state = dict(states[max(states)])
        if isinstance(step, Put):
            state[step.key] = step.value
        else:
            state = {key: value for key, value in state.items() if not holds(step.key, step.range_end, key)}
        states[machine.revision] = state
    for revision in range(max(machine.compact_revision, 1), machine.revision + 1):
        for request in (Range(b"a", b"\0", revision=revision), Range(b"b", b"c", revision=revision)):
            expected = {k: v for k, v in states[revision].items() if holds(request.key, request.range_end, k)}
            result = machine.range(request)
            assert {kv.key: kv.value for kv in result.kvs} == expected
            assert [kv.key for kv in result.kvs] == sorted(expected)
            assert result.count == len(expected) == machine.range(request._replace(count_only=True)).count


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_a_restored_machine_is_the_same_machine(steps: list[Put | Delete | Compact]) -> None:
    machine = Machine()
    run(machine, Grant(77, 5000))
    transact(machine, Put(b"leased", b"x", lease=77))
    machine.apply(Command(Transaction(success=(Put(b"s", b""), Range(b"s"))), 3, 1, 1))
    machine.apply(Command(Revoke(12345), 3, 2, 1))
    for step in steps:
        run(machine, step if isinstance(step, Compact) else Transaction(success=(step,)))
    restored = checkpoint.load(list(checkpoint.take(machine)))
    assert restored.revision == machine.revision
    assert restored.compact_revision == machine.compact_revision
    assert restored.history.current == machine.history.current
    assert restored.history.live_bytes == machine.history.live_bytes
    assert restored.history.retained_bytes == machine.history.retained_bytes
    start = machine.history.log_start - 1
    assert restored.history.after(start, 100) == machine.history.after(start, 100)
    assert restored.lease_status(77) == machine.lease_status(77)
    repeat = Command(Revoke(12345), 3, 2, 1)
    assert repr(restored.apply(repeat).outcome) == repr(machine.apply(repeat).outcome)
    assert restored.apply(Command(Transaction(success=(Put(b"z", b""),)))) == machine.apply(
        Command(Transaction(success=(Put(b"z", b""),)))
    )


def test_a_snapshot_shows_the_state_at_its_start() -> None:
    machine = Machine()
    for number in range(2000):
        transact(machine, Put(b"k%04d" % number, bytes(500)))
    chunks = checkpoint.take(machine)
    whole = [next(chunks)]
    transact(machine, Put(b"k0000", b"later"), Delete(b"k1999"))
    whole += chunks
    assert max(map(len, whole)) <= checkpoint.CHUNK_BYTES
    restored = checkpoint.load(whole)
    assert restored.revision == 2001
    assert restored.range(Range(b"k", b"\0", count_only=True)).count == 2000
    for damaged in (whole[:-1], [b"\0\0\0\5\0\xff\xff\xff\xff"], []):
        with pytest.raises(ValueError, match="state"):
            checkpoint.load(damaged)
