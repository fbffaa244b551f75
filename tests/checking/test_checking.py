"""The checker passes what a correct store may do, and refutes every way that we know of being wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checking.history import Broken, Call, EventLog, History, Read, WatchRecord, fold, load, save
from checking.linearizability import wrote
from checking.model import States, carry_out
from checking.report import describe
from checking.scenarios import answered, make
from checking.search import Search
from checking.verdict import judge
from checking.watches import owes
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.consensus.commands import Compact, Grant, Revoke
from oarlock.consensus.model import (
    Compacted,
    Compare,
    Delete,
    DeleteResult,
    Event,
    FutureRevision,
    KeyValue,
    LeaseExists,
    LeaseNotFound,
    LeaseStatus,
    Put,
    PutResult,
    Range,
    RangeResult,
    Transaction,
    TransactionResult,
    Unavailable,
    UnknownOutcome,
    WatchBatch,
)


class Story:
    """A history told call by call, each carried out in the middle of its time; the parts that went right."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.watches: list[WatchRecord] = []
        self.log: EventLog = {}
        self.now_s = 0.0
        self._states = States()

    @property
    def history(self) -> History:
        return History(self.calls, self.watches, self.log)

    def call(self, kind: str, request: Any, outcome: Any, took_s: float = 0.1) -> Call:
        call = Call(1, kind, request, self.now_s, self.now_s + took_s, outcome)
        self.calls.append(call)
        self.now_s += took_s + 0.01
        return call

    def transact(self, *operations: Put | Delete | Range, outcome: Any = None, told: bool = True) -> Call:
        """Carry a transaction out and answer it, or with `outcome` instead; `told` False leaves it undone."""
        transaction = Transaction((), operations)
        result, events = carry_out(self._states, transaction, self._states.revision)
        if told:
            self.add(events)
        return self.call("transact", transaction, outcome or result)

    def read(self, key: bytes, revision: int = 0, at: int = 0, *, serializable: bool = False) -> Call:
        """Read a key at the present, or answer as if the store were still at revision `at`."""
        kv = self._states.get(key, revision or at or self._states.revision)
        result = RangeResult(at or self._states.revision, (kv,) if kv else (), int(kv is not None))
        return self.call("range", Read(Range(key, b"", 0, revision), serializable), result)

    def add(self, events: tuple[Event, ...]) -> None:
        self._states = self._states.then(events)
        if events:
            self.log[self._states.revision] = events

    def expire(self, *keys: bytes) -> None:
        """Have the store delete keys by itself."""
        self.add(carry_out(self._states, Transaction((), tuple(Delete(key) for key in keys)), self.revision).events)

    @property
    def revision(self) -> int:
        return self._states.revision

    def watch(self, start: int, *batches: WatchBatch, key: bytes = b"\0", range_end: bytes = b"\0") -> WatchRecord:
        record = WatchRecord(1, key, range_end, start, True, [(self.now_s, batch) for batch in batches])
        self.watches.append(record)
        return record

    def batch(self, first: int, last: int) -> WatchBatch:
        return WatchBatch(last, tuple(e for one in range(first, last + 1) for e in self.log.get(one, ())))


def grant(story: Story, ttl_s: float = 1.0, lease: int = 7) -> Call:
    return story.call("grant", Grant(0, int(ttl_s * 1000)), LeaseStatus(lease, int(ttl_s * 1000), int(ttl_s * 1000)))


@pytest.mark.parametrize("seed", range(60))
def test_a_correct_history_passes(seed: int) -> None:
    history = make(seed, calls=80, clients=4, unknown=0.15)
    found = judge(history)
    assert not found, describe(history, found)


def test_a_history_of_leases_and_compaction_passes() -> None:
    story = Story()
    grant(story)
    story.transact(Put(b"a", b"1", 7))
    story.call("keep_alive", 7, LeaseStatus(7, 1000, 1000))
    story.transact(Put(b"b", b"2"), outcome=UnknownOutcome("lost"))
    story.read(b"b")
    story.now_s += 1.2
    story.expire(b"a")
    story.read(b"a")
    story.call("keep_alive", 7, LeaseNotFound("gone"))
    story.call("compact", Compact(4), None)
    story.call("range", Read(Range(b"a", b"", 0, 2)), Compacted(4))
    story.call("range", Read(Range(b"a", b"", 0, 9)), FutureRevision("not yet"))
    story.read(b"b", at=3, serializable=True)
    found = judge(story.history)
    assert not found, describe(story.history, found)


