"""The store of this process: the machine with its watches and leases behind the `Store` contract.

How a command becomes an outcome, and how a read becomes linearizable, is left to the subclass: at once in
`memory`, through Raft in `server`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from oarlock.consensus.commands import Command, Compact, Grant, Outcome, Revoke, fresh
from oarlock.consensus.leases import LeaseClock, Timers
from oarlock.consensus.log import NotLeader
from oarlock.consensus.machine import Machine
from oarlock.consensus.model import (
    LeaseStatus,
    MemberStatus,
    Range,
    RangeResult,
    StoreError,
    Transaction,
    TransactionResult,
)
from oarlock.consensus.retention import Retention
from oarlock.consensus.validation import validate_grant, validate_range, validate_transaction
from oarlock.consensus.watch import LocalWatch, WatchHub

T = TypeVar("T")


class LocalStore(ABC):
    """A `Store` over a machine in this process. A command's request id, where there is one, comes with the call."""

    def __init__(self, timers: Timers, retention: Retention) -> None:
        self.machine = Machine()
        self.hub = WatchHub(self.machine.history, self.machine.revision)
        self.lease_clock = LeaseClock(timers, self._on_lease_expired)
        self._timers = timers
        self._retention = retention

    @abstractmethod
    async def submit(self, command: Command) -> Outcome:
        """Return the command's outcome once it is durable and applied; raise what kept it from being carried out."""

    @abstractmethod
    async def confirm(self) -> None:
        """Return once a read of the machine is linearizable."""

    @abstractmethod
    def propose(self, command: Command) -> None:
        """Submit a command of our own whose outcome matters to nobody."""

    @abstractmethod
    async def status(self) -> list[MemberStatus]: ...

    @abstractmethod
    async def close(self) -> None: ...

    def carry_out(self, command: Command) -> Outcome:
        """Run a command that is decided, and tell watches and lease clock."""
        outcome, change = self.machine.apply(command)
        if change is not None:
            self.hub.publish(*change)
        action = command.action
        if not isinstance(action, Transaction) and not isinstance(outcome, StoreError):
            if isinstance(action, Compact):
                self.hub.compacted()
            elif isinstance(action, Revoke):
                self.lease_clock.end(action.lease)
            elif isinstance(outcome, LeaseStatus) and self.leads and outcome.lease in self.machine.leases:
                self.lease_clock.grant(outcome.lease, outcome.ttl_ms)
        return outcome

    @property
    def leads(self) -> bool:
        """Tell whether this process counts the leases' terms and decides on compaction."""
        return True

    def retain(self) -> None:
        """Propose a compaction if the history has outgrown its window."""
        revision = self._retention.due(self.machine.history, self.machine.revision, self._timers.time())
        if revision:
            self.propose(Command(Compact(revision)))

    def renewed(self, lease: int) -> LeaseStatus:
        """Renew a lease; to be called with leadership confirmed. Raises LeaseNotFound, and NotLeader if it has gone."""
        self._check_leads()
        ttl_ms = self.lease_clock.renew(lease)
        return LeaseStatus(lease, ttl_ms, ttl_ms)

    def lease_now(self, lease: int) -> LeaseStatus:
        """Return a lease as this leader's clock sees it. Raises LeaseNotFound and NotLeader."""
        self._check_leads()
        return self.machine.lease_status(lease)._replace(remaining_ms=self.lease_clock.remaining_ms(lease))

    def _check_leads(self) -> None:
        """A deposed leader's clock is empty; that must not look as if the lease had ended."""
        if not self.leads:
            raise NotLeader

    def _on_lease_expired(self, lease: int) -> None:
        self.propose(Command(Revoke(lease)))

    async def range(self, request: Range, *, serializable: bool = False) -> RangeResult:
        validate_range(request)
        if not serializable:
            await self.confirm()
        return self.machine.range(request)

    async def transact(self, transaction: Transaction) -> TransactionResult:
        validate_transaction(transaction)
        outcome = await self.submit(Command(transaction))
        return _expect(outcome, TransactionResult)

    async def revision(self) -> int:
        await self.confirm()
        return self.machine.revision

    def watch(self, key: bytes, range_end: bytes, start_revision: int, *, previous: bool = False) -> LocalWatch:
        return LocalWatch(self.hub, key, range_end, start_revision, previous=previous)

    async def lease_grant(self, ttl_ms: int, lease: int = 0) -> LeaseStatus:
        validate_grant(lease, ttl_ms)
        return _expect(await self.submit(Command(Grant(lease, ttl_ms))), LeaseStatus)

    async def lease_keep_alive(self, lease: int) -> LeaseStatus:
        await self.confirm()
        return self.renewed(lease)

    async def lease_revoke(self, lease: int) -> None:
        _expect(await self.submit(Command(Revoke(lease))), int)

    async def lease_status(self, lease: int) -> LeaseStatus:
        await self.confirm()
        return self.lease_now(lease)

    async def compact(self, revision: int) -> None:
        _expect(await self.submit(Command(Compact(revision))), int)


def _expect(outcome: Outcome, kind: type[T]) -> T:
    """Return an outcome of the expected kind; raise one that is an error."""
    if isinstance(outcome, StoreError):
        raise fresh(outcome)
    assert isinstance(outcome, kind)
    return outcome
