"""A cluster of Rafts in one thread with a virtual clock, network and disk; a seed replays everything that happens.

Faults: lost, late, repeated and reordered messages, cuts in one or both directions, crashes that lose or tear what is
not yet synced, stalled and failing disks, paused processes. Checked at every step: at most one leader a term, the same
entry at the same place everywhere, nothing applied twice, acknowledged entries present, refused ones absent, no stale
read.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from oarlock.consensus import journal as journal_module
from oarlock.consensus import snapshot as snapshot_module
from oarlock.consensus import storage as storage_module
from oarlock.consensus.journal import Commit, Journal
from oarlock.consensus.log import NotLeader
from oarlock.consensus.messages import LENGTH, RaftMessage, decode_messages, frame
from oarlock.consensus.model import UnknownOutcome
from oarlock.consensus.raft import Raft, Times
from oarlock.consensus.snapshot import SnapshotFolder, SnapshotWriter

TIMES = Times(0.05, 0.25, 0.5)


class Broken(AssertionError):
    """The world has seen a promise broken."""


class Future:
    """A future that calls back at once."""

    def __init__(self) -> None:
        self.settled: Callable[[Any, Exception | None], None] | None = None
        self._outcome: tuple[Any, Exception | None] | None = None

    def done(self) -> bool:
        return self._outcome is not None

    def set_result(self, result: Any) -> None:
        self._settle(result, None)

    def set_exception(self, error: Exception) -> None:
        self._settle(None, error)

    def _settle(self, result: Any, error: Exception | None) -> None:
        assert self._outcome is None, "settled twice"
        self._outcome = result, error
        if self.settled is not None:
            self.settled(result, error)

    def then(self, callback: Callable[[Any, Exception | None], None]) -> None:
        self.settled = callback
        if self._outcome is not None:
            callback(*self._outcome)


class Ledger:
    """A state machine that keeps every entry in order; an entry's outcome is its place."""

    def __init__(self, world: World, name: str) -> None:
        self.entries: list[bytes] = []
        self._world = world
        self._name = name

    def apply(self, index: int, entry: bytes) -> object:
        place = len(self.entries)
        self.entries.append(entry)
        self._world.applied(self._name, place, entry)
        return place

    def snapshot(self) -> Iterator[bytes]:
        entries = tuple(self.entries)
        return (b",".join(entries[start : start + 16]) for start in range(0, len(entries), 16))

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.entries = [entry for chunk in chunks for entry in chunk.split(b",")]
        for place, entry in enumerate(self.entries):
            self._world.applied(self._name, place, entry)


class Member:
    """One process: a Raft, its folder, and its share of time. The driver of `raft`."""

    def __init__(self, world: World, name: str, folder: Path) -> None:
        self.world, self.name, self.folder = world, name, folder
        self.paused_until = 0.0
        self.alive = True
        self._waking = False
        self._timer_at = float("inf")
        self._queued: dict[str, list[RaftMessage]] = {}
        self._commit: Commit | None = None
        self._writer: SnapshotWriter | None = None
        self.ledger = Ledger(world, name)
        self.journal = Journal(folder / "journal", segment_bytes=world.rng.choice((2_000, 20_000)))
        self.raft = Raft(
            name, [peer for peer in world.names if peer != name], self.journal, SnapshotFolder(folder / "snapshots"),
            self.ledger, self, times=TIMES, clock=lambda: world.now, rng=world.rng,
        )  # fmt: skip

    def send(self, peer: str, message: RaftMessage) -> None:
        self._queued.setdefault(peer, []).append(message)

    def flush(self) -> None:
        queued, self._queued = self._queued, {}
        for peer, messages in queued.items():
            self.world.post(self.name, peer, frame(messages))

    def create_future(self) -> Any:
        return Future()

    def wake(self) -> None:
        if not self._waking:
            self._waking = True
            self.soon(0, self._woken)

    def _woken(self) -> None:
        self._waking = False

    def write(self, commit: Commit) -> None:
        self._commit = commit
        rng = self.world.rng
        stall = rng.uniform(0.1, 0.8) if rng.random() < self.world.trouble * 0.02 else rng.uniform(0.0002, 0.008)
        self.soon(stall, lambda: self._written(commit))

    def _written(self, commit: Commit) -> None:
        if self.world.rng.random() < self.world.trouble * 0.001:
            self.world.stats["disk errors"] += 1
            self.world.crash(self.name)
            return
        commit.write()
        self._commit = None
        self.raft.written(commit)

    def soon(self, delay: float, action: Callable[[], None]) -> None:
        """Run `action`, then a turn, on this process after `delay`, later if it is paused, never if it has died."""

        def run() -> None:
            if not self.alive:
                return
            if self.world.now < self.paused_until:
                self.world.at(self.paused_until, run)
                return
            action()
            if self.alive:
                self._turn()

        self.world.at(self.world.now + delay, run)

    def _turn(self) -> None:
        raft = self.raft
        raft.turn()
        self.world.check_leader(self)
        if self._writer is None and raft.snapshot_due(bytes_max=600, entries_max=60):
            self._writer = raft.begin_snapshot()
            self.soon(0.002, self._step)
        if raft.deadline < self._timer_at:
            self._timer_at = raft.deadline
            self.soon(max(raft.deadline - self.world.now, 0), self._tick)

    def _tick(self) -> None:
        self._timer_at = float("inf")
        if self.world.now >= self.raft.deadline:
            self.raft.tick()

    def _step(self) -> None:
        assert self._writer is not None
        if self._writer.step():
            self.soon(0.002, self._step)
            return
        self._writer.publish()
        self._writer = None
        self.raft.compact(keep_bytes=300)
        self.world.stats["snapshots"] += 1

    def die(self) -> None:
        """End as by kill -9 and power loss: of a batch that is not synced nothing, all, or a part stays."""
        self.alive = False
        rng = self.world.rng
        if self._commit is not None and rng.random() < 0.7:
            data = self._commit._data
            keep = rng.choice((len(data), rng.randrange(len(data)), rng.randrange(len(data))))
            self._commit._data = data[:keep]
            self._commit.write()
        self.journal.close()
        self.raft.stop()


