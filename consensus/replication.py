"""The leader's side of replication: what each follower has, what is on its way, what to send next.

A follower is probed with one append at a time until the point where the logs agree is known, then sent appends without
waiting, within a window; one that lacks entries that are compacted away gets the snapshot file piece by piece.
Source: Raft paper 5.3; etcd's raft "Progress".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from oarlock.consensus.core import Core
from oarlock.consensus.messages import Append, AppendReply, SnapshotPiece, SnapshotReply
from oarlock.consensus.proposals import Reads
from oarlock.consensus.snapshot import SnapshotFolder, SnapshotSource

APPEND_BYTES_MAX = 1 << 20
WINDOW_BYTES = 8 << 20
WINDOW_APPENDS = 256
PIECE_BYTES = 1 << 20
HEARD_S = 0.02
"""A follower that answered within this time is expected to answer again."""


@dataclass(slots=True)
class Progress:
    """One follower as the leader sees it; its next and match indexes are the chassis'."""

    probing: bool = True
    probe_due: bool = True
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)
    """(last index, bytes) of the appends on their way, oldest first."""
    in_flight_bytes: int = 0
    round: int = 0
    """The newest confirmation round that the follower has answered in this term."""
    source: SnapshotSource | None = None
    offset: int = 0
    piece_sent_at: float | None = None
    """When the piece at `offset` was sent, None if it is due."""

    def probe(self) -> None:
        """Start over with one append at a time."""
        self.probing = self.probe_due = True
        self.in_flight.clear()
        self.in_flight_bytes = 0

    def acknowledged(self, index: int) -> None:
        while self.in_flight and self.in_flight[0][0] <= index:
            self.in_flight_bytes -= self.in_flight.popleft()[1]

    def drop_source(self) -> None:
        if self.source is not None:
            self.source.close()
            self.source = None


