"""One object's step in the store: a transaction of its put or delete with everything that must hold beside it.

What must hold: the object is still at the revision that the decision was based on, every fence's lease is still held,
and so does every claim (`claims`). All of it is one transaction, so nothing needs repair after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oarlock.cluster.apiserver import metrics
from oarlock.cluster.apiserver.claims import Claims, Unmet
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import codec, status
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.model import Compare, Delete, KeyValue, Operation, Put, Range, RangeResult, Store, Transaction

LEASES = b"/oarlock/leases/"
CATCH_UP_S = 10.0


class Stale(Exception):
    """The object is not at the expected revision; `live` is what the store holds (None: nothing)."""

    def __init__(self, live: Entry | None) -> None:
        super().__init__("the object has changed")
        self.live = live


class TermOver(ApiError):
    """409 for a fenced write that comes after its writer's term, whatever it is about."""

    def __init__(self, fence: Fence) -> None:
        told = status.conflict(
            "leases.oarlock", fence.name, f'lease "{fence.name}" is no longer held in epoch {fence.epoch}'
        )
        super().__init__(told.code, told.reason, told.message, told.details)


@dataclass(frozen=True, slots=True)
class Fence:
    """A write's condition: lease `name` is still held in the term that began at revision `epoch`."""

    name: str
    epoch: int

    @property
    def key(self) -> bytes:
        return LEASES + self.name.encode()


class Storage:
    """Reads and writes single objects. Raises StoreError, Stale, Unmet and TermOver."""

    def __init__(self, store: Store, cache: WatchCache) -> None:
        self._store = store
        self.cache = cache
        self.decisive: tuple[bytes, ...] = ()
        """Key prefixes of objects that later writes are decided by."""
        self._decided_at = 0

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

    async def catch_up(self, revision: int) -> None:
        """Wait until the cache holds `revision`: what was decided on less is decided anew. Raises ApiError 504."""
        try:
            await self.cache.reach(revision, CATCH_UP_S)
        except TimeoutError:
            raise status.timeout("the server's cache is behind the store") from None

    async def see_own(self) -> None:
        """Wait until the cache holds every decisive write made through here: whoever made it counts on it now."""
        if self.cache.revision < self._decided_at:
            await self.catch_up(self._decided_at)

    async def put(
        self,
        key: bytes,
        obj: Mapping[str, Any],
        expected: Entry | None,
        fences: tuple[Fence, ...] = (),
        claims: Claims = (),
        lease: int = 0,
    ) -> Entry:
        """Store `obj` if the key is still at `expected` (None: absent). Returns the new state."""
        return await self.put_encoded(key, codec.encode(obj), expected, fences, claims, lease)

    async def put_encoded(
        self,
        key: bytes,
        value: bytes,
        expected: Entry | None,
        fences: tuple[Fence, ...] = (),
        claims: Claims = (),
        lease: int = 0,
    ) -> Entry:
        """Do the same with an object that `codec` has encoded."""
        revision = await self._transact(key, Put(key, value, lease), expected, fences, claims)
        create_revision = expected.create_revision if expected is not None else revision
        return Entry.of(KeyValue(key, value, create_revision, revision, 0, lease))

    async def remove(self, key: bytes, expected: Entry, fences: tuple[Fence, ...] = (), claims: Claims = ()) -> int:
        """Delete the object if it is still at `expected`. Returns the deletion's revision."""
        return await self._transact(key, Delete(key), expected, fences, claims)

    async def _transact(
        self, key: bytes, operation: Operation, expected: Entry | None, fences: tuple[Fence, ...], claims: Claims
    ) -> int:
        revision = 0 if expected is None else expected.revision
        compares = [Compare(key, "mod", "==", revision)]
        compares += [Compare(fence.key, "create", "==", fence.epoch) for fence in fences]
        compares += [Compare(claim.key, "mod", "==", claim.revision) for claim in claims]
        changes = [claim.change for claim in claims if claim.change is not None]
        reads = [Range(key), *(Range(fence.key) for fence in fences), *(Range(claim.key) for claim in claims)]
        result = await self._store.transact(Transaction(tuple(compares), (operation, *changes), tuple(reads)))
        if result.succeeded:
            if key.startswith(self.decisive):
                self._decided_at = result.revision
            return result.revision
        found = [response.kvs for response in result.responses if isinstance(response, RangeResult)]
        _check_fences(fences, found[1 : 1 + len(fences)])
        live = Entry.of(found[0][0]) if found[0] else None
        if (live.revision if live is not None else 0) != revision:
            raise Stale(live)
        raise _unmet(claims, found[1 + len(fences) :], result.revision)


def _unmet(claims: Claims, found: list[tuple[KeyValue, ...]], revision: int) -> Unmet:
    held = {claim.key: kvs[0] if kvs else None for claim, kvs in zip(claims, found, strict=True)}
    wrong = {
        claim.key: held[claim.key]
        for claim in claims
        if claim.revision != (0 if (kv := held[claim.key]) is None else kv.mod_revision)
    }
    return Unmet(wrong, revision)


def _check_fences(fences: tuple[Fence, ...], found: list[tuple[KeyValue, ...]]) -> None:
    for fence, kvs in zip(fences, found, strict=True):
        if not kvs or kvs[0].create_revision != fence.epoch:
            metrics.FENCED_OFF.inc()
            raise TermOver(fence)


def parse_fence(text: str) -> tuple[Fence, ...]:
    """Read an Oarlock-Fence header: `NAME=EPOCH`, several separated by commas. Raises ApiError 400."""
    fences = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, epoch = part.rpartition("=")
        if not name or not epoch.isdecimal():
            raise status.bad_request(f"Oarlock-Fence: expected NAME=EPOCH, got {part!r}")
        fences.append(Fence(name, int(epoch)))
    return tuple(fences)
