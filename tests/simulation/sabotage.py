"""Deliberate breakages of the store, each of which the simulation must notice.

A breakage replaces one method by one that does less, more or something else. `kinds` are the faults of its worlds:
those that bring the breakage to light, so that few seeds suffice; `settings` are what these worlds have alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from simulation import contenders
from simulation.files import SimOs

from oarlock.cluster.apiserver.storage import LEASES, Storage
from oarlock.consensus import checkpoint, following, journal, machine, segment, snapshot, storage
from oarlock.consensus.connection import Connection
from oarlock.consensus.core import GroupCommit
from oarlock.consensus.elections import Elections
from oarlock.consensus.encoding import decoder, encode
from oarlock.consensus.history import History
from oarlock.consensus.intake import SnapshotIntake
from oarlock.consensus.joining import Joining
from oarlock.consensus.journal import Entry, Journal
from oarlock.consensus.leases import LeaseClock
from oarlock.consensus.messages import Append, VoteReply
from oarlock.consensus.model import Compare, Range
from oarlock.consensus.proposals import Reads
from oarlock.consensus.raft import Raft
from oarlock.consensus.remotewatch import RemoteWatch
from oarlock.consensus.replication import Replication
from oarlock.consensus.seats import Seats
from oarlock.consensus.sessions import Sessions
from oarlock.consensus.watch import Watcher
from oarlock.consensus.wire import Kind, frame

_lease = decoder(int)
_range: msgspec.msgpack.Decoder[tuple[Range, bool]] = msgspec.msgpack.Decoder(tuple[Range, bool])
CONTENDED = MappingProxyType({"contended": True, "clients": 3})
Replace = Callable[[Any, str, Any], None]
"""Sets an attribute until the sabotage ends."""


class Sabotage(NamedTuple):
    apply: Callable[[Replace], None]
    kinds: tuple[str, ...]
    settings: Mapping[str, Any] = MappingProxyType({})

    @property
    def name(self) -> str:
        return self.apply.__name__


@contextlib.contextmanager
def sabotaged(sabotage: Sabotage | None) -> Iterator[None]:
    """Break the store within the block; None leaves it whole."""
    before: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, value: Any) -> None:
        before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    if sabotage is not None:
        sabotage.apply(replace)
    try:
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


# The disk.


def skip_fsync(replace: Replace) -> None:
    replace(SimOs, "fdatasync", lambda _os, _descriptor: None)


def skip_folder_fsync(replace: Replace) -> None:
    for module in (journal, snapshot, storage):
        replace(module, "fsync_directory", lambda _folder: None)


def forget_votes(replace: Replace) -> None:
    """Term and vote are kept in memory only."""

    def set_hard_state(log: Journal, term: int, vote: str | None) -> None:
        log.term = log.durable_term = term
        log.vote = vote

    replace(Journal, "set_hard_state", set_hard_state)


def believe_damaged_batches(replace: Replace) -> None:
    """No checksum is looked at."""

    def batch_at(data: bytes, position: int) -> tuple[int, bytes] | None:
        if len(data) - position < segment.BATCH_HEADER.size:
            return None
        magic, size, sequence, _, _ = segment.BATCH_HEADER.unpack_from(data, position)
        payload = data[position + segment.BATCH_HEADER.size :][:size]
        return (sequence, payload) if magic == segment.BATCH_MAGIC and len(payload) == size else None

    replace(segment, "batch_at", batch_at)


def trust_a_persisted_commit_index(replace: Replace) -> None:
    """Whatever the journal holds at the start is taken for committed."""
    original = Raft._load_snapshot

    def load_snapshot(raft: Raft) -> None:
        original(raft)
        raft.set_commit_index(max(raft.commit_index, raft.journal.last_index))

    replace(Raft, "_load_snapshot", load_snapshot)


# Raft.


def acknowledge_before_the_write(replace: Replace) -> None:
    def send_at_once(disk: GroupCommit, peer: str, message: Any) -> None:
        disk._driver.send(peer, message)

    replace(GroupCommit, "send", send_at_once)


def count_votes_twice(replace: Replace) -> None:
    original = Elections.reply

    def take_reply(elections: Elections, peer: str, reply: VoteReply) -> None:
        original(elections, peer, reply)
        if reply.granted and not reply.trial:
            elections._votes.add(peer + " again")

    replace(Elections, "reply", take_reply)


def commit_with_one_copy_less(replace: Replace) -> None:
    def durable_on_almost_a_majority(replication: Replication) -> int:
        match = [replication._core.match_index(peer) for peer in replication._progress]
        return sorted([replication._journal.durable_index, *match], reverse=True)[replication._core.quorum - 2]

    replace(Replication, "durable_on_majority", durable_on_almost_a_majority)


def append_without_looking_back(replace: Replace) -> None:
    """An append is taken wherever the log is long enough, whatever stands before it."""

    def merge(log: Journal, commit: int, append: Append) -> tuple[bool, int]:
        index = append.previous_index
        if log.at(index) is None:
            return False, commit
        for position, (term, data) in enumerate(append.entries, index + 1):
            if position <= max(commit, log.first_index):
                continue
            if log.at(position) is not None:
                log.truncate_from(position)
            log.append(Entry(data, position, term))
        return True, index + len(append.entries)

    replace(following, "merge", merge)


def keep_conflicting_entries(replace: Replace) -> None:
    """An entry that is there already stays, though the leader has another in its place."""
    original = following.merge

    def merge(log: Journal, commit: int, append: Append) -> tuple[bool, int]:
        kept = [
            (present.term, present.data) if (present := log.at(position)) is not None else entry
            for position, entry in enumerate(append.entries, append.previous_index + 1)
        ]
        previous = log.at(append.previous_index)
        term = append.previous_term if previous is None else previous.term
        index = append.previous_index
        return original(log, commit, Append(append.term, index, term, append.commit, append.round, kept))

    replace(following, "merge", merge)


def read_without_a_round(replace: Replace) -> None:
    original = Reads.resolve
    replace(Reads, "resolve", lambda reads, _, applied: original(reads, reads.round, applied))


def install_an_old_snapshot(replace: Replace) -> None:
    """A snapshot below the commit index is installed all the same."""
    original = SnapshotIntake.take

    def take(intake: SnapshotIntake, peer: str, piece: Any) -> None:
        core = intake._core
        committed = core.commit_index
        core._SyncObj__raftCommitIndex = 0
        original(intake, peer, piece)
        core._SyncObj__raftCommitIndex = core.commit_index or committed

    replace(SnapshotIntake, "take", take)


def let_replaced_members_in(replace: Replace) -> None:
    """Nobody asks which folder a member has."""
    replace(Seats, "refusal", lambda _seats, _hello, _present: "")
    replace(Seats, "heard", lambda _seats, _peer, _reason: None)


def forget_who_has_which_seat(replace: Replace) -> None:
    """What others' folders are is kept in memory only."""
    original = Journal.set_seat

    def set_seat(log: Journal, member: str, instance: str) -> None:
        if log.seats:
            log._seat(member, instance)
        else:  # its own
            original(log, member, instance)

    replace(Journal, "set_seat", set_seat)