class World:
    """A run of one seed."""

    def __init__(self, seed: int, folder: Path, *, size: int, seconds: float, trouble: float = 1.0) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.trouble = trouble
        self.seconds = seconds
        self.names = [chr(ord("a") + number) for number in range(size)]
        self.stats: Counter[str] = Counter()
        self.history: list[bytes] = []
        """Every entry ever applied anywhere, in its place."""
        self._places: dict[bytes, int] = {}
        self._acknowledged = -1
        self._refused: set[bytes] = set()
        self._leaders: dict[int, str] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._folder = folder
        self._entries = itertools.count()
        self.members: dict[str, Member] = {}

    # Time and network.

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), action))

    def post(self, sender: str, receiver: str, data: bytes) -> None:
        rng, loss = self.rng, self.trouble * 0.03
        for copy in range(2 if rng.random() < loss else 1):
            if rng.random() < loss:
                self.stats["lost"] += 1
                continue
            late = copy or rng.random() < loss
            delay = rng.uniform(0.01, 0.6) if late else rng.uniform(0.0003, 0.003)
            self.at(self.now + delay, lambda: self._deliver(sender, receiver, data))

    def _deliver(self, sender: str, receiver: str, data: bytes) -> None:
        member = self.members.get(receiver)
        if (sender, receiver) in self._cuts or member is None:
            return

        def take() -> None:
            for message in decode_messages(data[LENGTH.size :]):
                member.raft.receive(sender, message)

        member.soon(0, take)

    # Faults.

    def boot(self, name: str) -> None:
        member = self.members[name] = Member(self, name, self._folder / name)
        for peer in self.names:
            if peer != name:
                member.raft.peer_up(peer)
                if peer in self.members:
                    self.members[peer].raft.peer_down(name)
                    self.members[peer].raft.peer_up(name)
        member.wake()

    def crash(self, name: str) -> None:
        self.stats["crashes"] += 1
        self.members.pop(name).die()
        for peer, member in self.members.items():
            if self.rng.random() < 0.7 and (name, peer) not in self._cuts:
                member.raft.peer_down(name)
                member.raft.peer_up(name)

    def _mishap(self) -> None:
        if not self.trouble:
            return
        rng = self.rng
        kind = rng.choice(("crash", "crash", "boot", "boot", "cut", "cut", "heal", "pause"))
        if kind == "crash" and self.members and (len(self.members) > len(self.names) // 2 or rng.random() < 0.2):
            self.crash(rng.choice(sorted(self.members)))
        elif kind == "boot":
            for name in sorted(set(self.names) - set(self.members)):
                self.boot(name)
        elif kind == "cut":
            self.stats["cuts"] += 1
            left = {name for name in self.names if rng.random() < 0.5}
            one_way = rng.random() < 0.3
            self._cuts = {
                (one, other)
                for one, other in itertools.permutations(self.names, 2)
                if (one in left) != (other in left) and not (one_way and one in left)
            }
        elif kind == "heal":
            self._cuts = set()
        elif kind == "pause" and self.members:
            self.stats["pauses"] += 1
            self.members[rng.choice(sorted(self.members))].paused_until = self.now + rng.uniform(0.1, 1.5)
        self.at(self.now + rng.uniform(0.05, 0.8), self._mishap)

    # Clients and checks.

    def _client(self) -> None:
        rng = self.rng
        leaders = [name for name, member in self.members.items() if member.raft.is_leader]
        target = rng.choice(sorted(leaders or self.members)) if self.members else ""
        if target and self.now >= self.members[target].paused_until:
            member = self.members[target]
            for _ in range(rng.randint(1, 3)):
                self._propose(member)
            if rng.random() < 0.5:
                self._read(member)
        self.at(self.now + rng.expovariate(60), self._client)

    def _propose(self, member: Member) -> None:
        entry = b"%d" % next(self._entries)

        def settled(place: Any, error: Exception | None) -> None:
            if error is None:
                self.stats["acknowledged"] += 1
                if self.history[place] != entry:
                    raise Broken(f"{entry!r} acknowledged at {place}, where {self.history[place]!r} is")
                self._acknowledged = max(self._acknowledged, place)
            elif isinstance(error, NotLeader):
                self._refused.add(entry)
            elif isinstance(error, UnknownOutcome):
                self.stats["unknown"] += 1
            else:
                raise Broken(f"unexpected {error!r}")

        member.raft.propose(entry).then(settled)  # type: ignore[attr-defined]

    def _read(self, member: Member) -> None:
        acknowledged = self._acknowledged

        def settled(_: Any, error: Exception | None) -> None:
            if error is None:
                self.stats["reads"] += 1
                if len(member.ledger.entries) <= acknowledged:
                    raise Broken(f"stale read on {member.name}: {len(member.ledger.entries)} of {acknowledged + 1}")

        member.raft.read_index().then(settled)  # type: ignore[attr-defined]

    def applied(self, name: str, place: int, entry: bytes) -> None:
        if place == len(self.history):
            if self._places.setdefault(entry, place) != place:
                raise Broken(f"{entry!r} applied twice: at {self._places[entry]} and {place}")
            self.history.append(entry)
        elif self.history[place] != entry:
            raise Broken(f"{name} applied {entry!r} at {place}, others {self.history[place]!r}")

    def check_leader(self, member: Member) -> None:
        raft = member.raft
        if raft.is_leader and self._leaders.setdefault(raft.term, member.name) != member.name:
            raise Broken(f"{member.name} and {self._leaders[raft.term]} both lead in term {raft.term}")

    # The run.

    def run(self) -> Counter[str]:
        """Live through the troubles, then heal everything and see that all is well."""
        for name in self.names:
            self.boot(name)
        self._client()
        self.at(self.now + 1, self._mishap)
        self._until(self.now + self.seconds)
        self.trouble = 0
        self._cuts = set()
        for name in self.names:
            if name in self.members:
                self.members[name].paused_until = 0
            else:
                self.boot(name)
        before = self.stats["acknowledged"]
        self._until(self.now + 4)
        if self.stats["acknowledged"] == before:
            raise Broken("nothing was acknowledged in 4 s without faults")
        self._finish()
        return self.stats

    def _until(self, end: float) -> None:
        while self._events and self._events[0][0] < end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end

    def _finish(self) -> None:
        self._client = lambda: None  # type: ignore[method-assign]
        self._events = [event for event in self._events if event[2].__name__ != "_client"]
        heapq.heapify(self._events)
        self._until(self.now + 2)
        states = {name: member.ledger.entries for name, member in self.members.items()}
        if any(state != self.history for state in states.values()):
            raise Broken(
                f"states differ: { {name: len(state) for name, state in states.items()} } of {len(self.history)}"
            )
        if self._refused & set(self.history):
            raise Broken("an entry that was refused is in the log")
        logs = [member.journal for member in self.members.values()]
        for index in range(max(log.first_index for log in logs), min(log.last_index for log in logs) + 1):
            if len({log.at(index) for log in logs}) != 1:
                raise Broken(f"logs differ at {index}")
        self.stats["leaders"] = len(self._leaders)
        for member in self.members.values():
            member.journal.close()


def live_through(seed: int, seconds: float = 20.0) -> Counter[str]:
    """Run the world of `seed`; raises Broken."""
    for module in (journal_module, snapshot_module, storage_module):
        module.os = _NoSync()  # type: ignore[attr-defined]
    try:
        with tempfile.TemporaryDirectory() as folder:
            return World(seed, Path(folder), size=3 if seed % 2 else 5, seconds=seconds).run()
    finally:
        for module in (journal_module, snapshot_module, storage_module):
            module.os = _os  # type: ignore[attr-defined]


_os = journal_module.os


class _NoSync:
    """The os module without waiting for a disk; the world decides what a crash loses."""

    def __getattr__(self, name: str) -> Any:
        return (lambda descriptor: None) if name in {"fsync", "fdatasync"} else getattr(_os, name)


def main() -> int:
    """Run seeds FROM to TO for at most SECONDS; the last line sums up."""
    first, last, budget_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    began, total, failures, worlds = time.monotonic(), Counter[str](), 0, 0
    for seed in range(first, last):
        if time.monotonic() - began > budget_s:
            break
        worlds += 1
        try:
            total += live_through(seed)
        except AssertionError as error:
            failures += 1
            print(f"seed {seed}: {error!r}")
    print(f"worlds={worlds} failures={failures} " + " ".join(f"{k}={v}" for k, v in sorted(total.items())))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
