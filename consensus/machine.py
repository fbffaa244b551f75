"""The MVCC state machine: the same commands in the same order give the same state on every replica.

No clock, no randomness, no input or output, and no exception: a refused command's error is its outcome.
Source: etcd v3 API guarantees ("KV", "Lease").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from oarlock.consensus.commands import Action, Command, Compact, Grant, Outcome, Revoke
from oarlock.consensus.history import History
from oarlock.consensus.model import (
    Compacted,
    Compare,
    Delete,
    DeleteResult,
    Event,
    EventKind,
    FutureRevision,
    KeyValue,
    LeaseExists,
    LeaseNotFound,
    LeaseStatus,
    OperationResult,
    Put,
    PutResult,
    Range,
    RangeResult,
    StoreError,
    Transaction,
    TransactionResult,
)
from oarlock.consensus.sessions import Sessions

SWEEP_MAX = 64
"""Compacted revisions whose memory one `apply` frees: compaction never stalls the loop."""


class Lease:
    """A granted lease: its term and the keys that live on it, in order of attachment."""

    __slots__ = ("keys", "ttl_ms")

    def __init__(self, ttl_ms: int, keys: Iterable[bytes] = ()) -> None:
        self.ttl_ms = ttl_ms
        self.keys = dict.fromkeys(keys)


class Change(NamedTuple):
    """All events of one revision."""

    revision: int
    events: tuple[Event, ...]


class Applied(NamedTuple):
    """A command's outcome and what it changed; a repeat changes nothing."""

    outcome: Outcome
    change: Change | None