def learn_nothing_of_seats(replace: Replace) -> None:
    """A newcomer doesn't ask who has the other seats."""
    replace(Joining, "_learn", lambda _joining: None)


# The state machine.


def forget_requests(replace: Replace) -> None:
    """A repeated command is carried out again."""
    replace(Sessions, "recall", lambda _sessions, _command: None)


def leave_sessions_out_of_snapshots(replace: Replace) -> None:
    original = checkpoint.load

    def load(chunks: Any) -> Any:
        machine = original(chunks)
        machine.sessions.clients.clear()
        return machine

    replace(checkpoint, "load", load)


def forget_a_live_key_at_compaction(replace: Replace) -> None:
    original = History.compact

    def compact(history: History, revision: int) -> None:
        original(history, revision)
        old = [key for key, kv in sorted(history.current.items()) if kv.mod_revision < revision and not kv.lease]
        if old:
            history.bury([old[0]], revision)

    replace(History, "compact", compact)


# Watches.


def drop_a_watch_event(replace: Replace) -> None:
    original = Watcher.offer

    def offer(watcher: Watcher, revision: int, events: Any) -> None:
        original(watcher, revision, events if revision % 20 else events[1:])

    replace(Watcher, "offer", offer)


def resume_watches_too_late(replace: Replace) -> None:
    original = RemoteWatch.on_batch

    def on_batch(watch: RemoteWatch, batch: Any) -> None:
        original(watch, batch)
        watch._next_revision += 1

    replace(RemoteWatch, "on_batch", on_batch)


def resume_watches_too_early(replace: Replace) -> None:
    original = RemoteWatch.on_batch

    def on_batch(watch: RemoteWatch, batch: Any) -> None:
        original(watch, batch)
        watch._next_revision -= 1

    replace(RemoteWatch, "on_batch", on_batch)


# Leases.


def give_leases_no_new_term(replace: Replace) -> None:
    """A new leader lets leases end soon, however lately they were renewed."""
    original = LeaseClock.start

    def start(clock: LeaseClock, leases: Mapping[int, int]) -> None:
        original(clock, dict.fromkeys(leases, 50))
        clock._ttl_ms = dict(leases)

    replace(LeaseClock, "start", start)


def ignore_renewals(replace: Replace) -> None:
    """A renewal is answered, but the lease ends when it would have ended without."""
    original = LeaseClock.renew

    def renew(clock: LeaseClock, lease: int) -> int:
        deadline_s = clock._deadline_s.get(lease)
        ttl_ms = original(clock, lease)
        if deadline_s is not None:
            clock._deadline_s[lease] = deadline_s
        return ttl_ms

    replace(LeaseClock, "renew", renew)


