"""One object's step in the store: a transaction of its put or delete with everything that must hold beside it.

What must hold: the object is still at the revision that the decision was based on, every fence's lease is still held,
and what the object claims (addresses, ports) is free. All of it is one transaction, so nothing needs repair after a
crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oarlock.cluster.apiserver.watchcache import Entry, WatchCache
from oarlock.cluster.objects import codec, status
from oarlock.consensus.model import Compare, Delete, KeyValue, Operation, Put, Range, RangeResult, Store, Transaction

LEASES = b"/oarlock/leases/"


class Stale(Exception):
    """The object is not at the expected revision; `live` is what the store holds (None: nothing)."""

    def __init__(self, live: Entry | None) -> None:
        super().__init__("the object has changed")
        self.live = live


class Taken(Exception):
    """Claimed keys that belong to somebody else."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        super().__init__("claimed keys are taken")
        self.keys = keys


@dataclass(frozen=True, slots=True)
class Fence:
    """A write's condition: lease `name` is still held in the term that began at revision `epoch`."""

    name: str
    epoch: int

    @property
    def key(self) -> bytes:
        return LEASES + self.name.encode()


@dataclass(frozen=True, slots=True)
class Claims:
    """Keys to take (with their values) and to give back in the object's own transaction."""

    take: Mapping[bytes, bytes] = field(default_factory=dict)
    release: tuple[bytes, ...] = ()


NO_CLAIMS = Claims()


class Storage:
    """Reads and writes single objects. Raises StoreError, Stale, Taken, and ApiError 409 for a lost fence."""

    def __init__(self, store: Store, cache: WatchCache) -> None:
        self._store = store
        self.cache = cache

    async def live(self, key: bytes) -> Entry | None:
        """Return the object as the store holds it now (a linearizable read)."""
        result = await self._store.range(Range(key))
        return Entry.of(result.kvs[0]) if result.kvs else None

    async def present(self, keys: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return those of `keys` that the store holds (a linearizable read)."""
        if not keys:
            return ()
        result = await self._store.transact(Transaction((), tuple(Range(key) for key in keys), ()))
        return tuple(found.kvs[0].key for found in result.responses if isinstance(found, RangeResult) and found.kvs)

    async def put(
        self,
        key: bytes,
        obj: Mapping[str, Any],
        expected: Entry | None,
        fences: tuple[Fence, ...] = (),
        claims: Claims = NO_CLAIMS,
        lease: int = 0,
    ) -> Entry:
        """Store `obj` if the key is still at `expected` (None: absent). Returns the new state."""
        value = codec.encode(obj)
        revision = await self._transact(key, Put(key, value, lease), expected, fences, claims)
        create_revision = expected.create_revision if expected is not None else revision
        return Entry.of(KeyValue(key, value, create_revision, revision, 0, lease))

    async def remove(
        self, key: bytes, expected: Entry, fences: tuple[Fence, ...] = (), claims: Claims = NO_CLAIMS
    ) -> int:
        """Delete the object if it is still at `expected`. Returns the deletion's revision."""
        return await self._transact(key, Delete(key), expected, fences, claims)

    async def _transact(
        self, key: bytes, operation: Operation, expected: Entry | None, fences: tuple[Fence, ...], claims: Claims
    ) -> int:
        revision = 0 if expected is None else expected.revision
        compares = [Compare(key, "mod", "==", revision)]
        compares += [Compare(fence.key, "create", "==", fence.epoch) for fence in fences]
        compares += [Compare(taken, "version", "==", 0) for taken in claims.take]
        success: list[Operation] = [operation]
        success += [Put(taken, owner) for taken, owner in claims.take.items()]
        success += [Delete(released) for released in claims.release if released not in claims.take]
        failure = [Range(key), *(Range(fence.key) for fence in fences), *(Range(taken) for taken in claims.take)]
        result = await self._store.transact(Transaction(tuple(compares), tuple(success), tuple(failure)))
        if result.succeeded:
            return result.revision
        found = [response.kvs for response in result.responses if isinstance(response, RangeResult)]
        _check_fences(fences, found[1 : 1 + len(fences)])
        live = Entry.of(found[0][0]) if found[0] else None
        if (live.revision if live is not None else 0) != revision:
            raise Stale(live)
        raise Taken(tuple(kvs[0].key for kvs in found[1 + len(fences) :] if kvs))


def _check_fences(fences: tuple[Fence, ...], found: list[tuple[KeyValue, ...]]) -> None:
    for fence, kvs in zip(fences, found, strict=True):
        if not kvs or kvs[0].create_revision != fence.epoch:
            raise status.conflict(
                "leases.oarlock", fence.name, f'lease "{fence.name}" is no longer held in epoch {fence.epoch}'
            )


def parse_fence(text: str) -> tuple[Fence, ...]:
    """Read an Oarlock-Fence header: `NAME=EPOCH`, several separated by commas. Raises ApiError 400."""
    fences = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, epoch = part.rpartition("=")
        if not name or not epoch.isdecimal():
            raise status.bad_request(f"Oarlock-Fence: expected NAME=EPOCH, got {part!r}")
        fences.append(Fence(name, int(epoch)))
    return tuple(fences)
