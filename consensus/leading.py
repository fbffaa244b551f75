"""Leading: proposals become entries, entries are replicated and committed, reads are confirmed.

Source: Raft paper 5.3 and 5.4.2; thesis 6.2 (check-quorum) and 6.4 (ReadIndex).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from oarlock.consensus.chassis import LEADER
from oarlock.consensus.core import Core
from oarlock.consensus.journal import Entry
from oarlock.consensus.log import NotLeader
from oarlock.consensus.proposals import Proposals, Reads
from oarlock.consensus.replication import Replication
from oarlock.consensus.transfer import Transfer

log = logging.getLogger(__name__)

UNSYNCED_ENTRIES_MAX = 4
"""Entries that the leader begins while its own disk is busy; further proposals gather into the next entry."""
UNCOMMITTED_BYTES_MAX = 32 << 20


class Leading:
    """What a member does while it leads, and whom it owes an answer."""

    def __init__(self, core: Core, proposals: Proposals, reads: Reads, replication: Replication) -> None:
        self.term_start = 0
        """Index of the first entry of the last term that this member led."""
        self._core = core
        self._proposals = proposals
        self._reads = reads
        self._replication = replication
        self._heartbeat_at = float("-inf")
        self._heartbeat_due = False
        self.transfer = Transfer(core)

    @property
    def deadline(self) -> float:
        """When the next heartbeat is due."""
        return self._heartbeat_at + self._core.times.heartbeat_s

    def begin(self) -> None:
        """Lead in the present term."""
        core = self._core
        self._heartbeat_at = core.clock()
        core.become_leader()
        self.term_start = core.journal.last_index
        self._replication.begin(core.clock())

    def end(self, leader: str) -> None:
        """Lead no more: whoever waits is told, and where to go if that is known."""
        self.transfer.end(leader)
        self._replication.end()
        self._proposals.fail(leader)
        self._reads.fail(leader)

    def tick(self, now: float, held_up_s: float) -> None:
        """Send heartbeats, or step down without a majority, as far as due."""
        core = self._core
        self.transfer.tick(now)
        if held_up_s > core.times.heartbeat_s:
            self._replication.forgive(held_up_s)
        if not self._replication.heard_from_majority_since(now - core.times.election_max_s):
            log.warning("leader steps down: no answer from a majority term=%d", core.term)
            core.step_down(core.term)
        elif now >= self.deadline:
            self._heartbeat_at = now
            self._heartbeat_due = True

    # What callers ask.

    def propose(self, entry: bytes) -> asyncio.Future[Any]:
        future = self._core.driver.create_future()
        if self._core.state != LEADER:
            future.set_exception(NotLeader(self._core.leader))
            return future
        if self.transfer.heir:
            future.set_exception(NotLeader(self.transfer.heir))
            return future
        self._proposals.add(future, entry)
        self._core.driver.wake()
        return future

    def read_index(self) -> asyncio.Future[int]:
        future = self._core.driver.create_future()
        if self._core.state != LEADER:
            future.set_exception(NotLeader(self._core.leader))
            return future
        self._reads.add(future)
        self._core.driver.wake()
        return future

    # Parts of a turn.

    def replicate(self) -> None:
        """Log what is proposed, begin a round if reads wait, and send followers what they lack."""
        self._log_proposals()
        heartbeat, self._heartbeat_due = self._heartbeat_due, False
        self._replication.send(self._core.clock(), heartbeat=heartbeat, confirm=self._begin_round())
        self.transfer.go_on(all_logged=not self._proposals)

    def commit(self) -> None:
        """Commit what is on the disks of a majority, once that includes an entry of this term."""
        core = self._core
        index = self._replication.durable_on_majority()
        if index > core.commit_index:
            entry = core.journal.at(index)
            if entry is not None and entry.term == core.term:  # Raft paper 5.4.2
                core.set_commit_index(index)
                if self._reads.want_round:
                    core.driver.wake()

    def answer_reads(self) -> None:
        self._reads.resolve(self._replication.confirmed_round(), self._core.applied)

    def _log_proposals(self) -> None:
        journal = self._core.journal
        if (
            not self._proposals
            or self._proposals.logged_bytes > UNCOMMITTED_BYTES_MAX
            or (self._core.disk.busy and journal.last_index >= journal.durable_index + UNSYNCED_ENTRIES_MAX)
        ):
            return
        index = journal.last_index + 1
        journal.append(Entry(self._proposals.take_batch(index), index, self._core.term))
        if self._proposals:
            self._core.driver.wake()

    def _begin_round(self) -> bool:
        """Begin a confirmation round if reads wait; not before an entry of this term is committed."""
        if not self._reads.want_round or self._core.commit_index < self.term_start:
            return False
        self._reads.begin_round(self._core.commit_index)
        return True
