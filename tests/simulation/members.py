"""The store's members as hosts: a disk and a clock that last, and one server process after another."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from simulation.clock import HostClock
from simulation.disk import Disk
from simulation.files import SimPath
from simulation.process import Process

from oarlock.consensus.raft import Raft, Times
from oarlock.consensus.replica import Replica, ReplicaFailed, ReplicaReplaced
from oarlock.consensus.retention import RetentionSettings
from oarlock.consensus.server import StoreServer, StoreSettings
from oarlock.consensus.storage import StorageFault

if TYPE_CHECKING:
    from simulation.world import World

PEER_PORT, CLIENT_PORT = 1, 2
RESTART_S = (0.2, 1.0)
TIMES = Times(0.05, 0.25, 0.5)


class Member:
    """One host. `server` is set while its process serves; `refused` says why the last start failed, "" if it didn't."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.rng = random.Random(world.rng.getrandbits(64))
        self.clock = HostClock(world.schedule, self.rng.uniform(0, 1e6))
        self.disk = Disk(self.rng, world.stats)
        self.process: Process | None = None
        self.server: StoreServer | None = None
        self.refused = ""
        self.rotten = False
        """True once bits of its files have been flipped."""
        self.lives = 0
        """How often it has been started."""
        self.held_down = False
        """True while a fault keeps it from being started again."""
        self.other_disk: Disk | None = None
        """The disk that isn't in use, of a member whose disk was exchanged."""
        self.outdated = False
        """True while it has its old disk though the new one has taken its seat."""
        self._newcomer = True

    @property
    def replica(self) -> Replica | None:
        return self.server._replica if self.server is not None else None

    @property
    def raft(self) -> Raft | None:
        return self.replica._raft if self.replica is not None else None

    @property
    def suspect(self) -> bool:
        """True if the disk may have lost what it promised to keep, or is about to, or isn't known to have joined.

        Two such members at once stand still until somebody brings the folder of one of them back: see decision 0010.
        """
        if self.raft is not None:
            self._newcomer = self.raft.journal.newcomer
        damaged = self.rotten or self.disk.lied or self.disk.sync_fails or bool(self.refused)
        return self._newcomer or damaged or self.other_disk is not None

    @property
    def joined(self) -> bool:
        """True if it runs and votes."""
        return self.raft is not None and not self.raft.journal.newcomer

    def boot(self) -> None:
        """Start the server, as a supervisor does."""
        if self.process is not None or self.held_down:
            return
        world = self.world
        if self.name in world.network.down:
            world.network.host_returned(self.name)
        self.refused = ""
        self.disk.troubled = False
        self.lives += 1
        self.process = Process(world.around, self.name, self.clock, self.disk)
        world.processes.append(self.process)
        self.process.start(self._serve(self.process))

    def kill(self, *, powerless: bool = False) -> None:
        """End the process at once; with the power the disk loses what isn't durable, and nobody is told."""
        process, self.process, self.server = self.process, None, None
        if process is not None:
            process.die()
            self.world.network.process_died(process, powerless=powerless)
        if powerless:
            self.world.network.down.add(self.name)
            self.disk.lose_power()
            self.world.network.changed()

    def stop(self) -> None:
        """Ask the server to end in good order."""
        if self.process is not None and self.server is not None:
            self.process.start(self._stop(self.process, self.server))

    def wipe(self) -> None:
        """Give the host a new, empty disk."""
        self.disk = Disk(self.rng, self.world.stats)
        self.refused, self.rotten, self._newcomer = "", False, True

    def exchange(self, *, outdated: bool) -> None:
        """Have the host, which is off, run on its other disk from now on: a new one at first, later the one before."""
        self.other_disk, self.disk = self.disk, self.other_disk or Disk(self.rng, self.world.stats)
        self.outdated, self._newcomer = outdated, True

    async def _serve(self, process: Process) -> None:
        server = self._make(process)
        try:
            await server.start()
        except (StorageFault, OSError) as fault:
            self._cannot_start(fault)
        else:
            if server._replica._raft is not None:
                server._replica._raft.journal._segment_bytes = self.world.settings.segment_bytes
            self.server = server
            self.world.log("serves", self.name)
            if self.rotten:
                self.world.violate(f"{self.name} serves though bits of its files have flipped")
            try:
                await server.wait()
            except ReplicaReplaced as failure:
                self._replaced(process, failure)
            except ReplicaFailed as failure:
                self.world.replica_failed(self, failure)
            await server.stop()
        self._exit(process)

    def _replaced(self, process: Process, failure: ReplicaReplaced) -> None:
        """Another disk has the seat: somebody gives it back to the host before the program is started again."""
        self.world.log("replaced", self.name, str(failure))
        if self.other_disk is None:
            self.world.violate(f"{failure}, though it has its only disk")
            return
        self.world.stats["old_disks_refused"] += 1

        def exchange() -> None:
            self.kill()
            self.exchange(outdated=False)
            self.other_disk = None
            self.world.schedule.after(self.rng.uniform(*RESTART_S), self.boot)

        self.world.schedule.after(0, exchange)

    def _make(self, process: Process) -> StoreServer:
        settings = self.world.settings
        server = StoreServer(
            StoreSettings(
                self.name,
                {name: (name, PEER_PORT) for name in self.world.names},
                SimPath("/data"),  # type: ignore[arg-type]
                host=self.name,
                port=CLIENT_PORT,
                times=TIMES,
                retention=RetentionSettings(settings.retain_s, settings.retain_revisions),
            )
        )
        replica = server._replica
        replica._clock = process.clock.time
        replica._rng = random.Random(self.rng.getrandbits(64))
        replica.settings = replace(
            replica.settings,
            snapshot_after_bytes=settings.snapshot_bytes,
            snapshot_after_entries=settings.snapshot_entries,
            keep_bytes=settings.keep_bytes,
        )
        self.world.oracle.observe(self, server.store)
        return server

    async def _stop(self, process: Process, server: StoreServer) -> None:
        await server.stop()
        self._exit(process)

    def _cannot_start(self, fault: Exception) -> None:
        self.world.log("refused", self.name, str(fault))
        if isinstance(fault.__cause__ or fault, OSError):
            return  # the disk is full or fails: the supervisor tries again
        self.refused = str(fault)
        if self.rotten or self.disk.lied:
            self.world.stats["damage_refused"] += 1
        else:
            self.world.violate(f"{self.name} refuses its own, undamaged folder: {fault}")

    def _exit(self, process: Process) -> None:
        """The program ends; its supervisor starts it again after a while."""

        def end() -> None:
            if self.process is process:
                self.kill()
                if not self.refused:
                    self.world.schedule.after(self.rng.uniform(*RESTART_S), self.boot)

        self.world.schedule.after(0, end)


def status(member: Member) -> dict[str, Any]:
    """Return what a person would want to know of a member when the world is broken."""
    raft = member.raft
    known = {} if raft is None else {"term": raft.term, "leader": raft.leader, "applied": raft.applied}
    return {"member": member.name, "runs": member.process is not None, "refused": member.refused, **known}
