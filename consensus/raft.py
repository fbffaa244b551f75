"""Raft on pysyncobj's chassis: elections, replication, reads and snapshots, driven from outside.

The driver feeds messages (`receive`), time (`tick`) and finished writes (`written`), and calls `turn` after each. A
turn goes: propose, replicate, write the journal, release what waited for the disk, commit, apply, answer reads. Nothing
that promises durability (acknowledgements, votes) leaves before the journal batch that holds it is on disk.
Source: Raft paper and thesis (pre-vote 9.6, check-quorum 6.2, ReadIndex 6.4); decision on pysyncobj.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from oarlock.consensus.chassis import CANDIDATE, FOLLOWER, LEADER, NO_OP, Chassis
from oarlock.consensus.journal import Commit, Entry, Journal
from oarlock.consensus.log import LeadershipCallback, NotLeader, StateMachine
from oarlock.consensus.messages import (
    Append,
    AppendReply,
    RaftMessage,
    SnapshotPiece,
    SnapshotReply,
    VoteReply,
    VoteRequest,
    append_reply,
)
from oarlock.consensus.proposals import Proposals, Reads, decode_batch
from oarlock.consensus.replication import Outbox, Replication
from oarlock.consensus.snapshot import Snapshot, SnapshotFolder, SnapshotReceiver, SnapshotWriter, read_chunks
from oarlock.consensus.storage import StorageFault

log = logging.getLogger(__name__)

APPLY_BYTES_PER_TURN = 256 << 10
APPLY_ENTRIES_PER_TURN = 256
UNSYNCED_ENTRIES_MAX = 4
"""Entries that the leader begins while its own disk is busy; further proposals gather into the next entry."""
UNCOMMITTED_BYTES_MAX = 32 << 20
CONFIRM_S = 0.002
"""How long an overdue election waits, so that heartbeats which arrived while this process didn't run are read first."""


class Times(NamedTuple):
    """Seconds. Elections begin `election_min_s` to `election_max_s` after the leader was last heard from.

    These rule when a leader goes silent; when its connections break, the election begins at once. A heartbeat wakes
    each process up to three times, which is nearly all that an idle replica costs.
    """

    heartbeat_s: float = 0.1
    election_min_s: float = 0.35
    election_max_s: float = 0.7


class Driver(Outbox, Protocol):
    """What Raft asks of its surroundings."""

    def write(self, commit: Commit) -> None:
        """Write a journal batch, in a thread or at once, then call `Raft.written`."""
        ...

    def wake(self) -> None:
        """Call `turn` soon."""
        ...

    def create_future(self) -> asyncio.Future[Any]: ...


