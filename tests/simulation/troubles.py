"""Brings troubles over a world, heals it in the end, and replaces what a member refuses to start on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simulation.faults import FAULTS, End
from simulation.members import Member

if TYPE_CHECKING:
    from simulation.world import World

KINDS_MAX = 8
"""Kinds of faults in one world: a few that meet often find more than all that meet seldom."""


class Troubles:
    """Begins faults at random until `end`, then undoes them all."""

    def __init__(self, world: World, rng: random.Random, kinds: Sequence[str] | None) -> None:
        self.world = world
        self.rng = rng
        self.ended_s = 0.0
        self.began = False
        """True once a fault has happened."""
        chosen = rng.sample(sorted(FAULTS), rng.randint(0, KINDS_MAX))
        self._kinds = chosen if kinds is None else list(kinds)
        self._pause_s = rng.choice((0.2, 0.5, 1.5))
        self._ends: dict[End, None] = {}
        self._under_repair: Member | None = None

    def begin(self) -> None:
        if self._kinds:
            self.world.schedule.after(self.rng.uniform(0.3, 1.5), self._next)
        self.world.schedule.after(1, self._operate)

    def end(self) -> None:
        """Heal everything: what is cut, paused, full, slow or down."""
        world = self.world
        self.ended_s = world.schedule.now
        world.log("all is healed")
        for end in list(self._ends):
            self._stop(end)
        world.network.hostility = 0.0
        world.network.set_cuts(set())
        for member in world.members.values():
            member.disk.full = member.disk.sync_fails = False
            if not member.refused:
                member.boot()
        for client in world.clients:
            client.boot()

    def _next(self) -> None:
        if self.ended_s:
            return
        kind = self.rng.choice(self._kinds)
        if self._under_repair is None:
            end = FAULTS[kind](self)
            if end is not None:
                self.began = True
                self.world.stats["fault_" + kind] += 1
                self._ends[end] = None
                self.world.schedule.after(self.rng.choice((0.3, 1.5, 4)) * self.rng.random(), lambda: self._stop(end))
        self.world.schedule.after(self.rng.expovariate(1 / self._pause_s), self._next)

    def _stop(self, end: End) -> None:
        if end in self._ends:
            del self._ends[end]
            end()

    # The person who replaces damaged folders, by the rule that the refusal's message gives.

    def _operate(self) -> None:
        """Start a refused member empty once all the others are well; hold further faults back until it is whole."""
        world = self.world
        broken = self._under_repair
        if broken is None:
            refused = [member for member in world.members.values() if member.refused and member.process is None]
            if refused and self._healthy([one for one in world.members.values() if one is not refused[0]]):
                self._under_repair = broken = refused[0]
                world.log("replaced", broken.name)
                world.stats["replaced_disks"] += 1
                broken.wipe()
                broken.boot()
        elif self._healthy(list(world.members.values())):
            self._under_repair = None
        world.schedule.after(0.2, self._operate)

    def _healthy(self, members: list[Member]) -> bool:
        """All run, and follow one leader as far as it is."""
        rafts = [member.raft for member in members if member.server is not None]
        known = [raft for raft in rafts if raft is not None]
        if len(known) < len(members) or self.world.network.cuts or self.world.network.down or self._ends:
            return False
        leaders = {(raft.leader or raft.name, raft.term) for raft in known}
        return len(leaders) == 1 and len({raft.commit_index for raft in known}) == 1

    # For the faults.

    def member(self) -> Member:
        return self.world.members[self.rng.choice(self.world.names)]

    def running(self) -> list[Member]:
        return [member for member in self.world.members.values() if member.process is not None]

    def leaders(self) -> list[Member]:
        """Return those who believe that they lead."""
        return [member for member in self.running() if member.raft is not None and member.raft.is_leader]

    def some(self) -> list[Member]:
        """Choose running members: mostly one, at times several or all."""
        members = self.running()
        count = self.rng.choice((1, 1, 1, 2, len(members)))
        return self.rng.sample(members, min(count, len(members)))

    def hosts(self) -> list[str]:
        return [*self.world.names, *(client.name for client in self.world.clients)]
