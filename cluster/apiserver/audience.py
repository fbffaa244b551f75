"""Who is told of a change: those who look at everything, and those who look at the one value that an object has.

A change of one pod is looked at by the agent of its node and not by a thousand others.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, KeysView
from dataclasses import dataclass
from typing import Protocol

from oarlock.cluster.apiserver.entries import Batch, Change, Entry, Watcher

log = logging.getLogger(__name__)


class Aspect(Hashable, Protocol):
    """Something of an object that watches and lists choose by, such as its namespace, its node or one of its labels."""

    def value(self, entry: Entry) -> Hashable:
        """Return what it is in this object."""
        ...


class _Key:
    """An object's own key."""

    def value(self, entry: Entry) -> Hashable:
        return entry.key


class _Parent:
    """What precedes the object's name in its key: its namespace."""

    def value(self, entry: Entry) -> Hashable:
        return entry.key[: entry.key.rindex(b"/") + 1]


KEY, PARENT = _Key(), _Parent()


@dataclass(frozen=True, slots=True)
class Interest:
    """The objects whose `aspect` is one of `values`."""

    aspect: Aspect
    values: frozenset[Hashable]


class Audience:
    """The watchers of a collection. Iterates over all of them."""

    def __init__(self) -> None:
        self._interests: dict[Watcher, Interest | None] = {}
        self._groups: dict[Interest | None, dict[Watcher, None]] = {}
        """Watchers by what they look at; those at None are told of everything."""
        self._members: dict[Interest | None, tuple[Watcher, ...]] = {}
        """The same for the groups that were told of something since they last changed."""
        self._by_aspect: dict[Aspect, dict[Hashable, dict[Interest, None]]] = {}

    def __iter__(self) -> Iterator[Watcher]:
        return iter(tuple(self._interests))

    @property
    def present(self) -> KeysView[Watcher]:
        """All of them, as they come and go."""
        return self._interests.keys()

    def add(self, watcher: Watcher, interest: Interest | None = None) -> None:
        """Tell `watcher` from now on of every change, or of those of the objects that interest it, before or after."""
        self.discard(watcher)
        self._interests[watcher] = interest
        group = self._groups.setdefault(interest, {})
        group[watcher] = None
        self._members.pop(interest, None)
        if interest is not None and len(group) == 1:
            by_value = self._by_aspect.setdefault(interest.aspect, {})
            for value in interest.values:
                by_value.setdefault(value, {})[interest] = None

    def discard(self, watcher: Watcher) -> None:
        """Tell it no more. One that isn't there is no error."""
        if watcher not in self._interests:
            return
        interest = self._interests.pop(watcher)
        group = self._groups[interest]
        del group[watcher]
        self._members.pop(interest, None)
        if group:
            return
        del self._groups[interest]
        if interest is None:
            return
        by_value = self._by_aspect[interest.aspect]
        for value in interest.values:
            del by_value[value][interest]
            if not by_value[value]:
                del by_value[value]
        if not by_value:
            del self._by_aspect[interest.aspect]

    def concerned(self, changes: list[Change]) -> list[tuple[tuple[Watcher, ...], Batch]]:
        """Return who is to be told of what; what an object is no longer concerns those who looked at that, too.

        Nobody is named twice. Those who look at the same make one tuple, the same one until somebody comes or goes.
        """
        told: dict[Interest | None, Batch] = {None: Batch(changes)} if None in self._groups else {}
        for aspect, by_value in self._by_aspect.items():
            for change in changes:
                for interest in _interested(aspect, by_value, change):
                    told.setdefault(interest, Batch()).append(change)
        return [(self._group(interest), its) for interest, its in told.items()]

    def _group(self, interest: Interest | None) -> tuple[Watcher, ...]:
        members = self._members.get(interest)
        if members is None:
            members = self._members[interest] = tuple(self._groups[interest])
        return members


def _interested(aspect: Aspect, by_value: dict[Hashable, dict[Interest, None]], change: Change) -> dict[Interest, None]:
    try:
        found = [by_value.get(aspect.value(one)) for one in (change.old, change.new) if one is not None]
    except Exception:
        # Each watcher judges for itself: to be told too much harms none, and the cache must go on.
        log.exception("an object can't be told apart key=%s", change.key.decode(errors="replace"))
        found = list(by_value.values())
    return {interest: None for one in found if one for interest in one}
