"""Programs that use the store through the real client library, and write down what they asked and what they saw."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from harness.replicas import name_of, read_at
from simulation.clock import HostClock
from simulation.contenders import Contender
from simulation.members import CLIENT_PORT
from simulation.process import Process

from oarlock.consensus.client import StoreClient
from oarlock.consensus.commands import Compact, Grant, Revoke
from oarlock.consensus.model import (
    Compare,
    Delete,
    LeaseStatus,
    Operation,
    Put,
    Range,
    Relation,
    StoreError,
    Target,
    Transaction,
    TransactionResult,
    Unavailable,
    UnknownOutcome,
)

if TYPE_CHECKING:
    from simulation.world import World

WORKERS = 3
KEYS = [b"k%d" % number for number in range(6)]
END = b"\xff"
EVERYTHING = (b"\0", b"\0")
TARGETS: tuple[Target, ...] = ("version", "create", "mod", "lease", "value")
RELATIONS: tuple[Relation, ...] = ("==", "!=", "<", ">")


class ClientHost:
    """A host that runs one client program after another. `program` is None while it has none."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.name = f"client{number}"
        self.number = number
        self.rng = random.Random(world.rng.getrandbits(64))
        self.clock = HostClock(world.schedule, self.rng.uniform(0, 1e6))
        self.process: Process | None = None
        self.program: Program | None = None

    def boot(self) -> None:
        if self.process is None:
            self.process = Process(self.world.around, self.name, self.clock)
            self.world.processes.append(self.process)
            with self.process:
                self.program = Program(self.world, self)
            self.process.start(self.program.main()).add_done_callback(self._ended)

    def _ended(self, program: asyncio.Task[None]) -> None:
        if not program.cancelled() and (error := program.exception()) is not None:
            self.world.violate(f"{self.name}: {error!r}: {getattr(error, 'exceptions', '')}")

    def kill(self) -> None:
        """End the program as by kill -9; what it waited for may happen or not."""
        process, self.process, self.program = self.process, None, None
        if process is not None:
            process.die()
            self.world.network.process_died(process, powerless=False)


