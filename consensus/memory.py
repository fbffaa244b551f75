"""A store in this process alone, gone with it: the replicated store's machine without Raft, for tests."""

from __future__ import annotations

from oarlock.consensus.commands import Command, Outcome
from oarlock.consensus.leases import LoopTimers, Timers
from oarlock.consensus.local import LocalStore
from oarlock.consensus.model import MemberStatus, Unavailable
from oarlock.consensus.retention import Retention, RetentionSettings


class MemoryStore(LocalStore):
    """Implements `model.Store` with nothing behind it. Usable as soon as it is made, inside an event loop."""

    def __init__(self, retention: RetentionSettings | None = None, timers: Timers | None = None) -> None:
        super().__init__(timers or LoopTimers(), Retention(retention or RetentionSettings()))
        self._closed = False

    async def submit(self, command: Command) -> Outcome:
        await self.confirm()
        outcome = self.carry_out(command)
        self.retain()
        return outcome

    async def confirm(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed")

    def propose(self, command: Command) -> None:
        self.carry_out(command)

    async def status(self) -> list[MemberStatus]:
        await self.confirm()
        machine = self.machine
        size = machine.history.live_bytes
        return [MemberStatus("memory", "memory", 1, 0, 0, machine.revision, machine.compact_revision, size)]

    async def close(self) -> None:
        self._closed = True
        self.lease_clock.stop()
        self.hub.fail(Unavailable("the store is closed"))
