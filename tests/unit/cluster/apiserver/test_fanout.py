"""Watchers are told in turns of the loop, each of all that waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from oarlock.cluster.apiserver import fanout
from oarlock.cluster.apiserver.audience import Audience
from oarlock.cluster.apiserver.entries import Batch, Change, Entry
from oarlock.cluster.apiserver.fanout import TOLD_AT_ONCE, Fanout


class Watcher:
    def __init__(self, on_told: Callable[[], None] = lambda: None) -> None:
        self.pieces: list[list[int]] = []
        self._on_told = on_told

    def deliver(self, changes: Batch) -> None:
        self.pieces.append([change.revision for change in changes])
        self._on_told()

    def lost(self) -> None: ...


def change(revision: int) -> list[Change]:
    return [Change(revision, None, Entry(b"/registry/core/pods/d/a", b"{}", revision, revision))]


async def settled(telling: Fanout) -> None:
    while telling.told is not None:  # noqa: ASYNC110 - every turn of the loop is one step of the telling
        await asyncio.sleep(0)


def among(count: int) -> tuple[Audience, list[Watcher]]:
    audience, watchers = Audience(), [Watcher() for _ in range(count)]
    for watcher in watchers:
        audience.add(watcher)
    return audience, watchers


def test_few_are_told_at_once() -> None:
    async def scenario() -> None:
        audience, watchers = among(TOLD_AT_ONCE)
        telling = Fanout()
        telling.add(audience, change(5))
        assert (telling.told, watchers[0].pieces) == (4, [])
        telling.begin()
        assert telling.told is None
        assert all(watcher.pieces == [[5]] for watcher in watchers)

    asyncio.run(scenario())


def test_after_a_long_round_all_rest_and_what_comes_meanwhile_is_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now_s[0])

    def takes_a_while() -> None:
        now_s[0] += 0.002

    async def scenario() -> None:
        audience = Audience()
        watcher = Watcher(takes_a_while)
        audience.add(watcher)
        telling = Fanout()
        for revision in (5, 6, 7):
            telling.add(audience, change(revision))
            telling.begin()
            await asyncio.sleep(0)
        assert (watcher.pieces, telling.told) == ([[5]], 5)
        await settled(telling)
        assert watcher.pieces == [[5], [6, 7]]

    asyncio.run(scenario())


def test_what_comes_meanwhile_reaches_those_who_wait_in_one_piece() -> None:
    async def scenario() -> None:
        audience, watchers = among(3 * TOLD_AT_ONCE)
        telling = Fanout()
        telling.add(audience, change(5))
        telling.begin()
        for revision in (6, 7):
            telling.add(audience, change(revision))
            telling.begin()
        assert telling.told == 4, "some have yet to be told of 5"
        await settled(telling)
        early, late = watchers[:TOLD_AT_ONCE], watchers[TOLD_AT_ONCE:]
        assert all(watcher.pieces == [[5], [6, 7]] for watcher in early)
        assert all(watcher.pieces == [[5, 6, 7]] for watcher in late)

    asyncio.run(scenario())


def test_who_comes_while_others_wait_is_told_of_nothing_older_and_who_stays_of_all_in_order() -> None:
    async def scenario() -> None:
        audience, watchers = among(2 * TOLD_AT_ONCE)
        telling = Fanout()
        for revision in (5, 6):
            telling.add(audience, change(revision))
            telling.begin()
        late = Watcher()
        audience.add(late)
        telling.add(audience, change(7))
        assert telling.told == 4
        await settled(telling)
        assert late.pieces == [[7]]
        assert all(watcher.pieces == [[5], [6], [7]] for watcher in watchers[:TOLD_AT_ONCE])
        assert all(watcher.pieces == [[5, 6], [7]] for watcher in watchers[TOLD_AT_ONCE:])

    asyncio.run(scenario())


def test_nobody_counts_as_told_who_waits_for_a_change_of_the_same_batch() -> None:
    async def scenario() -> None:
        telling = Fanout()
        (first, _), (second, watchers) = among(TOLD_AT_ONCE), among(1)
        telling.add(first, change(9))
        telling.add(second, change(6))
        telling.begin()
        assert telling.told == 5, "of 6 the second group is yet to be told"
        await settled(telling)
        assert watchers[0].pieces == [[6]]

    asyncio.run(scenario())


def test_who_leaves_while_waiting_is_not_told() -> None:
    async def scenario() -> None:
        audience, watchers = among(TOLD_AT_ONCE + 2)
        telling = Fanout()
        telling.add(audience, change(5))
        telling.begin()
        audience.discard(watchers[-1])
        await settled(telling)
        assert [watcher.pieces for watcher in watchers[-2:]] == [[[5]], []]
        telling.add(audience, change(6))
        telling.clear()
        telling.begin()
        assert telling.told is None
        assert watchers[0].pieces == [[5]]

    asyncio.run(scenario())


def test_no_more_is_taken_in_while_too_much_is_untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "UNTOLD_MAX", TOLD_AT_ONCE)

    async def scenario() -> None:
        audience, watchers = among(4 * TOLD_AT_ONCE)
        telling = Fanout()
        await asyncio.wait_for(telling.room(), 5)
        telling.add(audience, change(5))
        telling.begin()
        await telling.room()
        told = sum(len(watcher.pieces) for watcher in watchers)
        assert 3 * TOLD_AT_ONCE <= told < 4 * TOLD_AT_ONCE + 1
        telling.add(audience, change(6))
        waiting = asyncio.ensure_future(telling.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        telling.clear()
        await waiting

    asyncio.run(scenario())