class Machine:
    """Keys with their history, leases, and the outcomes that repeats are answered with."""

    def __init__(self) -> None:
        self.revision = 1
        self.history = History()
        self.leases: dict[int, Lease] = {}
        self.sessions = Sessions()
        self._last_lease = 0
        self._change: Change | None = None

    @property
    def compact_revision(self) -> int:
        """The first revision that can still be read, 0 while nothing has been compacted."""
        return self.history.compact_revision

    def apply(self, command: Command) -> Applied:
        """Carry out a command; all its changes, if any, carry one new revision."""
        self._change = None
        outcome = self._once(command)
        self.history.sweep(SWEEP_MAX)
        return Applied(outcome, self._change)

    def range(self, request: Range) -> RangeResult:
        """Read now or at a retained revision. Raises Compacted and FutureRevision."""
        self._check_revision(request.revision)
        return self.history.read(request, self.revision)

    def lease_status(self, lease: int) -> LeaseStatus:
        """Return the lease with its whole term remaining; the leader knows better. Raises LeaseNotFound."""
        found = self.leases.get(lease)
        if found is None:
            raise LeaseNotFound(f"requested lease {lease} not found")
        return LeaseStatus(lease, found.ttl_ms, found.ttl_ms, tuple(found.keys))

    def restore_leases(self, leases: dict[int, Lease], last_lease: int) -> None:
        """Take over the leases of a snapshot."""
        self.leases = leases
        self._last_lease = last_lease

    @property
    def last_lease(self) -> int:
        """The id that the machine chose last."""
        return self._last_lease

    def _once(self, command: Command) -> Outcome:
        if not command.client:
            return self._run(command.action)
        known = self.sessions.recall(command)
        if known is not None:
            return known
        outcome = self._run(command.action)
        self.sessions.remember(command, outcome)
        return outcome

    def _run(self, action: Action) -> Outcome:
        try:
            if isinstance(action, Transaction):
                return self._transact(action)
            if isinstance(action, Grant):
                return self._grant(action)
            if isinstance(action, Revoke):
                return self._revoke(action)
            return self._compact(action)
        except StoreError as refusal:
            return refusal.with_traceback(None)

    def _check_revision(self, revision: int) -> None:
        if revision > self.revision:
            raise FutureRevision(f"required revision {revision} is a future revision, the newest is {self.revision}")
        if 0 < revision < self.history.compact_revision:
            raise Compacted(self.history.compact_revision)

    def _transact(self, transaction: Transaction) -> TransactionResult:
        current = self.history.current
        succeeded = all(_holds(compare, current.get(compare.key)) for compare in transaction.compares)
        operations = transaction.success if succeeded else transaction.failure
        for operation in operations:
            if isinstance(operation, Put):
                if operation.lease and operation.lease not in self.leases:
                    raise LeaseNotFound(f"requested lease {operation.lease} not found")
            elif isinstance(operation, Range):
                self._check_revision(operation.revision)
        events: list[Event] = []
        responses: list[OperationResult] = []
        for operation in operations:
            if isinstance(operation, Put):
                responses.append(self._put(operation, events))
            elif isinstance(operation, Delete):
                responses.append(self._delete(operation, events))
            else:
                responses.append(self.history.read(operation, self.revision + bool(events)))
        self._commit(events)
        return TransactionResult(succeeded, self.revision, tuple(responses))

    def _put(self, put: Put, events: list[Event]) -> PutResult:
        revision = self.revision + 1
        key = put.key
        previous = self.history.current.get(key)
        if previous is None:
            kv = KeyValue(key, put.value, revision, revision, 1, put.lease)
        else:
            # Keeping the old key object keeps one copy of its bytes for index, history and value.
            key = previous.key
            kv = KeyValue(key, put.value, previous.create_revision, revision, previous.version + 1, put.lease)
            if previous.lease and previous.lease != put.lease:
                self._detach(previous)
        self.history.put(kv, previous)
        if put.lease:
            self.leases[put.lease].keys[key] = None
        events.append(Event(EventKind.PUT, kv, previous))
        return PutResult(revision, previous if put.previous else None)

    def _delete(self, delete: Delete, events: list[Event]) -> DeleteResult:
        revision = self.revision + 1
        gone = [self.history.current[key] for key in self.history.live_keys(delete.key, delete.range_end)]
        for previous in gone:
            if previous.lease:
                self._detach(previous)
            events.append(Event(EventKind.DELETE, self.history.delete(previous, revision), previous))
        return DeleteResult(self.revision + bool(events), len(gone), tuple(gone) if delete.previous else ())

    def _commit(self, events: list[Event]) -> None:
        if not events:
            return
        self.revision += 1
        self._change = Change(self.revision, tuple(events))
        self.history.log(self._change.events)

    def _grant(self, grant: Grant) -> LeaseStatus:
        lease = grant.lease
        if not lease:
            lease = self._last_lease + 1
            while lease in self.leases:
                lease += 1
            self._last_lease = lease
        elif lease in self.leases:
            raise LeaseExists(f"lease {lease} already exists")
        self.leases[lease] = Lease(grant.ttl_ms)
        return LeaseStatus(lease, grant.ttl_ms, grant.ttl_ms)

    def _revoke(self, revoke: Revoke) -> int:
        lease = self.leases.pop(revoke.lease, None)
        if lease is None:
            raise LeaseNotFound(f"requested lease {revoke.lease} not found")
        events: list[Event] = []
        for key in sorted(lease.keys):
            previous = self.history.current[key]
            events.append(Event(EventKind.DELETE, self.history.delete(previous, self.revision + 1), previous))
        self._commit(events)
        return self.revision

    def _compact(self, compact: Compact) -> int:
        if compact.revision <= self.history.compact_revision:
            raise Compacted(self.history.compact_revision)
        self._check_revision(compact.revision)
        self.history.compact(compact.revision)
        return self.revision

    def _detach(self, kv: KeyValue) -> None:
        lease = self.leases.get(kv.lease)
        if lease is not None:
            lease.keys.pop(kv.key, None)


def _holds(compare: Compare, kv: KeyValue | None) -> bool:
    actual: int | bytes
    if compare.target == "value":
        # A missing key has no value: only an inequality holds. Source: etcd applyCompare.
        if kv is None:
            return compare.relation == "!="
        actual = kv.value
    elif kv is None:
        actual = 0
    elif compare.target == "mod":
        actual = kv.mod_revision
    elif compare.target == "create":
        actual = kv.create_revision
    elif compare.target == "version":
        actual = kv.version
    else:
        actual = kv.lease
    if compare.relation == "==":
        return actual == compare.value
    if compare.relation == "!=":
        return actual != compare.value
    if compare.relation == "<":
        return actual < compare.value  # type: ignore[operator]  # validate() has checked the pairing
    return actual > compare.value  # type: ignore[operator]
