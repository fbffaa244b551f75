"""A dictionary of keys that grows, and is copied, without a pause.

A plain dictionary of a million entries stops its process for 20 to 60 ms whenever it outgrows its memory. This one is
spread over `SHARDS` small ones, each of which is moved in well under a millisecond.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, ValuesView
from itertools import chain
from typing import Generic, TypeVar
from weakref import ref

SHARDS = 256
_LAST = SHARDS - 1

V = TypeVar("V")
D = TypeVar("D")


class KeyTable(MutableMapping[bytes, V]):
    """Values by key, in no order that means anything."""

    __slots__ = ("_copies", "_shards")

    def __init__(self) -> None:
        self._copies: list[ref[TableCopy[V]]] = []
        self._shards: list[dict[bytes, V]] = [{} for _ in range(SHARDS)]

    def __getitem__(self, key: bytes) -> V:
        return self._shards[hash(key) & _LAST][key]

    def __setitem__(self, key: bytes, value: V) -> None:
        at = hash(key) & _LAST
        if self._copies:
            self._keep(at)
        self._shards[at][key] = value

    def __delitem__(self, key: bytes) -> None:
        at = hash(key) & _LAST
        if self._copies:
            self._keep(at)
        del self._shards[at][key]

    def __contains__(self, key: object) -> bool:
        return key in self._shards[hash(key) & _LAST]

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(self._shards)

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def get(self, key: bytes, default: D | None = None) -> V | D | None:  # type: ignore[override]
        return self._shards[hash(key) & _LAST].get(key, default)

    def values(self) -> ValuesView[V]:
        return _Values(self)

    def shard(self, at: int) -> dict[bytes, V]:
        """Return one of the `SHARDS` parts, to be read at once."""
        return self._shards[at]

    def copy(self) -> TableCopy[V]:
        """Return the values of now; they are copied as they are drawn, or before they change."""
        made = TableCopy(self)
        self._copies.append(ref(made))
        return made

    def _keep(self, at: int) -> None:
        copies = [copy for one in self._copies if (copy := one()) is not None and copy.keep(at)]
        if len(copies) < len(self._copies):
            self._copies = [ref(copy) for copy in copies]


class TableCopy(Generic[V]):
    """A table's values as of the copy's making, in `SHARDS` parts; can be gone through once."""

    def __init__(self, table: KeyTable[V]) -> None:
        self._table = table
        self._kept: dict[int, dict[bytes, V]] = {}
        self._drawn = 0

    def keep(self, at: int) -> bool:
        """Save a part that is about to change; False if this copy needs no more of the table."""
        # A copied dictionary stays unknown to the garbage collector, which would walk the values of a list.
        if at >= self._drawn and at not in self._kept:
            self._kept[at] = self._table.shard(at).copy()
        return self._drawn < SHARDS

    def __iter__(self) -> Iterator[ValuesView[V]]:
        while self._drawn < SHARDS:
            at = self._drawn
            shard = self._kept.pop(at, None)
            if shard is None:
                shard = self._table.shard(at).copy()
            self._drawn += 1
            yield shard.values()


class _Values(ValuesView[V]):
    _mapping: KeyTable[V]

    def __iter__(self) -> Iterator[V]:
        return chain.from_iterable(self._mapping.shard(at).values() for at in range(SHARDS))