def test_writes_within_their_terms_pass_and_so_do_refused_ones() -> None:
    story = terms()
    assert story.calls[2].fence == (LEASE, 2)
    story.transact(Put(b"a", b"late"), outcome=UnknownOutcome("lost"), told=False).fence = LEASE, 5
    found = judge(story.history)
    assert not found, describe(story.history, found)


# Wrong histories, each with the rule that it breaks.


def lost_write() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    story.transact(Put(b"a", b"2"), told=False)
    story.transact(Put(b"a", b"3"))
    return story


def lost_last_write() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"), told=False)
    return story


def doubled_write() -> Story:
    story = Story()
    call = story.transact(Put(b"a", b"1"))
    story.add(carry_out(story._states, call.request, story.revision).events)
    return story


def unknown_write_twice() -> Story:
    story = Story()
    call = story.transact(Put(b"a", b"1"), outcome=UnknownOutcome("lost"))
    story.transact(Put(b"b", b"1"))
    story.add(carry_out(story._states, call.request, story.revision).events)
    return story


def unknown_write_before_it_was_asked() -> Story:
    story = Story()
    story.add(carry_out(story._states, Transaction((), (Put(b"a", b"1"),)), 1).events)
    story.read(b"a")
    story.transact(Put(b"a", b"1"), outcome=UnknownOutcome("lost"), told=False)
    return story


def refused_write_visible() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"), outcome=Unavailable("no leader"))
    return story


def stale_read() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    story.transact(Put(b"a", b"2"))
    story.read(b"a", at=2)
    return story


def stale_revision() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    story.call("revision", None, 1)
    return story


def read_of_the_future() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    story.calls.append(Call(2, "revision", None, -2.0, -1.0, 2))
    return story


def refused_as_future() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    story.call("range", Read(Range(b"a", b"", 0, 2)), FutureRevision("not yet"))
    return story


def half_a_transaction() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"), Put(b"b", b"1"))
    story.log[2] = story.log[2][:1]
    return story


def split_transaction() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"), Put(b"b", b"1"))
    story.log[3] = tuple(event._replace(kv=event.kv._replace(mod_revision=3)) for event in story.log[2][1:])
    story.log[2] = story.log[2][:1]
    return story


def wrong_branch() -> Story:
    story = Story()
    compare = Compare(b"a", "version", "==", 0)
    story.call("transact", Transaction((compare,), (Range(b"a"),), ()), TransactionResult(succeeded=False, revision=1))
    return story


def swap_that_overwrites() -> Story:
    """Two clients compare with the same revision, and both are told that they won."""
    story = Story()
    story.transact(Put(b"a", b"0"))
    for number in (1, 2):
        swap = Transaction((Compare(b"a", "mod", "==", 2),), (Put(b"a", b"%d" % number),))
        story.add(carry_out(story._states, Transaction((), swap.success), story.revision).events)
        story.call("transact", swap, TransactionResult(True, story.revision, (PutResult(story.revision),)))
    return story


def wrong_previous() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    call = story.transact(Put(b"a", b"2", 0, previous=True))
    kv = call.outcome.responses[0].previous
    call.outcome = TransactionResult(True, 3, (PutResult(3, kv._replace(value=b"0")),))
    return story


def wrong_count() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    story.read(b"a").outcome = RangeResult(2, (), 0)
    return story


def wrong_version() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    call = story.read(b"a")
    call.outcome = RangeResult(2, (call.outcome.kvs[0]._replace(version=2),), 1)
    return story


def wrong_value() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    call = story.read(b"a", serializable=True)
    call.outcome = RangeResult(2, (call.outcome.kvs[0]._replace(value=b"0"),), 1)
    return story


def deleted_too_few() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"), Put(b"b", b"1"))
    story.transact(Delete(b"a", b"z")).outcome = TransactionResult(True, 3, (DeleteResult(3, 1),))
    return story


def writes_the_wrong_way_round() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    story.transact(Put(b"b", b"2"))
    one, two = story.calls
    one.invoked, one.returned, two.invoked, two.returned = two.invoked, two.returned, one.invoked, one.returned
    return story


def two_own_one_revision() -> Story:
    story = Story()
    call = story.transact(Put(b"a", b"1"))
    story.calls.append(Call(2, "transact", call.request, call.invoked, call.returned, call.outcome))
    return story


def gap_in_the_log() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    story.transact(Put(b"b", b"2"))
    del story.log[2]
    return story


