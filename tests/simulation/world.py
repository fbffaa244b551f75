"""One world: a cluster, its clients and its troubles, all that follows from one seed."""

from __future__ import annotations

import gc
import itertools
import logging
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from checking.history import History
from checking.watches import owes
from simulation.clients import ClientHost
from simulation.clock import START_S, Schedule
from simulation.contenders import Contender
from simulation.installation import installed
from simulation.members import Member, status
from simulation.network import Network
from simulation.oracle import Oracle
from simulation.process import Process, Surroundings
from simulation.recorder import Recorder
from simulation.troubles import Troubles
from simulation.verdict import judge

from oarlock.cluster.client.leases import Holding
from oarlock.consensus.storage import StorageFault

HEALED_S = 12.0
"""Virtual seconds within which a healed world must be well again."""
LEASES_GONE_S = 6.0
CONTENDED = 0.3
"""How many of the worlds have somebody who competes for a lease."""
DISTURBED_S = 2.0
"""How long after the last fault leadership may still change."""
SECONDS_MAX, REVISIONS_MAX = 300.0, 100_000
"""More than any world lasts, or makes."""


class Broken(AssertionError):
    """The world has seen a promise broken."""


@dataclass(frozen=True)
class Settings:
    """What a world is like. Sizes are small, so that a short life meets every limit."""

    members: int
    clients: int
    watches: int
    seconds: float
    calls_per_s: float
    value_bytes: int
    client_wait_s: float
    slow_watcher: float
    segment_bytes: int
    snapshot_bytes: int
    snapshot_entries: int
    keep_bytes: int
    retain_s: float
    retain_revisions: int
    contended: bool
    """Whether programs compete for a lease and write under its fence."""

    @property
    def compacts_itself(self) -> bool:
        """True if the store outgrows its window."""
        return self.retain_s < SECONDS_MAX or self.retain_revisions < REVISIONS_MAX

    @classmethod
    def drawn(cls, rng: random.Random) -> Settings:
        return cls(
            members=rng.choice((3, 3, 5)),
            clients=rng.choice((1, 2, 3)),
            watches=rng.choice((1, 2)),
            seconds=rng.uniform(5, 9),
            calls_per_s=rng.choice((3.0, 8.0, 12.0)),
            value_bytes=rng.choice((10, 100, 1500)),
            client_wait_s=rng.choice((1.0, 3.0, 10.0)),
            slow_watcher=rng.choice((0.0, 0.0, 0.05)),
            segment_bytes=rng.choice((2_000, 20_000, 1 << 20)),
            snapshot_bytes=rng.choice((2_000, 8_000, 30_000)),
            snapshot_entries=rng.choice((30, 150, 50_000)),
            keep_bytes=rng.choice((0, 1_000, 10_000)),
            retain_s=rng.choice((1.0, SECONDS_MAX)),
            retain_revisions=rng.choice((60, REVISIONS_MAX)),
            contended=rng.random() < CONTENDED,
        )


