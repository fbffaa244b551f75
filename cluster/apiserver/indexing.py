"""Which objects of a collection have what value, so that a list of a few among many costs what the few cost.

An index is made when a list first asks for it, a little at a time, and follows the collection from then on.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping

from oarlock.cluster.apiserver.audience import Aspect
from oarlock.cluster.apiserver.entries import Change, Entry

INDEXES_MAX = 8
"""Of each collection; the one that was asked longest ago goes first."""
_SLICE = 100
"""Objects that are looked at in one turn of the loop, while an index is made."""


class Index:
    """Keys by the value of one aspect. Complete once `built` is done."""

    def __init__(self, aspect: Aspect, entries: Mapping[bytes, Entry]) -> None:
        self._aspect = aspect
        self._keys: dict[Hashable, set[bytes]] = {}
        self.built = asyncio.ensure_future(self._build(entries))

    def count(self, values: Iterable[Hashable]) -> int:
        """Return how many objects have one of the values."""
        return sum(len(self._keys.get(one, ())) for one in values)

    def keys(self, values: Iterable[Hashable]) -> list[bytes]:
        """Return the keys of the objects that have one of the values, in order."""
        found: set[bytes] = set()
        return sorted(found.union(*(self._keys.get(one, ()) for one in values)))

    def apply(self, change: Change) -> None:
        """Follow a change, also while the index is being made: what is added twice is there once."""
        if change.old is not None:
            value = self._aspect.value(change.old)
            keys = self._keys.get(value, set())
            keys.discard(change.key)
            if not keys:
                self._keys.pop(value, None)
        if change.new is not None:
            self._add(change.new)

    def _add(self, entry: Entry) -> None:
        self._keys.setdefault(self._aspect.value(entry), set()).add(entry.key)

    async def _build(self, entries: Mapping[bytes, Entry]) -> None:
        for position, key in enumerate(list(entries)):
            if position % _SLICE == 0:
                await asyncio.sleep(0)
            entry = entries.get(key)
            if entry is not None:
                self._add(entry)


class Indexes:
    """The indexes of one collection."""

    def __init__(self) -> None:
        self._indexes: OrderedDict[Aspect, Index] = OrderedDict()

    def apply(self, change: Change) -> None:
        """Follow a change. An index that can't is dropped; who needs it looks at everything."""
        for aspect, index in list(self._indexes.items()):
            try:
                index.apply(change)
            except Exception:  # noqa: BLE001 - whatever the object is like, the cache must go on
                self._drop(aspect)

    def clear(self) -> None:
        """Forget all: the collection begins anew."""
        for aspect in list(self._indexes):
            self._drop(aspect)

    async def complete(self, aspect: Aspect, entries: Mapping[bytes, Entry]) -> Index | None:
        """Return the index of an aspect once it is complete, or None if that didn't come to be."""
        index = self._indexes.get(aspect)
        if index is None:
            index = self._indexes[aspect] = Index(aspect, entries)
            if len(self._indexes) > INDEXES_MAX:
                self._drop(next(iter(self._indexes)))
        self._indexes.move_to_end(aspect)
        await asyncio.wait((index.built,))
        failed = index.built.cancelled() or index.built.exception() is not None
        if failed and self._indexes.get(aspect) is index:
            self._drop(aspect)
        return index if self._indexes.get(aspect) is index else None

    def _drop(self, aspect: Aspect) -> None:
        self._indexes.pop(aspect).built.cancel()
