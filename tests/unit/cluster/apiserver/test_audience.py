"""Who is told of a change, and which objects an index finds."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from oarlock.cluster.apiserver.audience import KEY, PARENT, Audience, Interest
from oarlock.cluster.apiserver.entries import Batch, Change, Entry
from oarlock.cluster.apiserver.indexing import INDEXES_MAX, Indexes


@dataclass(eq=False)
class Watcher:
    changes: list[Change] = field(default_factory=list)

    def deliver(self, changes: Batch) -> None:
        self.changes += changes

    def lost(self) -> None: ...


@dataclass(frozen=True)
class Colour:
    """The object's whole content."""

    salt: int = 0

    def value(self, entry: Entry) -> Hashable:
        if entry.wire == b"broken":
            raise ValueError(entry.wire)
        return entry.wire


def entry(key: str, colour: str, revision: int = 1) -> Entry:
    return Entry(b"/registry/core/pods/" + key.encode(), colour.encode(), 1, revision)


def of(aspect: object, *values: bytes) -> Interest:
    return Interest(aspect, frozenset(values))  # type: ignore[arg-type]


def tell(audience: Audience, *changes: Change) -> None:
    for members, told in audience.concerned(list(changes)):
        for watcher in members:
            watcher.deliver(told)


def test_each_is_told_of_what_concerns_it_once_and_in_order() -> None:
    audience = Audience()
    everything, one, space, red, colours = (Watcher() for _ in range(5))
    audience.add(everything)
    audience.add(one, of(KEY, b"/registry/core/pods/a/x"))
    audience.add(space, of(PARENT, b"/registry/core/pods/b/"))
    audience.add(red, of(Colour(), b"red"))
    audience.add(colours, of(Colour(), b"red", b"blue"))
    born = Change(2, None, entry("a/x", "red"))
    changed = Change(3, born.new, entry("a/x", "blue"))
    gone = Change(4, entry("b/y", "green"), None)
    tell(audience, born, changed, gone)
    assert everything.changes == [born, changed, gone]
    assert one.changes == [born, changed]
    assert space.changes == [gone]
    assert red.changes == [born, changed], "what it was concerns those who looked at that"
    assert colours.changes == [born, changed], "once, though both of its values are concerned"


def test_who_has_gone_is_told_no_more_and_leaves_nothing() -> None:
    audience = Audience()
    watchers = [Watcher(), Watcher()]
    for watcher in watchers:
        audience.add(watcher, of(Colour(), b"red"))
    audience.add(watchers[0], of(KEY, b"/registry/core/pods/a/x"))
    assert list(audience) == [watchers[1], watchers[0]]
    audience.discard(watchers[1])
    audience.discard(watchers[1])
    tell(audience, Change(2, None, entry("a/y", "red")))
    assert not watchers[0].changes
    assert not watchers[1].changes
    tell(audience, Change(3, None, entry("a/x", "red")))
    assert [one.revision for one in watchers[0].changes] == [3]
    assert list(audience) == [watchers[0]]
    assert watchers[0] in audience.present
    assert watchers[1] not in audience.present


def test_who_looks_at_the_same_is_told_together() -> None:
    audience = Audience()
    everything, red = [Watcher(), Watcher()], [Watcher(), Watcher()]
    for watcher in everything:
        audience.add(watcher)
    for watcher in red:
        audience.add(watcher, of(Colour(), b"red"))
    changes = [Change(2, None, entry("a/x", "blue")), Change(3, None, entry("a/y", "red"))]
    found = audience.concerned(changes)
    assert found == [(tuple(everything), changes), (tuple(red), changes[1:])]
    again = audience.concerned(changes)
    assert [members for members, _ in again] == [members for members, _ in found]
    assert all(members is before for (members, _), (before, _) in zip(again, found, strict=True))
    audience.discard(red[0])
    (everybody, _), (fewer, _) = audience.concerned(changes)
    assert (everybody is found[0][0], fewer) == (True, (red[1],))
    tell(audience, *changes)
    assert (red[0].changes, red[1].changes) == ([], changes[1:])


def test_an_object_that_cannot_be_told_apart_reaches_everybody() -> None:
    audience = Audience()
    red, key = Watcher(), Watcher()
    audience.add(red, of(Colour(), b"red"))
    audience.add(key, of(KEY, b"/registry/core/pods/a/y"))
    broken = Change(2, None, entry("a/x", "broken"))
    tell(audience, broken)
    assert red.changes == [broken]
    assert not key.changes


STEPS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["red", "blue", ""])), max_size=60)


@given(st.dictionaries(st.integers(0, 400), st.sampled_from(["red", "blue"])), STEPS, st.integers(0, 6))
def test_an_index_is_what_a_look_at_everything_would_find(
    first: dict[int, str], steps: list[tuple[int, str]], turns: int
) -> None:
    """However far the making has come when the objects change."""

    async def scenario() -> None:
        entries = {one.key: one for one in (entry(f"a/{number}", colour) for number, colour in first.items())}
        indexes = Indexes()
        asked = asyncio.ensure_future(indexes.complete(Colour(), entries))
        for position, (number, colour) in enumerate(steps):
            if position % 10 == 0:
                for _ in range(turns):
                    await asyncio.sleep(0)
            key = entry(f"a/{number}", "").key
            old, new = entries.pop(key, None), entry(f"a/{number}", colour) if colour else None
            if new is not None:
                entries[key] = new
            if old is not None or new is not None:
                indexes.apply(Change(position, old, new))
        index = await asked
        assert index is not None
        for colour in (b"red", b"blue", b"green"):
            assert index.keys([colour]) == sorted(key for key, one in entries.items() if one.wire == colour)
        assert index.keys([b"red", b"blue"]) == sorted(entries)

    asyncio.run(scenario())


def test_an_index_that_cannot_be_made_or_kept_is_none() -> None:
    async def scenario() -> None:
        indexes = Indexes()
        broken = entry("a/x", "broken")
        assert await indexes.complete(Colour(), {broken.key: broken}) is None
        assert await indexes.complete(Colour(), {}) is not None
        indexes.apply(Change(2, None, broken))
        asked = asyncio.ensure_future(indexes.complete(Colour(), {}))
        await asyncio.sleep(0)
        indexes.clear()
        assert await asked is None

    asyncio.run(scenario())


def test_the_index_that_was_asked_longest_ago_goes_first() -> None:
    async def scenario() -> None:
        indexes = Indexes()
        made = [await indexes.complete(Colour(salt), {}) for salt in range(INDEXES_MAX)]
        assert await indexes.complete(Colour(0), {}) is made[0]
        await indexes.complete(Colour(INDEXES_MAX), {})
        assert await indexes.complete(Colour(0), {}) is made[0]
        assert await indexes.complete(Colour(1), {}) is not made[1]

    asyncio.run(scenario())
