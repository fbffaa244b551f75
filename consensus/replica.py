"""One member of the replicated log as a component: its folder, its connections, its timers, and Raft between them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Gauge

from oarlock.consensus.certificates import Tls
from oarlock.consensus.diskthread import DiskThread
from oarlock.consensus.journal import Commit, open_journal
from oarlock.consensus.log import DelayCallback, LeadershipCallback, NotLeader, StateMachine
from oarlock.consensus.messages import Hello, RaftMessage
from oarlock.consensus.model import Unavailable
from oarlock.consensus.raft import Raft, Times
from oarlock.consensus.snapshot import SnapshotFolder, SnapshotWriter
from oarlock.consensus.storage import Folder, Identity, SeatLost, StorageFault
from oarlock.consensus.transfer import TransferFailed
from oarlock.consensus.transport import PeerTransport

log = logging.getLogger(__name__)

HAS_LEADER = Gauge("etcd_server_has_leader", "1 while this member knows a leader.")
IS_LEADER = Gauge("etcd_server_is_leader", "1 while this member leads.")
LEADER_CHANGES = Counter("etcd_server_leader_changes_seen", "Leader changes that this member saw.")
COMMITTED = Gauge("etcd_server_proposals_committed_total", "Log index up to which entries are committed.")
APPLIED = Gauge("etcd_server_proposals_applied_total", "Log index up to which entries are applied.")
PENDING = Gauge("etcd_server_proposals_pending", "Proposals that wait to be logged.")
SNAPSHOTS = Counter("oarlock_snapshots_written", "Snapshots of this member's state written to disk.")
SNAPSHOTS_FAILED = Counter("oarlock_snapshots_failed", "Snapshots that the disk had no room for, or refused otherwise.")
LOOP_GRAIN_S = 0.001
"""The loop's clock counts milliseconds: a timer that is set without one more fires early, to find out again and again
that it isn't due yet.
"""
SNAPSHOT_RETRY_S = 10.0
"""Pause after a snapshot that failed. Until one succeeds the log grows, which keeps everything safe."""


@dataclass(frozen=True)
class ReplicaSettings:
    """`members` maps every member's name, this one's too, to its (host, port)."""

    name: str
    members: Mapping[str, tuple[str, int]]
    data_dir: Path
    tls: Tls | None = None
    cluster: str = "oarlock"
    times: Times = field(default_factory=Times)
    snapshot_after_bytes: int = 16 << 20
    """Bytes of entries between snapshots, or the size of the last snapshot if that is more."""
    snapshot_after_entries: int = 50_000
    keep_bytes: int = 4 << 20
    """Bytes of entries kept behind a snapshot for followers that lag a little."""

    def __post_init__(self) -> None:
        if self.name not in self.members:
            raise ValueError(f"member {self.name!r} isn't among the members {sorted(self.members)}")
        if not 3 * self.times.heartbeat_s < self.times.election_min_s < self.times.election_max_s:
            raise ValueError("the election timeouts must be min < max, and min more than three heartbeats")


class ReplicaFailed(Exception):
    """The replica has stopped itself because going on could harm the data. The message says why."""


class ReplicaReplaced(ReplicaFailed):
    """The replica has stopped itself because another folder has its seat. It would stop again after every start."""

    final = True
    """Tells whoever restarts what fails not to."""


class Replica:
    """A `log.ReplicatedLog` on this process' event loop, driven by its sockets and two kinds of timers only.

    `machine` must be empty; `start` brings it to the newest snapshot, and what the log holds beyond is applied once the
    leader says that it is committed. One timer stands at any time: the next heartbeat or the election timeout.
    """

    def __init__(
        self,
        settings: ReplicaSettings,
        machine: StateMachine,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        listener: socket.socket | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self._machine = machine
        self._clock = clock
        self._rng = rng or random.Random()
        self._listener = listener
        self._pause = pause
        self._callbacks: list[LeadershipCallback] = []
        self._delay_callbacks: list[DelayCallback] = []
        self._open: contextlib.AsyncExitStack | None = None
        self._raft: Raft | None = None
        self._transport: PeerTransport | None = None
        self._disk: DiskThread | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._turn_due = False
        self._snapshotting: asyncio.Task[None] | None = None
        self._seen_leader = ""
        self._fault: asyncio.Future[None] | None = None

    # The component.

    async def start(self) -> None:
        """Open the folder, load the state, listen, take part. Raises StorageFault or OSError, leaving nothing open."""
        assert self._open is None, "started once"
        self._loop = asyncio.get_running_loop()
        self._fault = self._loop.create_future()
        async with contextlib.AsyncExitStack() as stack:
            settings = self.settings
            folder = Folder(settings.data_dir, Identity(settings.cluster, settings.name))
            stack.callback(folder.close)
            journal = open_journal(folder)
            stack.callback(journal.close)
            self._disk = DiskThread()
            stack.callback(self._disk.shutdown)
            self._raft = Raft(
                settings.name,
                [member for member in settings.members if member != settings.name],
                journal,
                SnapshotFolder(settings.data_dir / "snapshots"),
                self._machine,
                self,
                times=settings.times,
                clock=self._clock,
                rng=self._rng,
            )
            folder.begin()
            self._transport = PeerTransport(
                settings.name,
                settings.cluster,
                settings.members,
                settings.tls,
                on_message=self._receive,
                on_turn=self._turn,
                on_up=self._raft.peer_up,
                on_down=self._raft.peer_down,
                rng=self._rng,
                seating=self,
            )
            stack.push_async_callback(self._transport.stop)
            await self._transport.start(self._listener)
            for callback in self._callbacks:
                self._raft.on_leadership(callback)
            for delayed in self._delay_callbacks:
                self._raft.on_delay(delayed)
            self._open = stack.pop_all()
        if self._fault.done():  # the first that dialled knew better
            self._failing = self._loop.create_task(self._close())
        self._observe(self._raft)
        self._turn()

    async def transfer(self, target: str | None = None) -> str:
        """Hand leadership over to `target`, or to the best follower; return the new leader's name.

        Proposals are refused meanwhile with NotLeader. Raises NotLeader, or TransferFailed if it didn't work in time.
        """
        if self._open is None or self._raft is None:
            raise NotLeader
        future = self._raft.transfer(target)
        try:
            async with asyncio.timeout(2 * self.settings.times.election_max_s):
                return await future
        except TimeoutError:
            raise TransferFailed("nobody was seen to take over") from None

    async def hand_over(self) -> None:
        """Give leadership away, if this replica has it and somebody can take it: nobody then waits for an election."""
        if self.is_leader and len(self.settings.members) > 1:
            try:
                log.info("handed over to=%s member=%s", await self.transfer(), self.name)
            except Unavailable as failure:
                log.warning("leadership not handed over member=%s reason=%s", self.name, failure)

    async def stop(self) -> None:
        """Hand leadership over, stop taking part and close everything. Idempotent."""
        await self.hand_over()
        await self._close()

    async def _close(self) -> None:
        stack, self._open = self._open, None
        if stack is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._snapshotting is not None:
            self._snapshotting.cancel()
            await asyncio.gather(self._snapshotting, return_exceptions=True)
        if self._raft is not None:
            self._raft.stop()
        await stack.aclose()

    async def wait(self) -> None:
        """Wait for a fault and raise it as ReplicaFailed; never returns otherwise."""
        assert self._fault is not None, "started first"
        await asyncio.shield(self._fault)

    # The log.

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def is_leader(self) -> bool:
        return self._open is not None and self._raft is not None and self._raft.is_leader

    @property
    def leader(self) -> str:
        return self._raft.leader if self._raft is not None else ""

    @property
    def term(self) -> int:
        return self._raft.term if self._raft is not None else 0

    @property
    def applied(self) -> int:
        return self._raft.applied if self._raft is not None else 0

    @property
    def last_index(self) -> int:
        return self._raft.journal.last_index if self._raft is not None else 0

    def propose(self, entry: bytes) -> asyncio.Future[Any]:
        return self._refused() if self._open is None or self._raft is None else self._raft.propose(entry)

    def read_index(self) -> asyncio.Future[int]:
        return self._refused() if self._open is None or self._raft is None else self._raft.read_index()

    def _refused(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_exception(NotLeader())
        return future

    def on_leadership(self, callback: LeadershipCallback) -> None:
        self._callbacks.append(callback)
        if self._raft is not None:
            self._raft.on_leadership(callback)

    def on_delay(self, callback: DelayCallback) -> None:
        self._delay_callbacks.append(callback)
        if self._raft is not None:
            self._raft.on_delay(callback)

    # What the transport asks of seats.

    def introduce(self, hello: Hello) -> Hello:
        return hello if self._raft is None else self._raft.seats.introduce(hello)

    def refusal(self, hello: Hello, present: str | None) -> str:
        if self._raft is None or (self._fault is not None and self._fault.done()):
            return "this member stops"
        try:
            return self._raft.seats.refusal(hello, present)
        except SeatLost as lost:
            self._fail(lost)
            return "this member has been replaced and stops"

    def heard(self, peer: str, reason: str) -> None:
        if self._raft is None:
            return
        try:
            self._raft.seats.heard(peer, reason)
        except SeatLost as lost:
            self._fail(lost)

    # What Raft asks of its driver.

    def send(self, peer: str, message: RaftMessage) -> None:
        if self._transport is not None:
            self._transport.send(peer, message)

    def flush(self) -> None:
        if self._transport is not None:
            self._transport.flush()

    def create_future(self) -> asyncio.Future[Any]:
        return self._loop.create_future()

    def wake(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def write(self, commit: Commit) -> None:
        assert self._disk is not None, "started first"
        self._disk.submit(self._write, commit)

    def _write(self, commit: Commit) -> None:
        """Runs in the journal's thread."""
        fault: OSError | None = None
        try:
            commit.write()
        except OSError as error:
            fault = error
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
            self._loop.call_soon_threadsafe(self._written, commit, fault)

    def _written(self, commit: Commit, fault: OSError | None) -> None:
        if self._open is None or self._raft is None:
            return
        if fault is not None:
            # After a failed write nobody knows what is on disk: only reading it back at the next start tells.
            self._fail(StorageFault(f"can't write the journal in {self._raft.journal.folder}: {fault}"))
            return
        try:
            self._raft.written(commit)
        except Exception as error:  # noqa: BLE001 - whatever it is, the replica must not go on
            self._fail(error)

    # Turns and timers.

    def _receive(self, peer: str, message: RaftMessage) -> None:
        if self._raft is None:
            return
        try:
            self._raft.receive(peer, message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the replica must not go on
            self._fail(error)

    def _turn(self) -> None:
        self._turn_due = False
        if self._open is None or self._raft is None:
            return
        raft = self._raft
        try:
            raft.turn()
            if self._snapshotting is None and raft.snapshot_due(
                self.settings.snapshot_after_bytes, self.settings.snapshot_after_entries
            ):
                self._snapshotting = self._loop.create_task(self._snapshot(raft))
        except Exception as error:  # noqa: BLE001 - whatever it is, the replica must not go on
            self._fail(error)
            return
        if raft.leader != self._seen_leader:
            self._leader_changed(raft)
        self._arm(raft)

    @staticmethod
    def _observe(raft: Raft) -> None:
        """Have gauges read the state when they are scraped; that costs nothing in between."""
        COMMITTED.set_function(lambda: raft.commit_index)
        APPLIED.set_function(lambda: raft.applied)
        PENDING.set_function(lambda: raft.pending)

    def _leader_changed(self, raft: Raft) -> None:
        if raft.leader:
            LEADER_CHANGES.inc()
        self._seen_leader = raft.leader
        HAS_LEADER.set(bool(raft.leader))
        IS_LEADER.set(raft.is_leader)
        log.info("leader=%s term=%d member=%s", raft.leader or "none", raft.term, self.name)

    def _arm(self, raft: Raft) -> None:
        """Have the one timer stand no later than Raft's deadline; one that stands earlier re-arms when it fires."""
        when = self._loop.time() + max(raft.deadline - self._clock() + LOOP_GRAIN_S, 0)
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._open is None or self._raft is None:
            return
        if self._clock() < self._raft.deadline:
            self._arm(self._raft)
            return
        try:
            self._raft.tick()
        except Exception as error:  # noqa: BLE001 - whatever it is, the replica must not go on
            self._fail(error)
            return
        self._turn()

    async def _snapshot(self, raft: Raft) -> None:
        """Write a snapshot between other work, then compact the log."""
        writer: SnapshotWriter | None = None
        try:
            writer = raft.begin_snapshot()
            while writer.step():
                if writer.sync_due:
                    await self._loop.run_in_executor(None, writer.sync)
                await asyncio.sleep(0)
            await self._loop.run_in_executor(None, writer.sync)
            snapshot = writer.publish()
            writer = None
            raft.compact(self.settings.keep_bytes)
            SNAPSHOTS.inc()
            log.info("wrote snapshot index=%d bytes=%d member=%s", snapshot.index, snapshot.size, self.name)
        except OSError as error:
            SNAPSHOTS_FAILED.inc()
            log.error("no snapshot written, tried again later member=%s error=%s", self.name, error)
            if writer is not None:
                writer.abandon()
                writer = None
            await self._pause(SNAPSHOT_RETRY_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, the replica must not go on
            self._fail(error)
        finally:
            if writer is not None:
                writer.abandon()
            self._snapshotting = None

    def _fail(self, error: Exception) -> None:
        """Stop for good: lead no more, send nothing more, and let `wait` raise."""
        assert self._fault is not None, "started first"
        if self._fault.done():
            return
        reason = str(error) if isinstance(error, (StorageFault, OSError)) else f"internal error: {error!r}"
        log.critical(
            "replica stops member=%s error=%s", self.name, reason, exc_info=not isinstance(error, StorageFault)
        )
        kind = ReplicaReplaced if isinstance(error, SeatLost) else ReplicaFailed
        self._fault.set_exception(kind(f"store replica {self.name} stopped: {reason}"))
        self._fault.exception()  # marks it as seen: the owner may await `wait` or not
        self._failing = self._loop.create_task(self._close())
