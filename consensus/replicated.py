"""The machine behind a replicated log: one replica's side of the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from oarlock.consensus import checkpoint
from oarlock.consensus.commands import Command, Outcome, Revoke
from oarlock.consensus.encoding import decode_command, encode_command
from oarlock.consensus.leases import LoopTimers, Timers
from oarlock.consensus.local import LocalStore
from oarlock.consensus.log import ReplicatedLog
from oarlock.consensus.model import MemberStatus, StoreError, Unavailable
from oarlock.consensus.retention import Retention, RetentionSettings

log = logging.getLogger(__name__)


class ReplicatedStore(LocalStore):
    """Implements `log.StateMachine` for the replica below, and `model.Store` for callers in this process.

    `follow` must be called with the log before anything else is. Role changes are told to `on_role` callbacks.
    """

    def __init__(self, retention: RetentionSettings | None = None, timers: Timers | None = None) -> None:
        self._retention_settings = retention or RetentionSettings()
        super().__init__(timers or LoopTimers(), Retention(self._retention_settings))
        self._log: ReplicatedLog | None = None
        self._leads = False
        self._on_role: list[Callable[[], None]] = []

    def follow(self, replicated: ReplicatedLog) -> None:
        """Take commands from this log, and propose to it."""
        self._log = replicated
        replicated.on_leadership(self._leadership)
        replicated.on_delay(self.lease_clock.forgive)

    @property
    def log(self) -> ReplicatedLog:
        assert self._log is not None
        return self._log

    @property
    def leads(self) -> bool:
        """True while this replica leads with its state complete."""
        return self._leads

    def on_role(self, callback: Callable[[], None]) -> None:
        """Have `callback` called whenever `leads` has changed."""
        self._on_role.append(callback)

    def apply(self, index: int, entry: bytes) -> Outcome:  # noqa: ARG002
        """Carry out a committed command; see `log.StateMachine`."""
        outcome = self.carry_out(decode_command(entry))
        if self._leads:
            self.retain()
        return outcome

    def snapshot(self) -> Iterator[bytes]:
        """Return the state as of now; see `log.StateMachine`."""
        return checkpoint.take(self.machine)

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state; see `log.StateMachine`."""
        self.machine = checkpoint.load(chunks)
        self.hub.reset(self.machine.history, self.machine.revision)

    async def submit(self, command: Command) -> Outcome:
        return cast("Outcome", await self.log.propose(encode_command(command)))

    async def confirm(self) -> None:
        await self.log.read_index()

    def propose(self, command: Command) -> None:
        proposed = self.log.propose(encode_command(command))
        proposed.add_done_callback(lambda done: self._proposed(command, done))

    async def status(self) -> list[MemberStatus]:
        return [self.member_status()]

    def member_status(self) -> MemberStatus:
        """Return what this replica says of itself."""
        replicated, machine = self.log, self.machine
        return MemberStatus(
            replicated.name,
            replicated.leader,
            replicated.term,
            replicated.last_index,
            replicated.applied,
            machine.revision,
            machine.compact_revision,
            machine.history.live_bytes,
        )

    async def close(self) -> None:
        """End leases' timer and watches; the log is its owner's to stop."""
        self._leads = False
        self.lease_clock.stop()
        self.hub.fail(Unavailable("the replica stops"))

    def _leadership(self, leads: bool, term: int) -> None:
        log.info("leadership leads=%s term=%d revision=%d", leads, term, self.machine.revision)
        self._leads = leads
        if leads:
            self._retention = Retention(self._retention_settings)
            self.lease_clock.start({lease: held.ttl_ms for lease, held in self.machine.leases.items()})
        else:
            self.lease_clock.stop()
        for callback in self._on_role:
            callback()

    def _proposed(self, command: Command, done: asyncio.Future[Outcome]) -> None:
        """Try an expiry again that found no room; without leadership it is the next leader's."""
        if done.cancelled() or not isinstance(done.exception(), StoreError):
            return
        log.warning("proposal refused reason=%s", done.exception())
        action = command.action
        if isinstance(action, Revoke) and self._leads and action.lease in self.machine.leases:
            self.lease_clock.grant(action.lease, self.machine.leases[action.lease].ttl_ms)