def replica_goes_back() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"))
    story.transact(Put(b"a", b"2"))
    story.read(b"a", serializable=True).replica = "a#1"
    story.read(b"a", at=2, serializable=True).replica = "a#1"
    return story


def watched() -> Story:
    story = Story()
    for number in range(4):
        story.transact(Put(b"a", b"%d" % number))
    return story


def watch_skips() -> Story:
    story = watched()
    story.watch(2, story.batch(2, 2), story.batch(4, 5))
    return story


def watch_notice_too_soon() -> Story:
    story = watched()
    story.watch(2, story.batch(2, 2), WatchBatch(3, ()), story.batch(4, 5))
    return story


def watch_repeats() -> Story:
    story = watched()
    story.watch(2, story.batch(2, 3), story.batch(3, 5))
    return story


def watch_begins_too_early() -> Story:
    story = watched()
    story.watch(4, story.batch(2, 5))
    return story


def watch_goes_back() -> Story:
    story = watched()
    story.watch(2, story.batch(2, 3), WatchBatch(2, ()))
    return story


def watch_reorders() -> Story:
    story = watched()
    story.watch(2, WatchBatch(5, tuple(reversed(story.batch(2, 5).events))))
    return story


def watch_wrong_revision() -> Story:
    story = watched()
    events = story.batch(2, 5).events
    story.watch(2, WatchBatch(5, (*events[:3], events[3]._replace(kv=events[3].kv._replace(mod_revision=6)))))
    return story


def watch_wrong_previous() -> Story:
    story = watched()
    events = story.batch(2, 5).events
    story.watch(2, WatchBatch(5, (*events[:3], events[3]._replace(previous=events[1].kv))))
    return story


def watch_splits_a_revision() -> Story:
    story = Story()
    story.transact(Put(b"a", b"1"), Put(b"b", b"1"))
    events = story.log[2]
    story.watch(2, WatchBatch(2, events[:1]), WatchBatch(2, events[1:]))
    return story


def watch_of_the_future() -> Story:
    story = watched()
    story.watch(2, story.batch(2, 5), WatchBatch(6, ()))
    return story


def watch_before_it_happened() -> Story:
    story = watched()
    story.watch(2, story.batch(2, 5)).batches[0] = (story.calls[-1].invoked - 0.05, story.batch(2, 5))
    return story


def watch_compacted_without_reason() -> Story:
    story = watched()
    story.watch(2).ended = Compacted(4)
    return story


def compacted_without_reason() -> Story:
    story = watched()
    story.call("range", Read(Range(b"a", b"", 0, 2)), Compacted(4))
    return story


def compacted_though_retained() -> Story:
    story = watched()
    story.call("compact", Compact(3), None)
    story.call("range", Read(Range(b"a", b"", 0, 3)), Compacted(3))
    return story


def read_of_the_compacted() -> Story:
    story = watched()
    story.call("compact", Compact(4), None)
    story.read(b"a", 3)
    return story


def lease_ends_early() -> Story:
    story = Story()
    grant(story)
    story.transact(Put(b"a", b"1", 7))
    story.now_s = 0.7
    story.call("keep_alive", 7, LeaseStatus(7, 1000, 1000))
    story.now_s = 1.2
    story.expire(b"a")
    story.read(b"a")
    return story


def lease_ends_late() -> Story:
    story = Story()
    grant(story)
    story.transact(Put(b"a", b"1", 7))
    story.now_s = 60.0
    story.read(b"a")
    return story


def lease_ends_by_halves() -> Story:
    story = Story()
    grant(story)
    story.transact(Put(b"a", b"1", 7), Put(b"b", b"1", 7))
    story.now_s = 3.0
    story.expire(b"a")
    return story


def lease_not_found_early() -> Story:
    story = Story()
    grant(story)
    story.call("keep_alive", 7, LeaseNotFound("gone"))
    return story


def put_under_lost_lease() -> Story:
    story = Story()
    grant(story)
    story.transact(Put(b"a", b"1", 7), outcome=LeaseNotFound("gone"), told=False)
    return story


def renewed_after_its_end() -> Story:
    story = Story()
    grant(story)
    story.call("revoke", Revoke(7), None)
    story.call("keep_alive", 7, LeaseStatus(7, 1000, 1000))
    return story


def put_after_its_end() -> Story:
    story = Story()
    grant(story)
    story.transact(Put(b"a", b"1", 7))
    story.now_s = 3.0
    story.expire(b"a")
    story.transact(Put(b"a", b"2", 7))
    return story


