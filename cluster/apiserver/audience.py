"""Who is told of a change: those who look at everything, and those who look at the one value that an object has.

A change of one pod is looked at by the agent of its node and not by a thousand others.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Protocol

from oarlock.cluster.apiserver.entries import Change, Entry, Watcher

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
        self._everywhere: dict[Watcher, None] = {}
        self._by_aspect: dict[Aspect, dict[Hashable, set[Watcher]]] = {}

    def __iter__(self) -> Iterator[Watcher]:
        return iter(tuple(self._interests))

    def add(self, watcher: Watcher, interest: Interest | None = None) -> None:
        """Tell `watcher` from now on of every change, or of those of the objects that interest it, before or after."""
        self.discard(watcher)
        self._interests[watcher] = interest
        if interest is None:
            self._everywhere[watcher] = None
            return
        by_value = self._by_aspect.setdefault(interest.aspect, {})
        for value in interest.values:
            by_value.setdefault(value, set()).add(watcher)

    def discard(self, watcher: Watcher) -> None:
        """Tell it no more. One that isn't there is no error."""
        interest = self._interests.pop(watcher, None)
        self._everywhere.pop(watcher, None)
        if interest is None:
            return
        by_value = self._by_aspect[interest.aspect]
        for value in interest.values:
            by_value[value].discard(watcher)
            if not by_value[value]:
                del by_value[value]
        if not by_value:
            del self._by_aspect[interest.aspect]

    def concerned(self, changes: list[Change]) -> list[tuple[Watcher, list[Change]]]:
        """Return who is to be told of what; what an object is no longer concerns those who looked at that, too."""
        told = dict.fromkeys(self._everywhere, changes)
        for aspect, by_value in self._by_aspect.items():
            for change in changes:
                for watcher in _watching(aspect, by_value, change):
                    told.setdefault(watcher, []).append(change)
        return list(told.items())


def _watching(aspect: Aspect, by_value: dict[Hashable, set[Watcher]], change: Change) -> set[Watcher]:
    try:
        found = [by_value.get(aspect.value(one)) for one in (change.old, change.new) if one is not None]
    except Exception:
        # Each watcher judges for itself: to be told too much harms none, and the cache must go on.
        log.exception("an object can't be told apart key=%s", change.key.decode(errors="replace"))
        found = list(by_value.values())
    return set().union(*(one for one in found if one))
