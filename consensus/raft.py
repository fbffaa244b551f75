"""Raft on pysyncobj's chassis: elections, replication, reads and snapshots, driven from outside.

The driver feeds messages (`receive`), time (`tick`) and finished writes (`written`), and calls `turn` after each. A
turn goes: propose, replicate, write the journal, release what waited for the disk, commit, apply, answer reads. Nothing
that promises durability (acknowledgements, votes) leaves before the journal batch that holds it is on disk.
Source: Raft paper and thesis; decision 0004.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

from oarlock.consensus.chassis import FOLLOWER, LEADER, NO_OP
from oarlock.consensus.core import Core, Driver, Times
from oarlock.consensus.elections import Elections
from oarlock.consensus.following import Following
from oarlock.consensus.intake import SnapshotIntake
from oarlock.consensus.joining import Joining
from oarlock.consensus.journal import Commit, Entry, Journal
from oarlock.consensus.leading import Leading
from oarlock.consensus.log import DelayCallback, LeadershipCallback, StateMachine
from oarlock.consensus.messages import (
    Append,
    AppendReply,
    Inquiry,
    RaftMessage,
    SnapshotPiece,
    SnapshotReply,
    Standing,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from oarlock.consensus.proposals import Proposals, Reads, decode_batch
from oarlock.consensus.replication import Replication
from oarlock.consensus.seats import Seats
from oarlock.consensus.snapshot import Snapshot, SnapshotFolder, SnapshotWriter, read_chunks
from oarlock.consensus.storage import StorageFault

__all__ = ["Driver", "Raft", "Times"]

log = logging.getLogger(__name__)

APPLY_BYTES_PER_TURN = 256 << 10
APPLY_ENTRIES_PER_TURN = 256


class Raft(Core):
    """One member's Raft: its parts put together."""

    def __init__(
        self,
        name: str,
        peers: Sequence[str],
        journal: Journal,
        snapshots: SnapshotFolder,
        machine: StateMachine,
        driver: Driver,
        *,
        times: Times,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        """Load the newest snapshot into `machine`; raises StorageFault if snapshot and journal don't fit together."""
        self._proposals = Proposals()  # before the library begins, which reads every property
        super().__init__(name, peers, journal, driver, times, clock, rng)
        self.seats = Seats(self)
        self.snapshots = snapshots
        self.applied_bytes = 0
        """Bytes of entries applied since the last snapshot, or since start."""
        self._bytes_before_snapshot = 0
        self._machine = machine
        self._announced = False
        self._callbacks: list[LeadershipCallback] = []
        self._delay_callbacks: list[DelayCallback] = []
        self._ticked_at = clock()
        reads = Reads()
        self._replication = Replication(self, snapshots, reads)
        self._joining = Joining(self, self.seats)
        self._elections = Elections(self, self._joining)
        self._following = Following(self, self._elections)
        self._leading = Leading(self, self._proposals, reads, self._replication)
        self._intake = SnapshotIntake(self, self._following, snapshots, self._adopt)
        self._load_snapshot()
        self.election_deadline = clock() + (self.election_timeout() if peers else 0)
        if journal.newcomer:
            self.election_deadline = clock() + times.heartbeat_s

    # What callers ask.

    @property
    def pending(self) -> int:
        """Proposals that wait to be logged."""
        return len(self._proposals)

    def propose(self, entry: bytes) -> asyncio.Future[Any]:
        return self._leading.propose(entry)

    def read_index(self) -> asyncio.Future[int]:
        return self._leading.read_index()

    def transfer(self, target: str | None) -> asyncio.Future[str]:
        """Hand leadership over; see `transfer.Transfer.begin`."""
        return self._leading.transfer.begin(target)

    def on_leadership(self, callback: LeadershipCallback) -> None:
        self._callbacks.append(callback)
        if self._announced:
            callback(self._announced, self.term)

    def on_delay(self, callback: DelayCallback) -> None:
        self._delay_callbacks.append(callback)

    # Time.

    @property
    def deadline(self) -> float:
        """When `tick` is due next."""
        return self._leading.deadline if self.state == LEADER else self.election_deadline

    def tick(self) -> None:
        """Send heartbeats, step down without a majority, or stand for election, as far as due."""
        now = self.clock()
        held_up_s = now - max(self._ticked_at, self.deadline)
        self._ticked_at = now
        if self.state == LEADER:
            if held_up_s > self.times.heartbeat_s:
                for callback in self._delay_callbacks:
                    callback(held_up_s)
            self._leading.tick(now, held_up_s)
        elif now >= self.election_deadline:
            self._elections.due(now)

    # Connections.

    def peer_up(self, peer: str) -> None:
        """Messages can be sent to `peer`."""
        self.set_connected(peer, up=True)
        self._replication.peer_changed(peer)
        self._joining.ask(peer)
        if self.state == LEADER:
            self.driver.wake()
        elif not self.leader and self._elections.never_heard_leader:
            self._elections.hurry()

    def peer_down(self, peer: str) -> None:
        """A connection to or from `peer` broke; if it leads, the election needn't wait for the timeout."""
        self.set_connected(peer, up=False)
        self._replication.peer_changed(peer)
        if peer == self.leader:
            self.set_leader("")
            self._elections.lost_leader()
            self._elections.hurry()

    # Messages.

    def receive(self, peer: str, message: RaftMessage) -> None:
        """Take in a message; the next `turn` acts on it. One that comes from no member is dropped."""
        if not self.is_peer(peer) or (self._joining.silent and not isinstance(message, Inquiry | Standing)):
            return
        match message:
            case Append():
                self._following.append(peer, message)
            case AppendReply():
                if self._is_current(message):
                    self._replication.append_reply(peer, message, self.clock())
            case VoteRequest():
                self._elections.request(peer, message)
            case VoteReply():
                self._elections.reply(peer, message)
            case Inquiry():
                self._joining.inquiry(peer, message)
            case Standing():
                self._joining.standing(peer, message)
            case TimeoutNow():
                self._elections.take_over(peer, message.term)
            case SnapshotPiece():
                self._intake.take(peer, message)
            case SnapshotReply():
                if self._is_current(message):
                    self._replication.snapshot_reply(peer, message, self.clock())

    def _is_current(self, reply: AppendReply | SnapshotReply) -> bool:
        """True if a leader's reply belongs to this term; a newer term ends ours."""
        if reply.term > self.term:
            self.step_down(reply.term)
        return self.state == LEADER and reply.term == self.term

    # Roles.

    def lead(self) -> None:
        log.info("became leader name=%s term=%d", self.name, self.term)
        self._leading.begin()
        self.driver.wake()

    def step_down(self, term: int, leader: str = "") -> None:
        if term > self.term:
            self.set_term(term, None)
        was_leader = self.state == LEADER
        self.set_state(FOLLOWER)
        self.set_leader(leader)
        self._elections.end_trial()
        self._leading.transfer.end(leader)
        if not was_leader:
            return
        log.info("leads no more name=%s term=%d", self.name, self.term)
        self._elections.postpone()
        self._elections.lost_leader()
        self._leading.end(leader)
        if self._announced:
            self._announce(leads=False)

    def _announce(self, *, leads: bool) -> None:
        self._announced = leads
        for callback in self._callbacks:
            callback(leads, self.term)

    # One turn.

    def turn(self) -> None:
        """Do everything that has become possible."""
        self._joining.go_on()
        self._elections.count()
        if self.state == LEADER:
            self._leading.replicate()
        self.driver.flush()
        self.disk.begin()
        if self.state == LEADER:
            self._leading.commit()
        self._apply()
        self._leading.answer_reads()

    def replicate(self, *, heartbeat: bool = False) -> None:
        """Called by the library when leadership begins; the turn sends."""

    def written(self, commit: Commit) -> None:
        """The journal batch is on disk: what waited for it may leave."""
        self.disk.end(commit)
        self.driver.wake()

    def _apply(self) -> None:
        budget = APPLY_BYTES_PER_TURN
        last = min(self.commit_index, self.applied + APPLY_ENTRIES_PER_TURN)
        while self.applied < last and budget > 0:
            entry = self.journal.at(self.applied + 1)
            assert entry is not None, "the log reaches the commit index"
            outcomes = [self._machine.apply(entry.index, item) for item in decode_batch(entry.data)]
            self.set_applied(entry.index)
            budget -= len(entry.data)
            self.applied_bytes += len(entry.data)
            self._proposals.resolve(entry.index, outcomes)
        if self.applied < self.commit_index:
            self.driver.wake()
        if self.state == LEADER and not self._announced and self.applied >= self._leading.term_start:
            self._announce(leads=True)

    # Snapshots.

    def _load_snapshot(self) -> None:
        snapshot = self.snapshots.latest
        if snapshot is None:
            if self.journal.first_index > 1:
                raise StorageFault(
                    f"journal {self.journal.folder} begins at entry {self.journal.first_index}, but the snapshot "
                    f"before it is missing in {self.snapshots.folder}: restore this member's whole folder from a copy"
                )
            return
        if snapshot.index < self.journal.first_index:
            raise StorageFault(
                f"journal {self.journal.folder} begins at entry {self.journal.first_index}, behind the newest snapshot "
                f"{snapshot.path}: a snapshot is missing; restore this member's whole folder from a copy"
            )
        self._adopt(snapshot)
        self.journal.sync()

    def _adopt(self, snapshot: Snapshot) -> None:
        """Make a durable snapshot the state, and keep the log only if it continues it."""
        self._machine.restore(read_chunks(snapshot))
        present = self.journal.at(snapshot.index)
        if present is not None and present.term == snapshot.term:
            self.journal.compact_to(snapshot.index)
        else:
            self.journal.reset(Entry(NO_OP, snapshot.index, snapshot.term))
        self.set_commit_index(snapshot.index)
        self.set_applied(snapshot.index)
        self.applied_bytes = 0
        log.info("loaded snapshot index=%d bytes=%d", snapshot.index, snapshot.size)

    def snapshot_due(self, bytes_max: int, entries_max: int) -> bool:
        """True if enough was applied since the last snapshot, or a follower needs a fresh one."""
        latest = self.snapshots.latest
        covered, size = (latest.index, latest.size) if latest else (1, 0)
        if self.applied <= covered:
            return False
        # A big state is written less often, so that snapshots never write more than the log itself does.
        return (
            self._replication.snapshot_wanted
            or self.applied_bytes > max(bytes_max, size)
            or self.applied - covered > entries_max
        )

    def begin_snapshot(self) -> SnapshotWriter:
        """Begin to write the present state."""
        entry = self.journal.at(self.applied)
        assert entry is not None, "the log reaches back to the last snapshot"
        self._bytes_before_snapshot = self.applied_bytes
        return self.snapshots.write(entry.index, entry.term, self._machine.snapshot())

    def compact(self, keep_bytes: int) -> None:
        """Drop what the newest snapshot covers, but keep the last `keep_bytes` for followers that lag a little."""
        latest = self.snapshots.latest
        if latest is None:
            return
        self.applied_bytes = max(self.applied_bytes - self._bytes_before_snapshot, 0)
        self._replication.snapshot_wanted = False
        index, kept = min(latest.index, self.applied), 0
        while index > self.journal.first_index and kept < keep_bytes:
            entry = self.journal.at(index)
            kept += len(entry.data) if entry else 0
            index -= 1
        self.journal.compact_to(index)
        self.driver.wake()

    def stop(self) -> None:
        """Lead and wait no more; the journal's buffer is for the driver to write or to drop."""
        self.step_down(self.term)
        self._leading.end("")
        self._leading.transfer.fail("the member stops")
        self._intake.drop()
