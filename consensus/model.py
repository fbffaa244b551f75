"""The store's values and its contract: etcd's data model as frozen Python values.

A store has one revision counter. Every transaction that changes a key raises it by one; all changes of that
transaction carry the same revision. Source: etcd v3 API ("KV", "Watch", "Lease").
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import IntEnum
from typing import Annotated, Any, Literal, NamedTuple, Protocol, Self

import msgspec

OPERATIONS_MAX = 128
REQUEST_BYTES_MAX = 1_572_864
"""Limits of one transaction. Source: etcd's --max-txn-ops and --max-request-bytes."""


Natural = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""Checked where a value is decoded."""


class Value(msgspec.Struct, array_like=True, frozen=True, order=True, gc=False):
    """A frozen value that is its own encoding: a msgpack array of its fields.

    It costs 40 B and a quarter of the time less than a named tuple, and, as values hold no cycles, the garbage
    collector never looks at one.
    """

    def _replace(self, **changes: Any) -> Self:
        """Return a like value with some fields changed, as named tuples do."""
        return msgspec.structs.replace(self, **changes)


class KeyValue(Value, frozen=True):
    """One key at one revision. `version` counts the writes since creation, from 1. `lease` 0 means none."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int = 0


class EventKind(IntEnum):
    PUT = 0
    DELETE = 1


class Event(Value, frozen=True):
    """A change that has happened. A delete's `kv` has only `key` and `mod_revision` set (value b"")."""

    kind: EventKind
    kv: KeyValue
    previous: KeyValue | None = None


class Range(Value, frozen=True, tag=0):
    """Read `[key, range_end)`; an empty `range_end` reads one key, b"\\0" reads all keys from `key` on.

    `limit` 0 means all. `revision` 0 means now.
    """

    key: bytes
    range_end: bytes = b""
    limit: Natural = 0
    revision: Natural = 0
    keys_only: bool = False
    count_only: bool = False


class Put(Value, frozen=True, tag=1):
    key: bytes
    value: bytes
    lease: Natural = 0
    previous: bool = False


class Delete(Value, frozen=True, tag=2):
    key: bytes
    range_end: bytes = b""
    previous: bool = False


Operation = Range | Put | Delete
Target = Literal["value", "version", "create", "mod", "lease"]
Relation = Literal["==", "!=", "<", ">"]


class Compare(Value, frozen=True):
    """True if the key's target stands in the relation to `value`.

    A missing key has 0 for every number, and no value: of that nothing is true, not even that it differs.
    """

    key: bytes
    target: Target
    relation: Relation
    value: int | bytes


class Transaction(Value, frozen=True):
    """If every compare holds run `success`, else `failure`; all or nothing, at one revision."""

    compares: tuple[Compare, ...] = ()
    success: tuple[Operation, ...] = ()
    failure: tuple[Operation, ...] = ()


class RangeResult(Value, frozen=True, tag=0):
    """`revision` is the store's revision when the read was served, `count` counts beyond `limit` too."""

    revision: int
    kvs: tuple[KeyValue, ...] = ()
    count: int = 0
    more: bool = False


class PutResult(Value, frozen=True, tag=1):
    revision: int
    previous: KeyValue | None = None


class DeleteResult(Value, frozen=True, tag=2):
    revision: int
    deleted: int = 0
    previous: tuple[KeyValue, ...] = ()


OperationResult = RangeResult | PutResult | DeleteResult


class TransactionResult(Value, frozen=True):
    """`revision` is the store's revision after the transaction, changed or not."""

    succeeded: bool
    revision: int
    responses: tuple[OperationResult, ...] = ()


class LeaseStatus(NamedTuple):
    """`remaining_ms` counts down from `ttl_ms`."""

    lease: int
    ttl_ms: int
    remaining_ms: int
    keys: tuple[bytes, ...] = ()


class WatchBatch(NamedTuple):
    """All watched events up to and including `revision`, oldest first; empty `events` is a progress notice.

    A revision's events are never split over two batches.
    """

    revision: int
    events: tuple[Event, ...]


class MemberStatus(NamedTuple):
    """What one replica says of itself. `leader` is a member's name or "" while none is known."""

    name: str
    leader: str
    term: int
    index: int  # type: ignore[assignment]  # hides tuple.index
    applied: int
    revision: int
    compact_revision: int
    database_bytes: int


class StoreError(Exception):
    """The family of everything that a store call can raise."""


class Compacted(StoreError):
    """The asked revision's history is gone; `compact_revision` is the first that can be read."""

    def __init__(self, compact_revision: int) -> None:
        super().__init__(f"required revision has been compacted, the oldest is {compact_revision}")
        self.compact_revision = compact_revision


class FutureRevision(StoreError):
    """The asked revision is yet to come."""


class LeaseNotFound(StoreError):
    """No such lease: never granted, revoked or expired."""


class LeaseExists(StoreError):
    """A lease with the asked id is there already."""


class InvalidRequest(StoreError):
    """Too large, too many operations, a duplicate key in one transaction, an empty key: never carried out."""


class Unavailable(StoreError):
    """No leader or no connection: certainly not carried out, safe to repeat."""


class UnknownOutcome(StoreError):
    """The request may or may not have been, or yet be, carried out: the answer was lost."""


class Watch(Protocol):
    """An open watch. Iterating raises Compacted or Unavailable when the watch can't go on."""

    def __aiter__(self) -> AsyncIterator[WatchBatch]: ...

    async def close(self) -> None: ...


class Store(Protocol):
    """What a client of the store may ask; implemented by `client.StoreClient` and `memory.MemoryStore`.

    Reads are linearizable unless `serializable`. Every call raises StoreError's family and nothing else.
    """

    async def range(self, request: Range, *, serializable: bool = False) -> RangeResult: ...

    async def transact(self, transaction: Transaction) -> TransactionResult: ...

    async def revision(self) -> int:
        """Return a revision no older than any transaction acknowledged before the call (ReadIndex; rounds shared)."""
        ...

    def watch(self, key: bytes, range_end: bytes, start_revision: int, *, previous: bool = False) -> Watch:
        """Watch `[key, range_end)` from `start_revision` on, inclusive; 0 means from now on."""
        ...

    async def lease_grant(self, ttl_ms: int, lease: int = 0) -> LeaseStatus: ...

    async def lease_keep_alive(self, lease: int) -> LeaseStatus:
        """Renew once. The leader answers only after it has confirmed its leadership."""
        ...

    async def lease_revoke(self, lease: int) -> None: ...

    async def lease_status(self, lease: int) -> LeaseStatus: ...

    async def compact(self, revision: int) -> None: ...

    async def status(self) -> list[MemberStatus]:
        """Return what each reachable member says of itself."""
        ...

    async def close(self) -> None: ...