class Replication:
    """All followers of a leader. Begins anew with each term that this replica leads."""

    def __init__(self, core: Core, snapshots: SnapshotFolder, reads: Reads) -> None:
        self.snapshot_wanted = False
        """True if a follower needs a snapshot that is fresh or whole."""
        self._core = core
        self._journal = core.journal
        self._snapshots = snapshots
        self._reads = reads
        self._progress = {peer: Progress() for peer in core.peers()}

    def begin(self, now: float) -> None:
        """Forget what earlier terms knew."""
        self.end()
        for peer in self._progress:
            self._progress[peer] = Progress()
            self._core.set_heard_at(peer, now)

    def end(self) -> None:
        """Close what is open for sending."""
        for progress in self._progress.values():
            progress.drop_source()

    def peer_changed(self, peer: str) -> None:
        """A connection came or went, and what was on it is lost."""
        progress = self._progress[peer]
        progress.probe()
        progress.piece_sent_at = None

    # Sending.

    def send(self, now: float, *, heartbeat: bool, confirm: bool) -> None:
        """Queue for each connected follower what it lacks; with `heartbeat` everyone gets at least one message.

        With `confirm` enough of them get one to tell whether this replica still leads.
        """
        confirming = self._confirming(now) if confirm and not heartbeat else ()
        for peer, progress in self._progress.items():
            if not self._core.connected(peer):
                continue
            message_due = heartbeat or peer in confirming
            if self._core.next_index(peer) - 1 < self._journal.first_index:
                self._send_piece(peer, progress, now)
                if message_due:
                    self._append(peer, self._journal.first_index, 0)
            elif progress.probing:
                if progress.probe_due or message_due:
                    bytes_max = APPEND_BYTES_MAX if progress.probe_due else 0
                    progress.probe_due = False
                    self._append(peer, self._core.next_index(peer) - 1, bytes_max)
            elif not self._send_window(peer, progress) and message_due:
                self._append(peer, self._core.next_index(peer) - 1, 0)

    def _confirming(self, now: float) -> Collection[str]:
        """Return the followers whose word makes a majority, those heard from last; everyone unless that was just now.

        If one of them falls silent, reads wait for the first round that is begun after HEARD_S, or the next heartbeat.
        """
        core, since = self._core, now - HEARD_S
        heard = [peer for peer in self._progress if core.connected(peer) and core.heard_at(peer) > since]
        enough = core.quorum - 1
        return sorted(heard, key=core.heard_at, reverse=True)[:enough] if len(heard) >= enough else self._progress

    def _send_window(self, peer: str, progress: Progress) -> bool:
        sent = False
        while (
            (next_index := self._core.next_index(peer)) <= self._journal.last_index
            and len(progress.in_flight) < WINDOW_APPENDS
            and progress.in_flight_bytes < WINDOW_BYTES
        ):
            last, size = self._append(peer, next_index - 1, APPEND_BYTES_MAX)
            progress.in_flight.append((last, size))
            progress.in_flight_bytes += size
            self._core.set_next_index(peer, last + 1)
            sent = True
        return sent

    def _append(self, peer: str, previous_index: int, bytes_max: int) -> tuple[int, int]:
        """Queue an append of what is behind `previous_index`; return its last index and its bytes."""
        previous = self._journal.at(previous_index)
        assert previous is not None, "the caller keeps within the log"
        entries = self._journal.after(previous_index, bytes_max) if bytes_max else []
        content = [(entry.term, entry.data) for entry in entries]
        self._core.driver.send(
            peer,
            Append(
                self._core.term,
                previous_index,
                previous.term,
                self._core.commit_index,
                self._reads.round,
                content,
            ),
        )
        return previous_index + len(entries), sum(len(entry.data) for entry in entries)

    def _send_piece(self, peer: str, progress: Progress, now: float) -> None:
        if progress.piece_sent_at is not None and now - progress.piece_sent_at < self._core.times.election_max_s:
            return
        source = progress.source or self._open_source(progress)
        if source is None:
            return
        snapshot = source.snapshot
        data = source.read(progress.offset, PIECE_BYTES)
        last = progress.offset + len(data) >= snapshot.size
        self._core.driver.send(
            peer, SnapshotPiece(self._core.term, snapshot.index, snapshot.term, progress.offset, data, last)
        )
        progress.piece_sent_at = now

    def _open_source(self, progress: Progress) -> SnapshotSource | None:
        latest = self._snapshots.latest
        if latest is None or latest.index < self._journal.first_index:
            self.snapshot_wanted = True
            return None
        progress.source = SnapshotSource(latest)
        progress.offset = 0
        return progress.source

    # Replies.

    def append_reply(self, peer: str, reply: AppendReply, now: float) -> None:
        """Take in a reply of this term; late and repeated ones do no harm."""
        progress = self._progress[peer]
        self._core.set_heard_at(peer, now)
        progress.round = max(progress.round, reply.round)
        if reply.matched:
            self._matched(peer, progress, reply.index)
        elif progress.source is None:
            self._refused(peer, progress, reply)

    def _matched(self, peer: str, progress: Progress, index: int) -> None:
        core = self._core
        core.set_match_index(peer, max(core.match_index(peer), index))
        progress.acknowledged(index)
        if progress.source is not None:
            if index < self._journal.first_index:
                return
            progress.drop_source()
            progress.probe()
        if progress.probing:
            progress.probe()
            progress.probing = False
            core.set_next_index(peer, index + 1)
        else:
            core.set_next_index(peer, max(core.next_index(peer), index + 1))

    def _refused(self, peer: str, progress: Progress, reply: AppendReply) -> None:
        core = self._core
        match, next_index = core.match_index(peer), core.next_index(peer)
        if progress.probing:
            if reply.previous_index != next_index - 1:
                return  # a late answer to an earlier probe
            if reply.previous_index <= match:
                match = 0  # it has lost what it had: count it no more
                core.set_match_index(peer, 0)
            core.set_next_index(peer, max(match + 1, min(reply.index + 1, reply.previous_index), 1))
            progress.probe_due = True
        elif reply.previous_index >= match:
            progress.probe()
            core.set_next_index(peer, match + 1 if match else max(min(reply.index + 1, reply.previous_index), 1))

    def snapshot_reply(self, peer: str, reply: SnapshotReply, now: float) -> None:
        """Go on with the next piece, or with appends once the snapshot is installed."""
        progress = self._progress[peer]
        self._core.set_heard_at(peer, now)
        source = progress.source
        if reply.offset < 0:
            # Our log may begin behind this snapshot by now; then the next one follows at once.
            progress.drop_source()
            progress.piece_sent_at = None
            progress.probe()
            self._matched(peer, progress, reply.index)
        elif source is not None and source.snapshot.index == reply.index:
            if reply.offset == 0 and progress.offset:
                # It came damaged or the follower began anew: wait a little, then send the newest snapshot.
                self.snapshot_wanted = progress.offset + PIECE_BYTES >= source.snapshot.size
                progress.drop_source()
                return
            progress.offset = reply.offset
            progress.piece_sent_at = None

    # What the replies add up to.

    def majority(self, own: int, values: list[int]) -> int:
        """Return the highest value that a majority, this replica included, has reached."""
        return sorted([own, *values], reverse=True)[self._core.quorum - 1]

    def durable_on_majority(self) -> int:
        """Return the highest index that is on the disks of a majority; this replica counts with what is on its own."""
        return self.majority(self._journal.durable_index, [self._core.match_index(peer) for peer in self._progress])

    def confirmed_round(self) -> int:
        """Return the newest round that a majority has answered."""
        return self.majority(self._reads.round, [progress.round for progress in self._progress.values()])

    def heard_from_majority_since(self, time: float) -> bool:
        """True if, counting this replica, a majority has answered after `time`."""
        return 1 + sum(self._core.heard_at(peer) > time for peer in self._progress) >= self._core.quorum

    def forgive(self, seconds: float) -> None:
        """Don't hold time against the followers in which this process didn't run."""
        for peer in self._progress:
            self._core.set_heard_at(peer, self._core.heard_at(peer) + seconds)
