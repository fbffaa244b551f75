"""The in-process store keeps the whole `Store` contract; time is the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from oarlock.consensus.leases import LeaseClock
from oarlock.consensus.memory import MemoryStore
from oarlock.consensus.model import (
    Compacted,
    Compare,
    Delete,
    FutureRevision,
    InvalidRequest,
    LeaseExists,
    LeaseNotFound,
    Operation,
    Put,
    Range,
    StoreError,
    Transaction,
    Unavailable,
)
from oarlock.consensus.retention import STEP_REVISIONS, RetentionSettings


@dataclass
class FakeTimers:
    """Time that stands until it is advanced; callbacks run in order of their time."""

    now_s: float = 100.0
    due: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        self.due.append((when, callback))
        timers = self

        class Handle:
            def cancel(self) -> None:
                timers.due = [one for one in timers.due if one[1] is not callback]

        return Handle()  # type: ignore[return-value]

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        while ready := [one for one in self.due if one[0] <= self.now_s]:
            self.due.remove(min(ready, key=lambda one: one[0]))
            min(ready, key=lambda one: one[0])[1]()


def put(key: bytes, value: bytes = b"", lease: int = 0) -> Transaction:
    return Transaction(success=(Put(key, value, lease),))


def test_write_read_watch_compact() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        first = await store.transact(put(b"a", b"1"))
        await store.transact(put(b"a", b"2"))
        assert (await store.range(Range(b"a", revision=first.revision))).kvs[0].value == b"1"
        assert await store.revision() == 3
        watch = store.watch(b"a", b"", 2, previous=True)
        batch = await anext(watch)
        assert [event.kv.value for event in batch.events] == [b"1", b"2"]
        with pytest.raises(FutureRevision):
            await store.range(Range(b"a", revision=9))
        await store.compact(3)
        with pytest.raises(Compacted):
            await store.range(Range(b"a", revision=2))
        with pytest.raises(Compacted):
            await anext(store.watch(b"a", b"", 2))
        assert (await store.status())[0].compact_revision == 3

    asyncio.run(scenario())


def test_a_waiting_watch_wakes_and_closing_ends_it() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        watch = store.watch(b"a", b"b", 0)
        assert (await anext(watch)).revision == 1
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await store.transact(put(b"ab"))
        assert (await waiting).events[0].kv.key == b"ab"
        ended = asyncio.ensure_future(anext(watch, None))
        await asyncio.sleep(0)
        await watch.close()
        assert await ended is None
        open_one = store.watch(b"a", b"b", 0)
        await anext(open_one)
        await store.close()
        with pytest.raises(Unavailable):
            await anext(open_one)
        with pytest.raises(Unavailable):
            await store.transact(put(b"a"))

    asyncio.run(scenario())


def test_a_lease_ends_when_it_is_not_renewed() -> None:
    async def scenario() -> None:
        timers = FakeTimers()
        store = MemoryStore(timers=timers)
        lease = (await store.lease_grant(1000)).lease
        await store.transact(put(b"held", lease=lease))
        timers.advance(0.9)
        assert (await store.lease_keep_alive(lease)).remaining_ms == 1000
        timers.advance(0.9)
        status = await store.lease_status(lease)
        assert 90 <= status.remaining_ms <= 100
        assert status.keys == (b"held",)
        timers.advance(0.2)
        assert (await store.range(Range(b"held"))).count == 0
        for call in (store.lease_keep_alive, store.lease_status, store.lease_revoke):
            with pytest.raises(LeaseNotFound):
                await call(lease)
        with pytest.raises(LeaseNotFound):
            await store.transact(put(b"held", lease=lease))
        assert timers.due == []

    asyncio.run(scenario())


def test_a_lease_s_id_may_be_chosen_once() -> None:
    async def scenario() -> None:
        store = MemoryStore(timers=FakeTimers())
        assert (await store.lease_grant(1000, 42)).lease == 42
        with pytest.raises(LeaseExists):
            await store.lease_grant(1000, 42)
        await store.lease_revoke(42)
        assert (await store.lease_grant(1000, 42)).ttl_ms == 1000

    asyncio.run(scenario())


def test_a_new_leader_grants_every_lease_its_whole_term_again() -> None:
    timers = FakeTimers()
    expired: list[int] = []
    clock = LeaseClock(timers, expired.append)
    clock.start({1: 1000, 2: 3000})
    timers.advance(0.8)
    clock.start({1: 1000, 2: 3000})
    timers.advance(0.8)
    assert expired == []
    timers.advance(0.3)
    assert expired == [1]
    with pytest.raises(LeaseNotFound):
        clock.renew(1)
    clock.stop()
    timers.advance(60)
    assert expired == [1]


def test_time_in_which_the_leader_did_not_run_is_not_held_against_holders() -> None:
    timers = FakeTimers()
    expired: list[int] = []
    clock = LeaseClock(timers, expired.append)
    clock.grant(1, 1000)
    clock.grant(2, 1000)
    timers.advance(0.4)
    timers.now_s += 5
    clock.forgive(5)
    timers.advance(0)
    assert expired == [], "what they sent meanwhile is still to be read"
    assert 598 <= clock.remaining_ms(1) <= 600
    clock.renew(1)
    timers.advance(0.7)
    assert expired == [2]
    timers.advance(0.4)
    assert expired == [2, 1]


def test_one_timer_stands_for_all_leases() -> None:
    timers = FakeTimers()
    expired: list[int] = []
    clock = LeaseClock(timers, expired.append)
    for lease in range(100):
        clock.grant(lease, 1000 + 10 * (lease % 10))
    assert len(timers.due) == 1
    for _ in range(20):
        timers.advance(0.4)
        for lease in range(100):
            clock.renew(lease)
    assert (expired, len(timers.due)) == ([], 1)
    timers.advance(1.045)
    assert sorted(expired) == [lease for lease in range(100) if lease % 10 <= 4]


@pytest.mark.parametrize(
    "operations",
    [
        (Put(b"", b""),),
        (Put(b"a", bytes(1_600_000)),),
        (Put(b"a", b""), Put(b"a", b"")),
        (Put(b"b", b""), Delete(b"a", b"c")),
        tuple(Put(b"%d" % number, b"") for number in range(129)),
        (Range(b""),),
        (Range(b"a", limit=-1),),
        (Put(b"a", b"", lease=-1),),
    ],
)
def test_what_can_never_be_carried_out_is_refused(operations: tuple[Operation, ...]) -> None:
    async def scenario() -> None:
        store = MemoryStore()
        with pytest.raises(InvalidRequest):
            await store.transact(Transaction(success=operations))
        assert await store.revision() == 1

    asyncio.run(scenario())


def test_ill_paired_compares_and_terms_are_refused() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        for compare in (
            Compare(b"a", "mod", "==", b"1"),
            Compare(b"a", "value", "==", 1),
            Compare(b"", "mod", "==", 1),
        ):
            with pytest.raises(InvalidRequest):
                await store.transact(Transaction((compare,)))
        for ttl_ms, lease in ((0, 0), (-5, 0), (1000, -1), (1 << 62, 0)):
            with pytest.raises(InvalidRequest):
                await store.lease_grant(ttl_ms, lease)
        assert issubclass(InvalidRequest, StoreError)

    asyncio.run(scenario())


def test_history_is_bounded_by_count_bytes_and_age() -> None:
    async def kept(settings: RetentionSettings, size: int, seconds_a_write: float) -> int:
        timers = FakeTimers()
        store = MemoryStore(settings, timers)
        for _ in range(5 * STEP_REVISIONS):
            await store.transact(put(b"k", bytes(size)))
            timers.now_s += seconds_a_write
        revision = await store.revision()
        assert (await store.range(Range(b"k"))).kvs[0].version == 5 * STEP_REVISIONS
        return revision - (await store.status())[0].compact_revision

    assert asyncio.run(kept(RetentionSettings(), 10, 0)) == 5 * STEP_REVISIONS + 1
    assert asyncio.run(kept(RetentionSettings(revisions_max=500), 10, 0)) <= 500 + STEP_REVISIONS
    assert asyncio.run(kept(RetentionSettings(bytes_max=1 << 20), 1000, 0)) <= 900 + STEP_REVISIONS
    assert asyncio.run(kept(RetentionSettings(window_s=1.0), 10, 0.001)) <= 1000 + 2 * STEP_REVISIONS