LEASE = b"leader"


def terms() -> Story:
    """Two terms of one lease, and a fenced write in each."""
    story = Story()
    for number in range(2):
        grant(story, lease=number + 7)
        story.transact(Put(LEASE, b"", number + 7))
        epoch = story.revision
        story.transact(Put(b"a", b"in term %d" % number)).fence = LEASE, epoch
        story.now_s += 1.2
        story.expire(LEASE)
    return story


def fenced_write_after_its_term() -> Story:
    story = terms()
    story.transact(Put(b"a", b"late")).fence = LEASE, 5
    return story


def fenced_write_in_the_next_term() -> Story:
    story = terms()
    grant(story, lease=9)
    story.transact(Put(LEASE, b"", 9))
    story.transact(Put(b"a", b"late")).fence = LEASE, 5
    return story


def fenced_write_of_unknown_outcome_after_its_term() -> Story:
    story = terms()
    story.transact(Put(b"a", b"late"), outcome=UnknownOutcome("lost")).fence = LEASE, 5
    return story


def lease_exists_by_itself() -> Story:
    story = Story()
    story.call("grant", Grant(5, 1000), LeaseExists("5"))
    return story


WRONG: list[tuple[Callable[[], Story], str]] = [
    (lost_write, "lost"),
    (lost_last_write, "lost"),
    (doubled_write, "doubled"),
    (unknown_write_twice, "doubled"),
    (unknown_write_before_it_was_asked, "doubled"),
    (refused_write_visible, "refused"),
    (stale_read, "order"),
    (stale_revision, "order"),
    (read_of_the_future, "order"),
    (refused_as_future, "order"),
    (half_a_transaction, "lost"),
    (split_transaction, "lost"),
    (wrong_branch, "answer"),
    (swap_that_overwrites, "answer"),
    (wrong_previous, "answer"),
    (wrong_count, "answer"),
    (wrong_version, "answer"),
    (wrong_value, "answer"),
    (deleted_too_few, "answer"),
    (writes_the_wrong_way_round, "order"),
    (two_own_one_revision, "order"),
    (gap_in_the_log, "log"),
    (replica_goes_back, "order"),
    (watch_skips, "watch"),
    (watch_notice_too_soon, "watch"),
    (watch_repeats, "watch"),
    (watch_begins_too_early, "watch"),
    (watch_goes_back, "watch"),
    (watch_reorders, "watch"),
    (watch_wrong_revision, "watch"),
    (watch_wrong_previous, "watch"),
    (watch_splits_a_revision, "watch"),
    (watch_of_the_future, "watch"),
    (watch_before_it_happened, "order"),
    (watch_compacted_without_reason, "watch"),
    (compacted_without_reason, "compaction"),
    (compacted_though_retained, "compaction"),
    (read_of_the_compacted, "compaction"),
    (lease_ends_early, "lease early"),
    (lease_ends_late, "lease late"),
    (lease_ends_by_halves, "doubled"),
    (lease_not_found_early, "lease early"),
    (put_under_lost_lease, "lease early"),
    (renewed_after_its_end, "lease"),
    (put_after_its_end, "lease"),
    (lease_exists_by_itself, "lease"),
    (fenced_write_after_its_term, "fence"),
    (fenced_write_in_the_next_term, "fence"),
    (fenced_write_of_unknown_outcome_after_its_term, "fence"),
]


@pytest.mark.parametrize(("wrong", "rule"), WRONG, ids=lambda one: getattr(one, "__name__", ""))
def test_a_wrong_history_is_refuted(wrong: Callable[[], Story], rule: str) -> None:
    history = wrong().history
    found = judge(history)
    assert rule in {violation.rule for violation in found}, describe(history, found)


def test_an_excerpt_tells_the_call_its_answer_the_right_one_and_the_neighbours() -> None:
    history = wrong_version().history
    text = describe(history, judge(history))
    assert "answer: a wrong answer to a read" in text
    assert "version=2" in text.split("answered")[1].splitlines()[0]
    assert "version=1" in text.split("should be")[1].splitlines()[0]
    assert "client 1 transact" in text.split("near")[1]


def test_a_watch_from_a_future_revision_is_told_the_stores() -> None:
    story = watched()
    record = story.watch(4, WatchBatch(2, ()), WatchBatch(3, ()), story.batch(4, 5))
    ahead = story.watch(9, WatchBatch(5, ()))
    assert not judge(story.history)
    assert not owes(story.history, record)
    assert not owes(story.history, ahead)
    ahead.batches.append((story.now_s, WatchBatch(8, ())))
    assert [found.rule for found in judge(story.history)] == ["watch"]