def never_expire(replace: Replace) -> None:
    replace(LeaseClock, "_on_timer", lambda _clock: None)


def renew_without_a_round(replace: Replace) -> None:
    """A leader renews leases before it knows that it still leads."""

    def keep_alive(connection: Connection, request_id: int, body: bytes) -> None:
        future = connection._loop.create_future()
        future.set_result(0)
        connection._when(future, request_id, lambda _: encode(connection._store.renewed(_lease.decode(body))))

    handlers = dict(Connection._handlers)
    handlers[Kind.KEEP_ALIVE] = keep_alive
    replace(Connection, "_handlers", handlers)


# Fences, and the clocks of those who hold leases.


def write_without_the_fence(replace: Replace) -> None:
    """An API server doesn't ask for the lease of a fenced write."""
    original = Storage._transact

    async def transact(storage: Storage, key: bytes, operation: Any, expected: Any, _fences: Any, claims: Any) -> int:
        return await original(storage, key, operation, expected, (), claims)

    replace(Storage, "_transact", transact)


def leave_fences_unchecked(replace: Replace) -> None:
    """The store takes every comparison with a leader's lease for true, but that nobody holds it."""
    original = machine._holds

    def holds(compare: Compare, kv: Any) -> bool:
        return (compare.target == "create" and compare.key.startswith(LEASES)) or original(compare, kv)

    replace(machine, "_holds", holds)


def count_terms_on_a_clock_that_sleeps(replace: Replace) -> None:
    replace(contenders, "boottime", lambda host: host.clock.time())


# Reads of one member's own state.


def answer_from_the_past(replace: Replace) -> None:
    """Every other such read shows what was so a few revisions ago."""
    original = Connection._range

    def read(connection: Connection, request_id: int, body: bytes) -> None:
        request, serializable = _range.decode(body)
        held = connection._store.machine
        past = held.revision - 3
        if serializable and not request.revision and request_id % 2 and past > max(held.compact_revision, 1):
            result = held.range(request._replace(revision=past))._replace(revision=past)
            connection._send(frame(Kind.RESULT, request_id, encode(result)))
        else:
            original(connection, request_id, body)

    replace(Connection, "_handlers", {**Connection._handlers, Kind.RANGE: read})


SABOTAGES = (
    Sabotage(skip_fsync, ("power_cut",)),
    Sabotage(skip_folder_fsync, ("power_cut",)),
    Sabotage(forget_votes, ("kill_voters",)),
    Sabotage(believe_damaged_batches, ("rot", "power_cut")),
    Sabotage(trust_a_persisted_commit_index, ("kill", "isolate_leader", "cut")),
    Sabotage(acknowledge_before_the_write, ("power_cut", "disk_stall")),
    Sabotage(count_votes_twice, ("slow_network", "kill"), {"members": 5, "contended": False}),
    Sabotage(commit_with_one_copy_less, ("cut", "isolate_leader", "power_cut")),
    Sabotage(append_without_looking_back, ("hostile", "cut", "kill", "isolate_leader")),
    Sabotage(keep_conflicting_entries, ("isolate_leader", "cut", "kill")),
    Sabotage(read_without_a_round, ("stale_leader",)),
    Sabotage(install_an_old_snapshot, ("hostile", "kill"), {"keep_bytes": 0, "snapshot_entries": 30}),
    Sabotage(let_replaced_members_in, ("old_disk",)),
    Sabotage(forget_who_has_which_seat, ("old_disk", "kill"), {"members": 3, "segment_bytes": 1 << 20}),
    Sabotage(learn_nothing_of_seats, ("old_disk",), {"members": 3}),
    Sabotage(forget_requests, ("reset", "kill", "isolate_leader")),
    Sabotage(leave_sessions_out_of_snapshots, ("kill",)),
    Sabotage(forget_a_live_key_at_compaction, ()),
    Sabotage(drop_a_watch_event, ()),
    Sabotage(resume_watches_too_late, ("reset", "kill")),
    Sabotage(resume_watches_too_early, ("reset", "kill")),
    Sabotage(give_leases_no_new_term, ("kill", "isolate_leader")),
    Sabotage(ignore_renewals, ()),
    Sabotage(never_expire, ()),
    Sabotage(renew_without_a_round, ("stale_leader",)),
    Sabotage(write_without_the_fence, ("client_pause", "client_sleep"), CONTENDED),
    Sabotage(leave_fences_unchecked, ("client_pause", "client_sleep"), CONTENDED),
    Sabotage(count_terms_on_a_clock_that_sleeps, ("client_sleep",), CONTENDED),
    Sabotage(answer_from_the_past, ()),
)
