"""What the store's hot paths cost, each alone in this one process: `python -m bench.store_paths [seconds]`.

Prints CPU µs per operation, so that a change can be judged while the machine does other things, and a profiler finds
one path at a time:
- a Raft turn: three members that hand each other their messages as they are, with real journals on disk;
- the request path: client, Unix socket, connection, log of one member, machine; writes and reads;
- the fan-out of one change to 1,000 watches, up to the frames for the socket.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import uvloop

from oarlock.consensus.client import StoreClient
from oarlock.consensus.commands import Command
from oarlock.consensus.core import Times
from oarlock.consensus.encoding import encode_command
from oarlock.consensus.journal import Commit, Journal
from oarlock.consensus.machine import Machine
from oarlock.consensus.messages import RaftMessage
from oarlock.consensus.model import Put, Range, Transaction
from oarlock.consensus.raft import Raft
from oarlock.consensus.servedwatches import ServedWatches
from oarlock.consensus.server import StoreServer, StoreSettings
from oarlock.consensus.snapshot import SnapshotFolder
from oarlock.consensus.watch import WatchHub
from oarlock.consensus.wire import WatchRequest

SECONDS = 1.0
VALUE = bytes(1024)
KEYS = 5_000
WATCHERS = 1_000
STEPS_MAX = 1_000


class Member:
    """One Raft with its journal, and a machine that keeps nothing."""

    def __init__(self, name: str, names: str, folder: Path, post: deque[tuple[str, str, RaftMessage]]) -> None:
        self.name = name
        self._post = post
        self._loop = asyncio.get_running_loop()
        peers = [peer for peer in names if peer != name]
        journal, snapshots = Journal(folder / name / "journal"), SnapshotFolder(folder / name / "snapshots")
        rng = random.Random(name)
        self.raft = Raft(name, peers, journal, snapshots, self, self, times=Times(), clock=time.monotonic, rng=rng)

    def send(self, peer: str, message: RaftMessage) -> None:
        self._post.append((self.name, peer, message))

    def flush(self) -> None: ...

    def wake(self) -> None: ...

    def create_future(self) -> asyncio.Future[Any]:
        return self._loop.create_future()

    def write(self, commit: Commit) -> None:
        commit.write()
        self.raft.written(commit)

    def apply(self, index: int, _entry: bytes) -> object:
        return index

    def snapshot(self) -> Iterator[bytes]:
        return iter(())

    def restore(self, chunks: Iterable[bytes]) -> None: ...


class Members:
    """Three members in step: `turn` delivers what is under way and lets each take its turn."""

    def __init__(self, folder: Path) -> None:
        self._post: deque[tuple[str, str, RaftMessage]] = deque()
        self._members = {name: Member(name, "abc", folder, self._post) for name in "abc"}
        for member in self._members.values():
            for peer in self._members:
                if peer != member.name:
                    member.raft.peer_up(peer)

    def elect(self) -> Raft:
        """Return the leader, once there is one."""
        while True:
            self.turn()
            for member in self._members.values():
                if member.raft.is_leader:
                    return member.raft
                if time.monotonic() >= member.raft.deadline:
                    member.raft.tick()

    def turn(self) -> None:
        for _ in range(len(self._post)):
            sender, receiver, message = self._post.popleft()
            self._members[receiver].raft.receive(sender, message)
        for member in self._members.values():
            member.raft.turn()


def raft_turns(folder: Path, batch: int, seconds: float) -> float:
    """Return CPU µs per proposal, of which `batch` are proposed at once."""
    members = Members(folder)
    leader = members.elect()
    entry = encode_command(Command(Transaction(success=(Put(b"key", VALUE),)), 7, 1, 1))

    def step() -> None:
        proposed = [leader.propose(entry) for _ in range(batch)]
        for _ in range(STEPS_MAX):
            if proposed[-1].done():
                return
            members.turn()
        raise RuntimeError("the members don't agree")

    return _cpu_us(step, seconds) / batch


async def requests(folder: Path, in_flight: int, seconds: float) -> tuple[float, float]:
    """Return CPU µs per put and per linearizable get, client and server together."""
    socket = folder / "socket"
    server = StoreServer(StoreSettings("one", {"one": ("127.0.0.1", 0)}, folder / "data", unix_path=socket))
    await server.start()
    client = StoreClient([f"unix:{socket}"])
    try:
        await client.start()
        put = await _requests(lambda number: client.transact(_put(number)), in_flight, seconds)
        get = await _requests(lambda number: client.range(Range(_key(number))), in_flight, seconds)
    finally:
        await client.close()
        await server.stop()
    return put, get


async def _requests(step: Callable[[int], Awaitable[object]], in_flight: int, seconds: float) -> float:
    done = 0
    until = time.perf_counter() + seconds

    async def worker() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await step(done)
            done += 1

    began_s = time.process_time()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return (time.process_time() - began_s) / done * 1e6


def fan_out(seconds: float) -> float:
    """Return CPU µs per delivery of a change to one of `WATCHERS` watches."""
    machine = Machine()
    hub = WatchHub(machine.history, machine.revision)
    watches = ServedWatches(hub, lambda: None)
    for number in range(WATCHERS):
        watches.open(number, WatchRequest(b"key-", b"key.", 0, previous=False, credit=0))
    number = 0

    def step() -> None:
        nonlocal number
        number += 1
        for watch in range(WATCHERS):
            watches.credit(watch, 2)
        _, change = machine.apply(Command(_put(number)))
        assert change is not None
        hub.publish(*change)
        while watches.take(1 << 20):
            pass

    return _cpu_us(step, seconds) / WATCHERS


def _put(number: int) -> Transaction:
    return Transaction(success=(Put(_key(number), VALUE),))


def _key(number: int) -> bytes:
    return b"key-%08d" % (number % KEYS)


def _cpu_us(step: Callable[[], None], seconds: float) -> float:
    count = 0
    began_s, until = time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < until:
        step()
        count += 1
    return (time.process_time() - began_s) / count * 1e6


async def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with tempfile.TemporaryDirectory(prefix="bench-paths-") as root:
        for batch in (1, 16, 256):
            spent_us = raft_turns(Path(root) / f"raft-{batch}", batch, seconds)
            print(f"raft, three members, {batch:3} proposals at once   {spent_us:7.1f} us/proposal")
        for in_flight in (1, 64):
            folder = Path(root) / f"store-{in_flight}"
            folder.mkdir()
            put_us, get_us = await requests(folder, in_flight, seconds)
            print(f"put, client and one member, {in_flight:2} in flight       {put_us:7.1f} us/request")
            print(f"get, client and one member, {in_flight:2} in flight       {get_us:7.1f} us/request")
    print(f"watch, {WATCHERS} watchers of one key range       {fan_out(seconds):7.2f} us/delivery")


if __name__ == "__main__":
    uvloop.run(main())
