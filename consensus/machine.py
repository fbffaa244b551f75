"""The MVCC state machine: the same commands in the same order give the same state on every replica.

No clock, no randomness, no input or output, and no exception: a refused command's error is its outcome.
Source: etcd v3 API guarantees ("KV", "Lease").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

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
    InvalidRequest,
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

SWEEP_MIN = 64
"""Compacted events whose memory one `apply` frees, or twice its own events if these are more: so compaction never
stalls the loop, and never falls behind."""


_OUTCOMES: dict[type[Action], type] = {Transaction: TransactionResult, Grant: LeaseStatus, Revoke: int, Compact: int}


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
        change = self._change
        self.history.sweep(SWEEP_MIN if change is None else max(SWEEP_MIN, 2 * len(change.events)))
        return Applied(outcome, change)

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

    def restore_lease(self, lease: int, ttl_ms: int, keys: Iterable[bytes]) -> None:
        """Take over a lease of a snapshot, or more of its keys."""
        held = self.leases.get(lease)
        if held is None:
            held = self.leases[lease] = Lease(ttl_ms)
        held.keys.update(dict.fromkeys(keys))

    def restore_counters(self, revision: int, last_lease: int) -> None:
        """Take over a snapshot's revision and the lease id that was chosen last."""
        self.revision = revision
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
            if isinstance(known, (_OUTCOMES[type(command.action)], StoreError)):
                return known
            return InvalidRequest("the number of this request was another's")
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
        succeeded = True
        for compare in transaction.compares:
            if not _holds(compare, current.get(compare.key)):
                succeeded = False
                break
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
                responses.append(self.history.read(operation, self.revision + bool(events), events))
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
        gone = self.history.bury(self.history.live_keys(delete.key, delete.range_end), self.revision + 1)
        events += gone
        previous = [event.previous for event in gone if event.previous is not None]
        for kv in previous:
            if kv.lease:
                self._detach(kv)
        return DeleteResult(self.revision + bool(events), len(gone), tuple(previous) if delete.previous else ())

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
        self._commit(self.history.bury(sorted(lease.keys), self.revision + 1))
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
    target, relation = compare.target, compare.relation
    value: Any = compare.value
    actual: Any
    if target == "value":
        # A missing key has no value, so nothing is true of it, "!=" neither. Source: etcd txn.applyCompare.
        if kv is None:
            return False
        actual = kv.value
    elif kv is None:
        actual = 0
    elif target == "mod":
        actual = kv.mod_revision
    elif target == "create":
        actual = kv.create_revision
    elif target == "version":
        actual = kv.version
    else:
        actual = kv.lease
    if relation == "==":
        return bool(actual == value)
    if relation == "!=":
        return bool(actual != value)
    if type(actual) is not type(value):
        return False  # validate_transaction lets no such comparison into the log; an order is not to be had
    return bool(actual < value if relation == "<" else actual > value)