def test_a_watch_that_has_yet_to_tell_owes() -> None:
    story = watched()
    behind = story.watch(2, story.batch(2, 4))
    done = story.watch(2, story.batch(2, 5))
    other = story.watch(2, WatchBatch(2, ()), key=b"z", range_end=b"")
    assert [owes(story.history, one) for one in (behind, done, other)] == [True, False, False]


def test_a_saved_history_is_the_same(tmp_path: Path) -> None:
    history = make(3, calls=200)
    story = lease_ends_early()
    story.call("range", Read(Range(b"a", b"", 0, 2)), Compacted(4))
    story.watch(2).ended = Compacted(4)
    for one in (history, story.history, fenced_write_after_its_term().history):
        save(one, tmp_path / "history.jsonl")
        again = load(tmp_path / "history.jsonl")
        assert again.log == one.log
        for before, after in zip(one.calls, again.calls, strict=True):
            assert repr(before) == repr(after)
        assert [repr(record) for record in again.watches] == [repr(record) for record in one.watches]
        assert [repr(found) for found in judge(again)] == [repr(found) for found in judge(one)]


def test_folding_joins_what_several_watches_saw() -> None:
    story = watched()
    assert fold([story.batch(2, 4), story.batch(3, 5)]) == story.log
    other = story.log[3][0]._replace(previous=None)
    with pytest.raises(Broken, match="revision 3"):
        fold([story.batch(2, 4), WatchBatch(3, (other,))])


# The two methods against each other.


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 32), clients=st.integers(1, 4))
def test_both_methods_pass_a_correct_history(seed: int, clients: int) -> None:
    history = make(seed, calls=14, clients=clients, unknown=0.2)
    assert Search(history.calls).find()
    assert Search(history.calls, history.log).find()
    assert not judge(history)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1 << 32), damage=st.integers(0, 1 << 32))
def test_both_methods_judge_a_damaged_history_alike(seed: int, damage: int) -> None:
    """Led by the log, the search decides just what the witness does; without it, it can only be milder."""
    history = make(seed, calls=10, clients=3, unknown=0.2, watches=0)
    corrupt(history, random.Random(damage))
    right = not judge(history)
    assert Search(history.calls, history.log).find() == right, describe(history, judge(history))
    assert Search(history.calls).find() or not right


def corrupt(history: History, rng: random.Random) -> None:
    """Change one answer or the time of one call; it may come out right all the same."""
    call = rng.choice(history.calls)
    assert call.returned is not None
    outcome = call.outcome
    chance = rng.random()
    if chance < 0.3:
        shift_s = rng.uniform(-6, 6)
        call.invoked, call.returned = call.invoked + shift_s, call.returned + shift_s
    elif chance < 0.5 and answered(history, type(outcome)):
        other = rng.choice(answered(history, type(outcome)))
        call.outcome, other.outcome = other.outcome, outcome
    elif isinstance(outcome, RangeResult) and outcome.kvs:
        call.outcome = outcome.__class__(outcome.revision, tuple(map(_other, outcome.kvs)), outcome.count, outcome.more)
    elif isinstance(outcome, TransactionResult):
        _corrupt_transaction(history, call, outcome, rng)
    elif isinstance(outcome, int):
        call.outcome = outcome + rng.choice((-1, 1))


def _corrupt_transaction(history: History, call: Call, outcome: TransactionResult, rng: random.Random) -> None:
    if rng.random() < 0.5 and wrote(outcome):
        call.outcome = rng.choice((UnknownOutcome("lost"), Unavailable("no leader")))
    elif rng.random() < 0.5:
        call.outcome = outcome._replace(succeeded=not outcome.succeeded)
    else:
        call.outcome = outcome._replace(revision=outcome.revision + rng.choice((-1, 1)))


def _other(kv: KeyValue) -> KeyValue:
    return kv._replace(value=kv.value + b"x")


def test_a_long_history_is_judged_whole() -> None:
    history = make(1, calls=10_000, clients=16)
    assert not judge(history)
    last = [call for call in answered(history, TransactionResult) if wrote(call.outcome)][-1]
    last.outcome = last.outcome._replace(succeeded=not last.outcome.succeeded)
    assert [violation.subject for violation in judge(history)] == [last]
