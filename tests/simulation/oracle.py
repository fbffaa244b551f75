"""Watches every member from outside at every step, and knows what none of them does: what all have done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from oarlock.consensus.commands import Outcome, Revoke
from oarlock.consensus.encoding import decode_command
from oarlock.consensus.machine import Machine
from oarlock.consensus.model import Event, Range
from oarlock.consensus.replicated import ReplicatedStore

if TYPE_CHECKING:
    from simulation.members import Member
    from simulation.world import World

    from oarlock.consensus.raft import Raft

DIGEST_EVERY = 16
"""Log indexes between two comparisons of whole states."""


class Oracle:
    """The one true history, as far as any member has applied it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.events: dict[int, tuple[Event, ...]] = {}
        """Revision → its events, as first published."""
        self.on_vote: list[Callable[[Member], None]] = []
        """Called when a member has entered a new term."""
        self._leaders: dict[int, str] = {}
        self._reached: dict[str, tuple[Raft, tuple[int, int, int]]] = {}
        self._entries: list[tuple[int, bytes]] = []
        self._first: dict[int, int] = {}
        """Log index → the place of its first entry in `_entries`."""
        self._digests: dict[int, tuple[bytes, str]] = {}
        self._snapshots: set[bytes] = set()
        self.expired: dict[int, float] = {}
        """Lease → true time at which its expiry was first applied."""

    @property
    def terms(self) -> int:
        return len(self._leaders)

    def observe(self, member: Member, store: ReplicatedStore) -> None:
        """Look over the shoulder of a member's state machine."""
        Observer(self, member, store)

    def turned(self, member: Member) -> None:
        """A member has done something: it may not fall back, and no two may lead in one term."""
        raft = member.raft
        if raft is None:
            return
        reached = (raft.term, raft.commit_index, raft.applied)
        known, before = self._reached.get(member.name, (raft, reached))
        if known is raft and any(now < then for now, then in zip(reached, before, strict=True)):
            self._world.violate(f"{member.name} falls back from (term, committed, applied) {before} to {reached}")
        self._reached[member.name] = raft, reached
        if known is raft and reached[0] > before[0]:
            for callback in list(self.on_vote):
                callback(member)
        if raft.is_leader:
            leader = self._leaders.setdefault(raft.term, member.name)
            if leader != member.name:
                self._world.violate(f"{leader} and {member.name} both lead in term {raft.term}")

    def applied(self, name: str, place: int | None, after: int, index: int, entry: bytes) -> int:
        """Take note of an entry; return its place. `place` is where the last one was, None after a restore."""
        if place is None or index != after:
            first = self._first.get(index)
            if first is None:
                first = self._first[index] = len(self._entries)
            if place is not None and first != place + 1:
                self._world.violate(f"{name} goes from entry {place} (index {after}) to {first} (index {index})")
            place = first
        else:
            place += 1
        if place == len(self._entries):
            self._entries.append((index, entry))
            command = decode_command(entry)
            if not command.client and isinstance(command.action, Revoke):
                self.expired.setdefault(command.action.lease, self._world.schedule.now)
        elif self._entries[place] != (index, entry):
            self._world.violate(f"{name} applies another entry than others at index {index}, place {place}")
        return place

    def published(self, name: str, revision: int, events: tuple[Event, ...]) -> None:
        known = self.events.setdefault(revision, events)
        if known != events:
            self._world.violate(f"{name} has other events than others at revision {revision}")

    def compare_state(self, name: str, index: int, machine: Machine) -> None:
        """The state up to and including `index` is the same wherever it is looked at."""
        digest = state_digest(machine)
        known, whose = self._digests.setdefault(index, (digest, name))
        if known != digest:
            self._world.violate(f"{name} and {whose} have different states at index {index}")

    def snapshot_taken(self, name: str, index: int, machine: Machine) -> None:
        self.compare_state(name, index, machine)
        self._snapshots.add(state_digest(machine))

    def snapshot_loaded(self, name: str, machine: Machine) -> None:
        """A restored state is one that somebody has taken."""
        if state_digest(machine) not in self._snapshots:
            self._world.violate(f"{name} restores a state that no member had, at revision {machine.revision}")

    def finish(self, members: Iterable[Member]) -> None:
        """All members are up and quiet: states and logs are alike."""
        rafts = [(member, member.raft) for member in members if member.raft is not None and member.server is not None]
        applied = {member.name: raft.applied for member, raft in rafts if raft is not None}
        if len(set(applied.values())) > 1:
            self._world.violate(f"members haven't caught up: {applied}")
        for member, raft in rafts:
            assert raft is not None
            assert member.server is not None
            self.compare_state(member.name, raft.applied, member.server.store.machine)
        journals = [raft.journal for _, raft in rafts if raft is not None]
        first = max(journal.first_index for journal in journals)
        for index in range(first, min(journal.last_index for journal in journals) + 1):
            entries = [journal.at(index) for journal in journals]
            # The base entry of a log stands for what a snapshot covers: its data may be gone.
            if len({entry and entry.term for entry in entries}) > 1 or (index > first and len(set(entries)) > 1):
                self._world.violate(f"logs differ at index {index}")


class Observer:
    """Stands between one member's Raft and its state machine."""

    def __init__(self, oracle: Oracle, member: Member, store: ReplicatedStore) -> None:
        self._oracle = oracle
        self._member = member
        self._store = store
        self._place: int | None = None
        self._index = 0
        self._apply = store.apply
        self._restore = store.restore
        self._snapshot = store.snapshot
        store.apply = self.apply  # type: ignore[method-assign]
        store.restore = self.restore  # type: ignore[method-assign]
        store.snapshot = self.snapshot  # type: ignore[method-assign]
        publish: Callable[[int, tuple[Event, ...]], None] = store.hub.publish

        def published(revision: int, events: tuple[Event, ...]) -> None:
            oracle.published(member.name, revision, events)
            publish(revision, events)

        store.hub.publish = published  # type: ignore[method-assign]

    def apply(self, index: int, entry: bytes) -> Outcome:
        if index % DIGEST_EVERY == 0 and index != self._index:
            self._oracle.compare_state(self._member.name, index - 1, self._store.machine)
        outcome = self._apply(index, entry)
        self._place = self._oracle.applied(self._member.name, self._place, self._index, index, bytes(entry))
        self._index = index
        return outcome

    def snapshot(self) -> Iterator[bytes]:
        raft = self._member.raft
        if raft is not None:
            self._oracle.snapshot_taken(self._member.name, raft.applied, self._store.machine)
            self._member.world.stats["snapshots"] += 1
        return self._snapshot()

    def restore(self, chunks: Iterable[bytes]) -> None:
        self._restore(chunks)
        self._place, self._index = None, 0
        self._member.world.stats["restores"] += 1
        self._oracle.snapshot_loaded(self._member.name, self._store.machine)


def state_digest(machine: Machine) -> bytes:
    """Return a hash of everything that the state can show, now and at retained revisions."""
    everything = Range(b"\0", b"\0")
    oldest = max(machine.compact_revision, 1)
    past = [everything._replace(revision=revision) for revision in {oldest, (oldest + machine.revision) // 2}]
    shown: list[Any] = [machine.revision, machine.compact_revision]
    shown += [sorted(machine.range(one).kvs) for one in [everything, *past]]
    shown += sorted((lease, held.ttl_ms, sorted(held.keys)) for lease, held in machine.leases.items())
    sessions = machine.sessions.clients.items()
    shown += sorted((client, known.acknowledged, sorted(known.outcomes)) for client, known in sessions)
    return blake2b(repr(shown).encode(), digest_size=16).digest()