class Raft(Chassis):
    """One member's Raft."""

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
        self.name = name
        self.journal = journal
        self.snapshots = snapshots
        self.times = times
        self._machine = machine
        self._driver = driver
        self._clock = clock
        self._proposals = Proposals()
        self._reads = Reads()
        self._after_write: list[tuple[str, RaftMessage]] = []
        self._writing: tuple[Commit, list[tuple[str, RaftMessage]]] | None = None
        self._votes: set[str] = set()
        self._trial = False
        self._confirming = False
        self._leader_heard_at = float("-inf")
        self._heartbeat_at = float("-inf")
        self._heartbeat_due = False
        self._ticked_at = clock()
        self._term_start = 0
        self._announced = False
        self._receiver: SnapshotReceiver | None = None
        self._callbacks: list[LeadershipCallback] = []
        self.applied_bytes = 0
        """Bytes of entries applied since the last snapshot, or since start."""
        super().__init__(
            name,
            peers,
            journal,
            heartbeat_s=times.heartbeat_s,
            election_s=(times.election_min_s, times.election_max_s),
            rng=rng,
        )
        self._replication = Replication(self, journal, snapshots, self._reads, driver, times.election_max_s)
        self._load_snapshot()
        self.election_deadline = clock() + (self.election_timeout() if peers else 0)

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

    # What callers ask.

    @property
    def is_leader(self) -> bool:
        return self.state == LEADER

    @property
    def pending(self) -> int:
        """Proposals that wait to be logged."""
        return len(self._proposals)

    def propose(self, entry: bytes) -> asyncio.Future[Any]:
        future = self._driver.create_future()
        if self.state != LEADER:
            future.set_exception(NotLeader(self.leader))
            return future
        self._proposals.add(future, entry)
        self._driver.wake()
        return future

    def read_index(self) -> asyncio.Future[int]:
        future = self._driver.create_future()
        if self.state != LEADER:
            future.set_exception(NotLeader(self.leader))
            return future
        self._reads.add(future)
        self._driver.wake()
        return future

    def on_leadership(self, callback: LeadershipCallback) -> None:
        self._callbacks.append(callback)
        if self._announced:
            callback(self._announced, self.term)

    # Time.

    @property
    def deadline(self) -> float:
        """When `tick` is due next."""
        return self._heartbeat_at + self.times.heartbeat_s if self.state == LEADER else self.election_deadline

    def tick(self) -> None:
        """Send heartbeats, step down without a majority, or stand for election, as far as due."""
        now = self._clock()
        held_up_s = now - max(self._ticked_at, self.deadline)
        self._ticked_at = now
        if self.state == LEADER:
            self._tick_leader(now, held_up_s)
        elif now >= self.election_deadline:
            if self._confirming or not self._replication.quorum > 1:
                self._confirming = False
                self._stand(now)
            else:
                self._confirming = True
                self.election_deadline = now + CONFIRM_S

    def _tick_leader(self, now: float, held_up_s: float) -> None:
        if held_up_s > self.times.heartbeat_s:
            self._replication.forgive(held_up_s)
        if not self._replication.heard_from_majority_since(now - self.times.election_max_s):
            log.warning("leader steps down: no answer from a majority term=%d", self.term)
            self._step_down(self.term)
        elif now >= self._heartbeat_at + self.times.heartbeat_s:
            self._heartbeat_at = now
            self._heartbeat_due = True

    # Connections.

    def peer_up(self, peer: str) -> None:
        """Messages can be sent to `peer`."""
        self.set_connected(peer, up=True)
        self._replication.peer_changed(peer)
        if self.state == LEADER:
            self._driver.wake()
        elif not self.leader and self._leader_heard_at == float("-inf"):
            self._hurry_election()

    def peer_down(self, peer: str) -> None:
        """A connection to or from `peer` broke; if it leads, the election needn't wait for the timeout."""
        self.set_connected(peer, up=False)
        self._replication.peer_changed(peer)
        if peer == self.leader:
            self.set_leader("")
            self._leader_heard_at = float("-inf")
            self._hurry_election()

    def _hurry_election(self) -> None:
        soon = self._clock() + self._rng.uniform(0, 2 * self.times.heartbeat_s)
        self.election_deadline = min(self.election_deadline, soon)
        self._driver.wake()

    # Elections.

    def _stand(self, now: float) -> None:
        """Ask whether a vote would be won; only then begin a term, so that a cut-off member disturbs nobody."""
        self._trial = True
        self.set_leader("")
        self._votes = {self.name}
        self.election_deadline = now + self.election_timeout()
        if len(self._votes) >= self._replication.quorum:
            self._campaign(now)
            return
        for peer in self.peers():
            self._driver.send(peer, self._vote_request(self.term + 1, trial=True))
        self._driver.flush()

    def _campaign(self, now: float) -> None:
        self._trial = False
        self.set_state(CANDIDATE)
        self.set_term(self.term + 1, self.name)
        self._votes = set()
        self.election_deadline = now + self.election_timeout()
        for peer in self.peers():
            self._send_durably(peer, self._vote_request(self.term, trial=False))
        self._driver.wake()

    def _vote_request(self, term: int, *, trial: bool) -> VoteRequest:
        return VoteRequest(term, self.journal.last_index, self.journal.last_term, trial)

    def _count_votes(self) -> None:
        """Lead once a majority has voted for us; our own vote counts when it is on disk."""
        if self.state == CANDIDATE and self.journal.durable_term >= self.term:
            self._votes.add(self.name)
            if len(self._votes) >= self._replication.quorum:
                self._lead()

    def _lead(self) -> None:
        log.info("became leader name=%s term=%d", self.name, self.term)
        self._heartbeat_at = self._clock()
        self.become_leader()
        self._term_start = self.journal.last_index
        self._replication.begin(self._clock())
        self._driver.wake()

    def _step_down(self, term: int, leader: str = "") -> None:
        """Be a follower, in a newer term if `term` is one."""
        if term > self.term:
            self.set_term(term, None)
        was_leader = self.state == LEADER
        self.set_state(FOLLOWER)
        self.set_leader(leader)
        self._trial = False
        if not was_leader:
            return
        log.info("leads no more name=%s term=%d", self.name, self.term)
        self._replication.end()
        self.election_deadline = self._clock() + self.election_timeout()
        self._leader_heard_at = float("-inf")
        self._proposals.fail(leader)
        self._reads.fail(leader)
        if self._announced:
            self._announce(leads=False)

    def _announce(self, *, leads: bool) -> None:
        self._announced = leads
        for callback in self._callbacks:
            callback(leads, self.term)

    # Messages.

    def receive(self, peer: str, message: RaftMessage) -> None:
        """Take in a message of a member; the next `turn` acts on it."""
        match message:
            case Append():
                self._append(peer, message)
            case AppendReply():
                if self._current(message):
                    self._replication.append_reply(peer, message, self._clock())
            case VoteRequest():
                self._vote_request_received(peer, message)
            case VoteReply():
                self._vote_reply(peer, message)
            case SnapshotPiece():
                self._snapshot_piece(peer, message)
            case SnapshotReply():
                if self._current(message):
                    self._replication.snapshot_reply(peer, message, self._clock())

    def _current(self, reply: AppendReply | SnapshotReply) -> bool:
        """True if a leader's reply belongs to this term; a newer term ends ours."""
        if reply.term > self.term:
            self._step_down(reply.term)
        return self.state == LEADER and reply.term == self.term

    def _send_durably(self, peer: str, message: RaftMessage) -> None:
        """Send once everything in the journal's buffer is on disk."""
        self._after_write.append((peer, message))

    def _leader_is_alive(self) -> bool:
        return self.state == LEADER or self._clock() - self._leader_heard_at < self.times.election_min_s

    def _vote_request_received(self, peer: str, request: VoteRequest) -> None:
        if self._leader_is_alive():
            return
        if request.term > self.term and not request.trial:
            self._step_down(request.term)
        complete = (request.last_term, request.last_index) >= (self.journal.last_term, self.journal.last_index)
        if request.trial:
            granted = complete and request.term > self.term
        else:
            granted = complete and request.term == self.term and self.vote in {None, peer} and self.state == FOLLOWER
            if granted:
                if self.vote is None:
                    self.set_term(self.term, peer)
                self._trial = False
                self.election_deadline = self._clock() + self.election_timeout()
        self._send_durably(peer, VoteReply(request.term if granted else self.term, granted, request.trial))

    def _vote_reply(self, peer: str, reply: VoteReply) -> None:
        if not reply.granted:
            if reply.term > self.term:
                self._step_down(reply.term)
        elif reply.trial:
            if self._trial and self.state != LEADER and reply.term == self.term + 1:
                self._votes.add(peer)
                if len(self._votes) >= self._replication.quorum:
                    self._campaign(self._clock())
        elif self.state == CANDIDATE and reply.term == self.term:
            self._votes.add(peer)

    # Following.

    def _heard_leader(self, peer: str, term: int) -> bool:
        """Note a leader's message; False if its term is over."""
        if term < self.term:
            return False
        if term > self.term or self.state != FOLLOWER or self.leader != peer:
            assert self.state != LEADER or term > self.term, "two leaders in one term"
            self._step_down(term, peer)
        self._trial = self._confirming = False
        now = self._clock()
        self._leader_heard_at = now
        self.election_deadline = now + self.election_timeout()
        return True

    def _append(self, peer: str, append: Append) -> None:
        if not self._heard_leader(peer, append.term):
            # Tells a deposed leader of the newer term, and must mean nothing else to whoever leads in this one: the
            # append may be from an earlier life of that very member, whose confirmation rounds were counted anew.
            self._send_durably(peer, AppendReply(self.term, matched=False, index=0, previous_index=-1, round=0))
            return
        matched, index = self._merge(append)
        if matched:
            self.set_commit_index(max(self.commit_index, min(append.commit, index)))
        if matched and not append.entries and self._writing and self.journal.durable_term == self.term:
            # A heartbeat is answered at once, with what is on disk, however long the disk takes.
            durable = min(index, self.journal.durable_index)
            self._driver.send(peer, append_reply(self.term, append, matched=True, index=durable))
            return
        self._send_durably(peer, append_reply(self.term, append, matched=matched, index=index))

    def _merge(self, append: Append) -> tuple[bool, int]:
        """Add what is new; return (logs agree, up to where), or on a conflict (False, where to try next).

        Entries that are here already stay, whatever comes behind them, so late and repeated appends do no harm.
        """
        journal, commit = self.journal, self.commit_index
        index = append.previous_index
        entries = append.entries
        if index < commit:  # up to the commit index all logs agree
            entries = entries[commit - index :]
            index = commit
        else:
            previous = journal.at(index)
            if previous is None or previous.term != append.previous_term:
                return False, self._conflict_hint(index, previous)
        for position, (term, data) in enumerate(entries, index + 1):
            present = journal.at(position)
            if present is not None:
                if present.term == term:
                    continue
                assert position > commit, "a committed entry is never replaced"
                journal.truncate_from(position)
            journal.append(Entry(data, position, term))
        return True, index + len(entries)

    def _conflict_hint(self, index: int, present: Entry | None) -> int:
        """Return where to try next: before the whole conflicting term, or at the end of a short log."""
        if present is None:
            return (
                max(self.journal.last_index, self.commit_index)
                if index > self.journal.last_index
                else self.commit_index
            )
        hint = index - 1
        while hint > self.commit_index and (entry := self.journal.at(hint)) and entry.term == present.term:
            hint -= 1
        return max(hint, self.commit_index)

    def _snapshot_piece(self, peer: str, piece: SnapshotPiece) -> None:
        if not self._heard_leader(peer, piece.term):
            self._send_durably(peer, SnapshotReply(self.term, piece.index, 0))
            return
        if piece.index <= self.commit_index:
            self._drop_receiver()
            self._send_durably(peer, SnapshotReply(self.term, piece.index, -1))
            return
        receiver = self._receiver
        if receiver is None or (receiver.index, receiver.term) != (piece.index, piece.index_term):
            self._drop_receiver()
            receiver = self._receiver = self.snapshots.receive(piece.index, piece.index_term)
        fits = piece.offset == receiver.offset
        receiver.write(piece.offset, piece.data)
        wanted = receiver.offset
        if piece.last and fits:
            wanted = self._install(receiver)
        self._send_durably(peer, SnapshotReply(self.term, piece.index, wanted))

    def _install(self, receiver: SnapshotReceiver) -> int:
        """Verify and load a received snapshot; return -1 for done, 0 to have it sent again."""
        self._receiver = None
        try:
            snapshot = receiver.finish()
        except StorageFault as fault:
            log.error("received snapshot refused error=%s", fault)
            receiver.abandon()
            return 0
        self._adopt(snapshot)
        return -1

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

    def _drop_receiver(self) -> None:
        if self._receiver is not None:
            self._receiver.abandon()
            self._receiver = None

    # One turn.

    def turn(self) -> None:
        """Do everything that has become possible."""
        self._count_votes()
        if self.state == LEADER:
            self._log_proposals()
            heartbeat = self._begin_round() or self._heartbeat_due
            self._heartbeat_due = False
            self._replication.send(self._clock(), heartbeat=heartbeat)
        self._driver.flush()
        self._write()
        self._commit()
        self._apply()
        self._reads.resolve(self._replication.confirmed_round(), self.applied)

    def replicate(self, *, heartbeat: bool = False) -> None:
        """Called by the library when leadership begins; the turn sends."""

    def _log_proposals(self) -> None:
        journal = self.journal
        if (
            not self._proposals
            or self._proposals.logged_bytes > UNCOMMITTED_BYTES_MAX
            or (self._writing and journal.last_index >= journal.durable_index + UNSYNCED_ENTRIES_MAX)
        ):
            return
        index = journal.last_index + 1
        journal.append(Entry(self._proposals.take_batch(index), index, self.term))
        if self._proposals:
            self._driver.wake()

    def _begin_round(self) -> bool:
        """Begin a confirmation round if reads wait; not before an entry of this term is committed."""
        if not self._reads.want_round or self.commit_index < self._term_start:
            return False
        self._reads.begin_round(self.commit_index)
        return True

    def _write(self) -> None:
        if self._writing is not None:
            return
        messages, self._after_write = self._after_write, []
        if self.journal.dirty:
            commit = self.journal.take()
            self._writing = commit, messages
            self._driver.write(commit)
        else:
            self._release(messages)

    def written(self, commit: Commit) -> None:
        """The journal batch is on disk: what waited for it may leave."""
        assert self._writing is not None, "one batch at a time"
        assert self._writing[0] is commit, "one batch at a time"
        messages = self._writing[1]
        self._writing = None
        self.journal.done(commit)
        self._release(messages)
        self._driver.wake()

    def _release(self, messages: list[tuple[str, RaftMessage]]) -> None:
        for peer, message in messages:
            self._driver.send(peer, message)
        if messages:
            self._driver.flush()

    def _commit(self) -> None:
        if self.state != LEADER:
            return
        index = self._replication.durable_on_majority()
        if index > self.commit_index:
            entry = self.journal.at(index)
            if entry is not None and entry.term == self.term:  # Raft paper 5.4.2
                self.set_commit_index(index)
                if self._reads.want_round:
                    self._driver.wake()

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
            self._driver.wake()
        if self.state == LEADER and not self._announced and self.applied >= self._term_start:
            self._announce(leads=True)

    # Snapshots of our own.

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
        self.applied_bytes = 0
        self._replication.snapshot_wanted = False
        return self.snapshots.write(entry.index, entry.term, self._machine.snapshot())

    def compact(self, keep_bytes: int) -> None:
        """Drop what the newest snapshot covers, but keep the last `keep_bytes` for followers that lag a little."""
        latest = self.snapshots.latest
        if latest is None:
            return
        index, kept = min(latest.index, self.journal.last_index), 0
        while index > self.journal.first_index and kept < keep_bytes:
            entry = self.journal.at(index)
            kept += len(entry.data) if entry else 0
            index -= 1
        self.journal.compact_to(index)
        self._driver.wake()

    def stop(self) -> None:
        """Lead and wait no more; the journal's buffer is for the driver to write or to drop."""
        self._step_down(self.term)
        self._proposals.fail("")
        self._reads.fail("")
        self._replication.end()
        self._drop_receiver()
