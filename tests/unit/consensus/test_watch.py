"""The watch hub: order, completeness, bounded memory, and who is cut when."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.consensus.commands import Command, Compact
from oarlock.consensus.machine import Machine
from oarlock.consensus.model import Compacted, Delete, Event, Operation, Put, Transaction, Unavailable, WatchBatch
from oarlock.consensus.watch import BATCH_EVENTS_MAX, PENDING_MAX, Watcher, WatchHub


class Store:
    """A machine whose changes reach a hub."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.hub = WatchHub(self.machine.history, self.machine.revision)

    def write(self, *operations: Operation) -> None:
        change = self.machine.apply(Command(Transaction(success=operations))).change
        if change is not None:
            self.hub.publish(*change)

    def compact(self, revision: int) -> None:
        self.machine.apply(Command(Compact(revision)))
        self.hub.compacted()


def drain(watcher: Watcher) -> list[WatchBatch]:
    batches = []
    while (batch := watcher.take()) is not None:
        batches.append(batch)
    return batches


def events(batches: list[WatchBatch]) -> list[tuple[int, bytes]]:
    return [(event.kv.mod_revision, event.kv.key) for batch in batches for event in batch.events]


def test_history_first_then_what_happens() -> None:
    store = Store()
    woken: list[None] = []
    store.write(Put(b"a", b"1"))
    store.write(Put(b"b", b"1"))
    watcher = store.hub.watch(b"a", b"c", 2, lambda: woken.append(None))
    assert events(drain(watcher)) == [(2, b"a"), (3, b"b")]
    store.write(Put(b"x", b""))
    store.write(Delete(b"a"))
    assert woken == [None]
    assert events(drain(watcher)) == [(5, b"a")]


def test_who_has_taken_all_there_is_need_not_ask_again_before_being_woken() -> None:
    store = Store()
    woken: list[None] = []
    watcher = store.hub.watch(b"a", b"", 0, lambda: woken.append(None))
    assert watcher.ready
    watcher.take()
    assert not watcher.ready
    for number in range(BATCH_EVENTS_MAX + 1):
        store.write(Put(b"a", b"%d" % number))
    assert (watcher.ready, woken) == (True, [None])
    watcher.take()
    assert watcher.ready, "a batch holds only so many"
    watcher.take()
    assert not watcher.ready
    watcher.notify()
    assert (watcher.ready, woken) == (True, [None, None])


def test_a_new_watch_tells_the_stores_revision() -> None:
    store = Store()
    store.write(Put(b"a", b"1"))
    assert drain(store.hub.watch(b"a", b"", 0, lambda: None)) == [WatchBatch(2, ())]
    ahead = store.hub.watch(b"a", b"", 4, lambda: None)
    assert drain(ahead) == [WatchBatch(2, ())]
    store.write(Put(b"a", b"2"))
    store.write(Put(b"a", b"3"))
    assert events(drain(ahead)) == [(4, b"a")]


def test_previous_values_only_where_asked() -> None:
    store = Store()
    store.write(Put(b"a", b"1"))
    store.write(Put(b"a", b"2"))

    def last(*, previous: bool) -> Event:
        return drain(store.hub.watch(b"a", b"", 3, lambda: None, previous=previous))[0].events[-1]

    assert last(previous=False).previous is None
    before = last(previous=True).previous
    assert before is not None
    assert before.value == b"1"


def test_a_slow_watcher_costs_a_bounded_buffer_and_loses_nothing() -> None:
    store = Store()
    slow = store.hub.watch(b"\0", b"\0", 0, lambda: None)
    fast = store.hub.watch(b"\0", b"\0", 0, lambda: None)
    drain(slow)
    for number in range(3 * PENDING_MAX):
        store.write(Put(b"k%d" % (number % 7), b""))
        drain(fast)
    assert len(slow._pending) <= PENDING_MAX
    assert [revision for revision, _ in events(drain(slow))] == list(range(2, 3 * PENDING_MAX + 2))
    store.write(Put(b"more", b""))
    assert events(drain(slow)) == [(3 * PENDING_MAX + 2, b"more")]


def test_a_watcher_overtaken_by_compaction_is_cut_alone() -> None:
    store = Store()
    slow = store.hub.watch(b"\0", b"\0", 0, lambda: None)
    drain(slow)
    for _ in range(2 * PENDING_MAX):
        store.write(Put(b"k", b""))
    other = store.hub.watch(b"\0", b"\0", 0, lambda: None)
    store.compact(store.machine.revision)
    with pytest.raises(Compacted) as cut:
        drain(slow)
    assert cut.value.compact_revision == store.machine.revision
    assert drain(other) == [WatchBatch(store.machine.revision, ())]
    assert len(store.hub) == 1
    with pytest.raises(Compacted):
        store.hub.watch(b"k", b"", 2, lambda: None)


def test_compaction_tells_quiet_watchers_where_they_are() -> None:
    store = Store()
    quiet = store.hub.watch(b"quiet", b"", 0, lambda: None)
    drain(quiet)
    for _ in range(5):
        store.write(Put(b"k", b""))
    assert drain(quiet) == []
    store.compact(5)
    assert drain(quiet) == [WatchBatch(6, ())]


def test_a_revision_is_never_split() -> None:
    store = Store()
    for number in range(30):
        store.write(*(Put(b"%d-%d" % (number, key), b"") for key in range(100)))
    batches = drain(store.hub.watch(b"\0", b"\0", 2, lambda: None))
    assert len(batches) > 1
    for batch in batches:
        assert len(batch.events) + 100 >= BATCH_EVENTS_MAX or batch is batches[-1]
        assert batch.events[-1].kv.mod_revision == batch.revision
        assert sum(event.kv.mod_revision == batch.revision for event in batch.events) == 100


def test_a_failed_watch_hands_over_what_it_has_first() -> None:
    store = Store()
    watcher = store.hub.watch(b"a", b"", 0, lambda: None)
    drain(watcher)
    store.write(Put(b"a", b""))
    store.hub.fail(Unavailable("gone"))
    assert watcher.take() is not None
    with pytest.raises(Unavailable):
        watcher.take()
    assert len(store.hub) == 0


def test_closing_frees_the_watcher() -> None:
    store = Store()
    watchers = [store.hub.watch(b"a", end, 0, lambda: None) for end in (b"", b"b", b"")]
    for watcher in watchers:
        watcher.close()
        watcher.close()
    assert len(store.hub) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abwrt"), max_size=60), st.integers(0, 20))
def test_any_interleaving_delivers_every_event_once(script: list[str], start: int) -> None:
    store = Store()
    watcher = None
    seen: list[WatchBatch] = []
    first = 0
    for step in script:
        if step in "ab":
            store.write(Put(step.encode(), b""))
        elif step == "w" and watcher is None:
            watcher = store.hub.watch(b"a", b"", start, lambda: None)
            first = start or store.machine.revision + 1
        elif step == "r" and watcher is not None:
            seen += drain(watcher)
        elif step == "t":
            store.hub.reset(store.machine.history, store.machine.revision)
    if watcher is None:
        return
    seen += drain(watcher)
    wanted = [
        (event.kv.mod_revision, b"a")
        for change in store.machine.history.after(1, 1000)
        for event in change
        if event.kv.key == b"a" and event.kv.mod_revision >= first
    ]
    assert events(seen) == wanted
    assert [batch.revision for batch in seen] == sorted(batch.revision for batch in seen)