class World:
    """A run of one seed. `stats` counts what happened, `violations` what must not."""

    def __init__(
        self,
        seed: int,
        *,
        kinds: Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        verbose: bool = False,
    ) -> None:
        """Let only these `kinds` of faults happen, or some that the seed chooses; the same of `settings`."""
        self.seed = seed
        self.rng = random.Random(seed)
        self.settings = replace(Settings.drawn(self.rng), **(settings or {}))
        self.stats: Counter[str] = Counter()
        self.violations: list[str] = []
        self.schedule = Schedule()
        self.names = [chr(ord("a") + number) for number in range(self.settings.members)]
        self.network = Network(self.schedule, self._fork(), self.stats, self.trace, hostile=self.names)
        self.around = Surroundings(self.schedule, self.network, self._fork(), self._program_error, self._turned)
        self.oracle = Oracle(self)
        self.recorder = Recorder(self)
        self.processes: list[Process] = []
        self.members = {name: Member(self, name) for name in self.names}
        self.clients = [ClientHost(self, number) for number in range(self.settings.clients)]
        self.quiet = False
        """True once clients are to begin nothing new."""
        self.over = False
        self._verbose = verbose
        self._hash = blake2b(digest_size=16)
        self._values = itertools.count(1)
        self._client_numbers = itertools.count(1)
        self._troubles = Troubles(self, self._fork(), kinds)

    def _fork(self) -> random.Random:
        return random.Random(self.rng.getrandbits(64))

    # What the parts of the world ask.

    def next_value(self) -> int:
        return next(self._values)

    def next_client(self) -> int:
        return next(self._client_numbers)

    def trace(self, *what: Any) -> None:
        """Add to what makes this run the same as another."""
        self._hash.update(repr((round(self.schedule.now, 9), what)).encode())

    def log(self, *what: Any) -> None:
        """Trace something that a reader of a failing world wants to see."""
        self.trace(*what)
        if self._verbose:
            print(f"{self.schedule.now:11.6f}", *what)

    def violate(self, what: str) -> None:
        """A promise is broken: stop the world."""
        self.log("BROKEN", what)
        self.violations.append(what)
        self.schedule.stopped = True

    @property
    def digest(self) -> str:
        """Return the hash of everything that happened."""
        return self._hash.hexdigest()

    def acquired(self, contender: Contender, holding: Holding) -> None:
        """Nobody else may believe that they hold it, stopped or asleep; a clock that ran ahead ends terms too early."""
        self.stats["terms_held"] += 1
        if any(member.clock.ran_ahead for member in self.members.values()):
            return
        for client in self.clients:
            other = client.program and client.program.contender
            if other is not None and other is not contender and other.holder is not None and other.holder.held:
                self.violate(f"{other.holder.identity} believes that it holds what {holding.fence} has been given")

    def replica_failed(self, member: Member, failure: Exception) -> None:
        """A replica has stopped itself, which only a disk may make it do."""
        self.log("stops itself", member.name, str(failure))
        if "internal error" in str(failure) or not member.disk.troubled:
            self.violate(f"{failure}")

    def _program_error(self, process: Process, message: str, error: BaseException | None) -> None:
        if isinstance(error, StorageFault | OSError):
            self.log("error", process.host, message, repr(error))
            return
        self.violate(f"{process.host}: {message}: {error!r}")

    def _turned(self, process: Process) -> None:
        member = self.members.get(process.host)
        if member is not None:
            self.oracle.turned(member)

    # The run.

    def run(self) -> Counter[str]:
        """Live through the troubles, heal, see that all is well. Raises Broken."""
        collects = gc.isenabled()
        gc.disable()  # what is collected when must not depend on what this process did before
        logging.disable(logging.CRITICAL)
        try:
            with installed(self._fork()):
                self._live()
                self._end()
        finally:
            logging.disable(logging.NOTSET)
            if collects:
                gc.enable()
        if self.violations:
            raise Broken(self.violations[0])
        return self.stats

    def _live(self) -> None:
        schedule = self.schedule
        for member in self.members.values():
            member.boot()
        for client in self.clients:
            client.boot()
        self._troubles.begin()
        schedule.run_until(schedule.now + self.settings.seconds)
        self._troubles.end()
        self._expect(self._serves, HEALED_S, "no client's write was acknowledged")
        self.quiet = True
        self._expect(self._at_rest, HEALED_S, "calls are still open")
        self._expect(self._leases_gone, LEASES_GONE_S, "a lease is still there")
        self._expect(self._caught_up, HEALED_S, "members or watches haven't caught up")
        if not schedule.stopped:
            self.oracle.finish(self.members.values())
            self._judge()

    def _judge(self) -> None:
        settings = self.settings
        history = History(
            self.recorder.calls,
            self.recorder.watches,
            dict(sorted(self.oracle.events.items())),
            [(START_S, self._troubles.ended_s + DISTURBED_S)] if self._troubles.began else [],
            compacts_itself=settings.compacts_itself,
        )
        wrong = judge(history, [member.clock for member in self.members.values()], self.oracle.expired)
        if wrong:
            self.violate(wrong)

    def _expect(self, condition: Any, within_s: float, otherwise: str) -> None:
        """Let time pass until `condition` returns "", at most `within_s`."""
        end_s = self.schedule.now + within_s
        missing = "?"
        while self.schedule.now < end_s and not self.schedule.stopped:
            missing = condition()
            if not missing:
                return
            self.schedule.run_until(self.schedule.now + 0.1)
        if not self.schedule.stopped:
            states = [status(member) for member in self.members.values()]
            self.violate(f"{otherwise} {within_s:g} s after all was healed: {missing}; {states}")

    def _serves(self) -> str:
        healed_s = self._troubles.ended_s
        waiting = [one.name for one in self.clients if one.program is None or one.program.wrote_s <= healed_s]
        return f"{waiting} wait" if waiting else ""

    def _at_rest(self) -> str:
        busy = [one.name for one in self.clients if one.program is None or not one.program.at_rest]
        return f"{busy} wait" if busy else ""

    def _caught_up(self) -> str:
        outdated = [member.name for member in self.members.values() if member.outdated]
        if outdated:
            return f"{outdated} run on disks whose seats others have taken"
        rafts = [member.raft for member in self.members.values()]
        if len({raft.applied if raft else None for raft in rafts}) > 1:
            return "members differ in what they have applied"
        if any(raft is None or raft.applied < raft.journal.last_index for raft in rafts):
            return "entries are not applied"
        history = History(log=self.oracle.events)
        late = [record for record in self.recorder.open_watches() if owes(history, record)]
        return f"{len(late)} watches lack events" if late else ""

    def _leases_gone(self) -> str:
        stores = [member.server.store for member in self.members.values() if member.server is not None]
        left = {lease for store in stores for lease in store.machine.leases}
        return f"leases {sorted(left)} outlive their holders" if left else ""

    def dismantle(self) -> None:
        """Let go of everything, so that memory is free without a search for cycles."""
        self.processes.clear()
        self.members.clear()
        self.clients.clear()
        self.schedule.clear()

    def _end(self) -> None:
        self.over = True
        for process in self.processes:
            process.alive = False
            process.loop.close()
