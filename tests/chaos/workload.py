"""What the clients of a run do: transactions, reads of both kinds, leases, watches, compactions."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from contextlib import suppress

from chaos.recording import Recorder
from checking.history import Read

from oarlock.consensus.client import StoreClient
from oarlock.consensus.commands import Compact, Grant, Revoke
from oarlock.consensus.model import Compare, Delete, Operation, Put, Range, Transaction

KEYS = [b"k%d" % number for number in range(8)]
SPANS = [*((key, b"") for key in KEYS), (b"k0", b"k4"), (b"k", b"l"), (b"\0", b"\0")]
WORKERS = 4
PAUSE_S = 0.02
"""Between a worker's calls, on average."""
READ_WAIT_S = 2.0
"""How long one replica, which may be stopped, is waited for."""
COMPACT_LAG = 200
GIVEN_UP = 0.03
"""Share of transactions whose caller doesn't wait for the answer."""


class Client:
    """One client program: workers, a lease holder and a watcher that share a connection."""

    def __init__(
        self, number: int, store: StoreClient, recorder: Recorder, rng: random.Random, values: Iterator[int]
    ) -> None:
        self.number = number
        self.store = store
        self._recorder = recorder
        self._rng = rng
        self._values = values
        self._over = False

    def stop(self) -> None:
        """Finish what was begun."""
        self._over = True

    async def run(self) -> None:
        watcher = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(self._work())
                group.create_task(self._hold_leases())
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _work(self) -> None:
        actions = (
            *(self._put, self._swap, self._mixed, self._delete),
            *(self._read, self._read_one, self._revision, self._compact),
        )
        while not self._over:
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            await self._rng.choices(actions, (30, 20, 10, 6, 30, 10, 6, 0.3))[0]()

    def _value(self) -> bytes:
        return b"%d" % next(self._values) + b"." * self._rng.choice((0, 0, 50, 2000))

    async def _transact(self, transaction: Transaction) -> None:
        """Run a transaction; some are given up at once, and may happen all the same."""
        patience_s = self._rng.uniform(0, 0.004) if self._rng.random() < GIVEN_UP else None
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._recorder.call(self.number, "transact", transaction, self.store.transact(transaction))

    async def _put(self) -> None:
        put = Put(self._rng.choice(KEYS), self._value(), 0, self._rng.random() < 0.5)
        await self._transact(Transaction((), (put,)))

    async def _swap(self) -> None:
        """Read a key and write it if it hasn't changed meanwhile."""
        key = self._rng.choice(KEYS)
        request = Range(key)
        found = await self._recorder.call(self.number, "range", Read(request), self.store.range(request))
        if found is not None:
            revision = found.kvs[0].mod_revision if found.kvs else 0
            compare = Compare(key, "mod", "==", revision)
            await self._transact(Transaction((compare,), (Put(key, self._value(), 0, previous=True),), (Range(key),)))

    async def _mixed(self) -> None:
        compare = Compare(self._rng.choice(KEYS), "version", self._rng.choice(("<", ">")), self._rng.randrange(5))
        await self._transact(Transaction((compare,), self._operations(), self._operations()))

    def _operations(self) -> tuple[Operation, ...]:
        found: list[Operation] = []
        for key in self._rng.sample(KEYS, 3):
            put = Put(key, self._value())
            found.append(self._rng.choice((put, put, Delete(key, b"", previous=True), Range(key))))
        return tuple(found)

    async def _delete(self) -> None:
        key, range_end = self._rng.choice(SPANS[:9])
        await self._transact(Transaction((), (Delete(key, range_end, previous=True),)))

    async def _read(self) -> None:
        rng = self._rng
        known = self._recorder.revision
        revision = rng.choice((0, 0, 0, 1)) * max(known - rng.randrange(-3, 60), 1)
        request = Range(*rng.choice(SPANS), rng.choice((0, 0, 2)), revision, rng.random() < 0.1, rng.random() < 0.1)
        serializable = rng.random() < 0.3
        answer = self.store.range(request, serializable=serializable)
        await self._recorder.call(self.number, "range", Read(request, serializable), answer)

    async def _read_one(self) -> None:
        """Read what some replica holds by itself."""
        if links := list(self.store._links):
            request = Range(*self._rng.choice(SPANS))
            await self._recorder.read_one(self.number, self._rng.choice(links), request, READ_WAIT_S)

    async def _revision(self) -> None:
        await self._recorder.call(self.number, "revision", None, self.store.revision())

    async def _compact(self) -> None:
        """Compact what the run's own log has long had."""
        revision = self._recorder.revision - COMPACT_LAG
        if revision > 1:
            await self._recorder.call(self.number, "compact", Compact(revision), self.store.compact(revision))

    async def _hold_leases(self) -> None:
        while not self._over:
            ttl_ms = self._rng.choice((800, 1500, 3000))
            granted = await self._recorder.call(self.number, "grant", Grant(0, ttl_ms), self.store.lease_grant(ttl_ms))
            if granted is not None:
                await self._hold(granted.lease, ttl_ms)

    async def _hold(self, lease: int, ttl_ms: int) -> None:
        """Put keys under a lease, renew it for a while, then end it or let it end."""
        for number in range(self._rng.randrange(1, 4)):
            await self._transact(Transaction((), (Put(b"l/%d/%d" % (self.number, number), self._value(), lease),)))
        for _ in range(self._rng.randrange(6)):
            await asyncio.sleep(ttl_ms / 3000)
            if self._over:
                break
            renewed = self.store.lease_keep_alive(lease)
            if await self._recorder.call(self.number, "keep_alive", lease, renewed) is None:
                break
        if self._rng.random() < 0.4:
            await self._recorder.call(self.number, "revoke", Revoke(lease), self.store.lease_revoke(lease))
        else:
            await self._recorder.call(self.number, "lease_status", lease, self.store.lease_status(lease))

    async def _watch(self) -> None:
        while True:
            key, range_end = self._rng.choice(SPANS)
            start = self._rng.choice((0, max(self._recorder.revision - self._rng.randrange(-2, 100), 1)))
            previous, batches = self._rng.random() < 0.5, self._rng.choice((5, 100, 1000))
            watched = self._recorder.watch
            await watched(self.number, self.store, key, range_end, start, previous=previous, batches=batches)
            await asyncio.sleep(0.01)


def numbers() -> Iterator[int]:
    """Return values that no two writes share."""
    return itertools.count(1)
