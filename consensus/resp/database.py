r"""Hashes and counters as keys of the store: each field is a key of its own, each write a transaction with its guard.

A field's key is `<prefix>h<hash>\0<field>`, a counter's `<prefix>s<name>`; names hold no zero byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from oarlock.consensus.model import (
    OPERATIONS_MAX,
    Compare,
    Delete,
    DeleteResult,
    Operation,
    Put,
    PutResult,
    Range,
    Store,
    Transaction,
    TransactionResult,
)

ADD_ATTEMPTS_MAX: Final = 16
_INTEGER: Final = re.compile(rb"-?(0|[1-9]\d{0,18})")
_INTEGER_MAX: Final = (1 << 63) - 1
_NAMES_PER_DROP: Final = OPERATIONS_MAX // 2


class Guard(NamedTuple):
    """A write's condition: the key was created at `epoch`, as a lease's key is in each of its terms."""

    key: bytes
    epoch: int


class Deposed(Exception):
    """The guard doesn't hold: nothing was written, and nothing more can be under it."""


class WrongType(Exception):
    """A counter is asked for as a hash, or the other way round."""


class Refused(Exception):
    """The request can't be carried out; the message tells people why."""


class Page(NamedTuple):
    """Some fields of a hash in order; `more` is true if there are others behind."""

    fields: list[tuple[bytes, bytes]]
    more: bool


class Database:
    """All hashes and counters below one prefix. Raises StoreError beside what stands above."""

    def __init__(self, store: Store, prefix: bytes) -> None:
        self._store, self._prefix = store, prefix

    async def get(self, name: bytes, field: bytes) -> bytes | None:
        found = await self._store.range(Range(self._field(name, field)))
        return found.kvs[0].value if found.kvs else None

    async def get_many(self, name: bytes, fields: Sequence[bytes]) -> list[bytes | None]:
        """Return the fields' values, all of one revision."""
        low, high = min(fields), max(fields)
        found = await self._store.range(Range(self._field(name, low), self._field(name, high) + b"\0"))
        values = {kv.key: kv.value for kv in found.kvs}
        return [values.get(self._field(name, field)) for field in fields]

    async def page(self, name: bytes, prefix: bytes, after: bytes | None, limit: int) -> Page:
        """Return up to `limit` fields that begin with `prefix`, those behind `after`."""
        start = self._field(name, prefix) if after is None else self._field(name, after) + b"\0"
        found = await self._store.range(Range(start, _end(self._field(name, prefix)), limit))
        skip = len(self._field(name, b""))
        return Page([(kv.key[skip:], kv.value) for kv in found.kvs], found.more)

    async def put(self, name: bytes, values: Mapping[bytes, bytes], guard: Guard) -> int:
        """Set fields, and return how many are new."""
        puts = [Put(self._field(name, field), value, previous=True) for field, value in values.items()]
        done = await self._write(name, (), puts, guard)
        assert done is not None
        return sum(isinstance(one, PutResult) and one.previous is None for one in done.responses)

    async def put_new(self, name: bytes, field: bytes, value: bytes, guard: Guard) -> bool:
        """Set a field that isn't there; return whether it wasn't."""
        key = self._field(name, field)
        return await self._write(name, (Compare(key, "version", "==", 0),), [Put(key, value)], guard) is not None

    async def remove(self, name: bytes, fields: Sequence[bytes], guard: Guard) -> int:
        """Remove fields and return how many there were; more than a transaction holds go in several."""
        deletes = [Delete(self._field(name, field)) for field in dict.fromkeys(fields)]
        removed = 0
        for first in range(0, len(deletes), OPERATIONS_MAX):
            done = await self._write(name, (), deletes[first : first + OPERATIONS_MAX], guard)
            assert done is not None
            removed += _deleted(done)
        return removed

    async def drop(self, names: Sequence[bytes], guard: Guard) -> int:
        """Remove hashes and counters; return how many of the names there were."""
        distinct, dropped = list(dict.fromkeys(names)), 0
        for first in range(0, len(distinct), _NAMES_PER_DROP):
            part = distinct[first : first + _NAMES_PER_DROP]
            hashes = [Delete(self._field(name, b""), _end(self._field(name, b""))) for name in part]
            counters = [Delete(self._counter(name)) for name in part]
            done = await self._guarded((), [*hashes, *counters], guard)
            assert done is not None
            counts = [one.deleted if isinstance(one, DeleteResult) else 0 for one in done.responses]
            pairs = zip(counts[: len(part)], counts[len(part) :], strict=True)
            dropped += sum(bool(fields or counter) for fields, counter in pairs)
        return dropped

    async def add(self, name: bytes, amount: int, guard: Guard) -> int:
        """Add to a counter, which begins at 0, and return its new value."""
        key = self._counter(name)
        for _ in range(ADD_ATTEMPTS_MAX):
            if (await self.page(name, b"", None, 1)).fields:
                raise WrongType
            found = await self._store.range(Range(key))
            before, revision = (found.kvs[0].value, found.kvs[0].mod_revision) if found.kvs else (b"0", 0)
            total = integer(before) + amount
            if abs(total) > _INTEGER_MAX:
                raise Refused("increment or decrement would overflow")
            put = Put(key, b"%d" % total)
            if await self._guarded((Compare(key, "mod", "==", revision),), [put], guard) is not None:
                return total
        raise Refused(f"the counter was written by others {ADD_ATTEMPTS_MAX} times")

    async def clear(self, guard: Guard) -> None:
        """Remove everything below the prefix."""
        await self._guarded((), [Delete(self._prefix, _end(self._prefix))], guard)

    async def _write(
        self, name: bytes, compares: tuple[Compare, ...], operations: Sequence[Operation], guard: Guard
    ) -> TransactionResult | None:
        """Write fields of a hash; None if one of `compares` doesn't hold. Raises WrongType if it is a counter."""
        counter = self._counter(name)
        done = await self._guarded((*compares, Compare(counter, "version", "==", 0)), operations, guard)
        if done is None and (await self._store.range(Range(counter))).kvs:
            raise WrongType
        return done

    async def _guarded(
        self, compares: tuple[Compare, ...], operations: Sequence[Operation], guard: Guard
    ) -> TransactionResult | None:
        """Write if all holds; None if one of `compares` doesn't. Raises Deposed if the guard doesn't."""
        held = Compare(guard.key, "create", "==", guard.epoch)
        done = await self._store.transact(Transaction((held, *compares), tuple(operations), (Range(guard.key),)))
        if done.succeeded:
            return done
        lease = done.responses[0]
        kvs = getattr(lease, "kvs", ())
        if not kvs or kvs[0].create_revision != guard.epoch:
            raise Deposed
        return None

    def _field(self, name: bytes, field: bytes) -> bytes:
        return self._prefix + b"h" + _plain(name) + b"\0" + field

    def _counter(self, name: bytes) -> bytes:
        return self._prefix + b"s" + _plain(name)


def integer(text: bytes) -> int:
    """Return a whole number of 64 bits. Raises Refused."""
    if not _INTEGER.fullmatch(text) or abs(int(text)) > _INTEGER_MAX:
        raise Refused("value is not an integer or out of range")
    return int(text)


def _plain(name: bytes) -> bytes:
    if b"\0" in name:
        raise Refused("a key's name can't have a zero byte here")
    return name


def _deleted(done: TransactionResult) -> int:
    return sum(one.deleted for one in done.responses if isinstance(one, DeleteResult))


def _end(prefix: bytes) -> bytes:
    """Return the first key behind all that begin with `prefix`, whose last byte is below 255 as a separator's is."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,))