class Program:
    """One run of a client program: a few workers, holders of leases and watchers share one `StoreClient`."""

    def __init__(self, world: World, host: ClientHost) -> None:
        self.world = world
        self.rng = host.rng
        self.number = world.next_client()
        self.client = self._connection()
        self.seen_revision = 1
        self.wrote_s = 0.0
        """When a write was acknowledged last."""
        self.idle = 0
        """How many of the tasks have come to rest."""
        self.contender = Contender(self, host) if world.settings.contended else None

    def _connection(self) -> StoreClient:
        world, rng = self.world, self.rng
        endpoints = [f"{name}:{CLIENT_PORT}" for name in world.names]
        rng.shuffle(endpoints)
        client = StoreClient(endpoints, wait_s=world.settings.client_wait_s)
        client._rng = random.Random(rng.getrandbits(64))
        client._client = rng.randrange(1, 1 << 63)
        return client

    async def main(self) -> None:
        while not await self._connected():
            self.client = self._connection()
        world = self.world
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())
            group.create_task(self._hold_leases())
            if self.contender is not None:
                group.create_task(self._contend(self.contender))
            for _ in range(world.settings.watches):
                group.create_task(self._watch())

    async def _connected(self) -> bool:
        try:
            await self.client.start()
        except StoreError:
            return False
        return True

    # Calls, written down.

    async def call(self, kind: str, request: Any, answer: Awaitable[Any]) -> Any:
        """Await an answer and put it on record; return it, or None if it was an error."""
        outcome = await self.answered(kind, request, answer)
        return None if isinstance(outcome, StoreError) else outcome

    async def answered(
        self, kind: str, request: Any, answer: Awaitable[Any], fence: tuple[bytes, int] | None = None
    ) -> Any:
        """Await an answer and put it on record; return it, or the error that came instead."""
        world = self.world
        record = world.recorder.invoked(self.number, kind, request)
        record.fence = fence if kind == "transact" else None
        try:
            outcome = await answer
        except StoreError as error:
            outcome = error
        world.recorder.returned(record, outcome)
        if isinstance(outcome, StoreError):
            world.stats["unknown_outcomes"] += isinstance(outcome, UnknownOutcome)
        else:
            self.seen_revision = max(self.seen_revision, getattr(outcome, "revision", 1))
        return outcome

    async def transact(self, transaction: Transaction) -> TransactionResult | None:
        result: TransactionResult | None = await self.call("transact", transaction, self.client.transact(transaction))
        if result is not None:
            self.wrote_s = self.world.schedule.now
        return result

    @property
    def at_rest(self) -> bool:
        return self.idle == WORKERS + 1 + (self.contender is not None)

    # Workers.

    async def _work(self) -> None:
        rng = self.rng
        actions, weights = zip(*ACTIONS.items(), strict=True)
        while not self.world.quiet:
            await asyncio.sleep(rng.expovariate(self.world.settings.calls_per_s))
            await rng.choices(actions, weights)[0](self)
        self.idle += 1

    def _value(self) -> bytes:
        size = self.rng.choice((0, 0, 0, 40, self.world.settings.value_bytes))
        return b"%d" % self.world.next_value() + b"." * size

    def _span(self) -> tuple[bytes, bytes]:
        rng = self.rng
        if rng.random() < 0.5:
            return rng.choice(KEYS), b""
        if rng.random() < 0.3:
            return EVERYTHING
        low, high = sorted(rng.sample([*KEYS, END], 2))
        return low, high

    def _revision(self) -> int:
        """Choose a revision to read at: mostly now, at times a past one or one that is yet to come."""
        rng = self.rng
        if rng.random() < 0.7:
            return 0
        return max(self.seen_revision - rng.randrange(12) + rng.choice((0, 0, 0, 2)), 1)

    async def put(self) -> None:
        await self.transact(Transaction((), (Put(self.rng.choice(KEYS), self._value(), 0, self.rng.random() < 0.5),)))

    async def swap(self) -> None:
        """Read a key and write it if it hasn't changed meanwhile."""
        key = self.rng.choice(KEYS)
        request = Range(key)
        found = await self.call("range", (request, False), self.client.range(request))
        if found is not None:
            revision = found.kvs[0].mod_revision if found.kvs else 0
            compare = Compare(key, "mod", "==", revision)
            await self.transact(Transaction((compare,), (Put(key, self._value(), 0, True),), (Range(key),)))

    async def delete(self) -> None:
        span = self._span()
        if self.contender is not None and span == EVERYTHING:
            span = KEYS[0], END  # or else a lease's key would go that somebody holds
        await self.transact(Transaction((), (Delete(*span, self.rng.random() < 0.5),)))

    async def mixed(self) -> None:
        """A transaction of several operations on either side."""
        await self.transact(Transaction(tuple(self._compares()), tuple(self._operations()), tuple(self._operations())))

    def _compares(self) -> list[Compare]:
        rng = self.rng
        compares = []
        for _ in range(rng.randrange(3)):
            target = rng.choice(TARGETS)
            value: int | bytes = b"5" if target == "value" else rng.choice((0, 1, 3, self.seen_revision))
            compares.append(Compare(rng.choice(KEYS), target, rng.choice(RELATIONS), value))
        return compares

    def _operations(self) -> list[Operation]:
        rng = self.rng
        keys = rng.sample(KEYS, 3)
        operations: list[Operation] = []
        for key in keys[: rng.randrange(4)]:
            kind = rng.random()
            if kind < 0.5:
                operations.append(Put(key, self._value(), 0, rng.random() < 0.5))
            elif kind < 0.75:
                operations.append(Delete(key, b"", rng.random() < 0.5))
            else:
                operations.append(Range(*self._span(), rng.randrange(3)))
        return operations

    async def read(self) -> None:
        rng = self.rng
        request = Range(
            *self._span(), rng.choice((0, 0, 1, 3)), self._revision(), rng.random() < 0.1, rng.random() < 0.1
        )
        serializable = rng.random() < 0.25
        await self.call("range", (request, serializable), self.client.range(request, serializable=serializable))

    async def read_one(self) -> None:
        """Read what some member holds by itself, and put on record which running process that was."""
        links, world = list(self.client._links), self.world
        if not links:
            return
        link, deadline_s = self.rng.choice(links), asyncio.get_running_loop().time() + world.settings.client_wait_s
        try:
            member = world.members[await name_of(link, deadline_s)]
        except (StoreError, TimeoutError):
            return
        life, request = member.lives, Range(*self._span())
        record = world.recorder.invoked(self.number, "range", (request, True))
        try:
            outcome: Any = await read_at(link, request, deadline_s)
        except TimeoutError:
            outcome = Unavailable("no answer in time")
        except StoreError as error:
            outcome = error
        world.recorder.returned(record, outcome)
        if member.lives == life:
            record.replica = f"{member.name}#{life}"

    async def revision(self) -> None:
        revision = await self.call("revision", None, self.client.revision())
        self.seen_revision = max(self.seen_revision, revision or 1)

    async def burst(self) -> None:
        """Several calls at once; some are given up before their answer comes."""
        calls = [asyncio.ensure_future(self.rng.choice((self.put, self.read, self.swap))()) for _ in range(4)]
        await asyncio.gather(*calls)

    async def compact(self) -> None:
        revision = self.seen_revision - self.rng.choice((0, 5, 20, 40))
        if revision > 1:
            await self.call("compact", Compact(revision), self.client.compact(revision))

    async def wrong(self) -> None:
        """Something that no store may carry out."""
        key = self.rng.choice(KEYS)
        twice = Transaction((), (Put(key, self._value()), Put(key, self._value())))
        await self.transact(self.rng.choice((twice, Transaction((), (Put(key, self._value(), 987654321),)))))

    # Leases.

    async def _hold_leases(self) -> None:
        while not self.world.quiet:
            await asyncio.sleep(self.rng.uniform(0.1, 1))
            await self._hold_lease(self.rng.choice((600, 1200, 2500)))
        self.idle += 1

    async def _hold_lease(self, ttl_ms: int) -> None:
        rng = self.rng
        granted: LeaseStatus | None = await self.call("grant", Grant(0, ttl_ms), self.client.lease_grant(ttl_ms))
        if granted is None:
            return
        lease = granted.lease
        for _ in range(rng.randrange(1, 3)):
            key = rng.choice((b"lease/%d/%d" % (self.number, rng.randrange(3)), rng.choice(KEYS)))
            await self.transact(Transaction((), (Put(key, self._value(), lease),)))
        for _ in range(rng.randrange(8)):
            if self.world.quiet:
                return
            await asyncio.sleep(ttl_ms / 3000)
            if await self.call("keep_alive", lease, self.client.lease_keep_alive(lease)) is None:
                break
        ending = rng.random()
        if ending < 0.3:
            await self.call("revoke", Revoke(lease), self._revoke(lease))
        elif ending < 0.6:
            await self.call("lease_status", lease, self.client.lease_status(lease))

    async def _revoke(self, lease: int) -> None:
        await self.client.lease_revoke(lease)

    async def _contend(self, contender: Contender) -> None:
        await contender.run()
        self.idle += 1

    # Watches.

    async def _watch(self) -> None:
        """Watch a range, and go on behind what was seen whenever the watch ends, until the world does."""
        world, rng = self.world, self.rng
        while not world.over:
            key, range_end = rng.choice(
                ((b"\0", b"\0"), (b"k", b"l"), (KEYS[0], b""), (KEYS[1], KEYS[4]), (b"lease/", b"lease0"))
            )
            past, future = self.seen_revision - rng.randrange(30), self.seen_revision + rng.randrange(2, 60)
            start = rng.choice((0, 0, 0, max(past, 1), max(past, 1), future))
            await self._read_watch(
                key, range_end, start, previous=rng.random() < 0.5, batches=rng.choice((20, 200, 10**9))
            )

    async def _read_watch(self, key: bytes, range_end: bytes, start: int, *, previous: bool, batches: int) -> None:
        world = self.world
        record = world.recorder.watch_opened(self.number, key, range_end, start, previous=previous)
        watch = self.client.watch(key, range_end, start, previous=previous)
        try:
            async for batch in watch:
                world.recorder.watched(record, batch)
                world.stats["watch_batches"] += 1
                if not world.quiet and self.rng.random() < world.settings.slow_watcher:
                    await asyncio.sleep(self.rng.uniform(0.1, 1.5))
                batches -= 1
                if not batches:
                    break
        except StoreError as error:
            world.recorder.watch_ended(record, error)
            await asyncio.sleep(0.05)
        else:
            world.recorder.watch_closed(record)
            await watch.close()


ACTIONS: dict[Callable[[Program], Awaitable[None]], int] = {
    Program.put: 30,
    Program.swap: 15,
    Program.mixed: 12,
    Program.delete: 6,
    Program.read: 20,
    Program.read_one: 5,
    Program.revision: 5,
    Program.burst: 3,
    Program.compact: 1,
    Program.wrong: 1,
}
"""What workers do, by weight."""
