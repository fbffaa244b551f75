"""Those who hold a lease in turns and write under its fence: actors, with the API server that they go through.

Lease and fence are the real ones: `LeaseHolder` as actors use it, `Leases` and `Storage` as an API server has them,
without HTTP. A contender writes on when its term is over, as one does that doesn't know it yet.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from oarlock.cluster.apiserver.exchange import Answer, Query, Request, Response, Stream
from oarlock.cluster.apiserver.leases import Leases
from oarlock.cluster.apiserver.storage import Fence, Stale, Storage
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.leases import Holding, LeaseHolder
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.commands import Grant, Revoke
from oarlock.consensus.model import (
    LeaseStatus,
    Range,
    RangeResult,
    StoreError,
    Transaction,
    TransactionResult,
    UnknownOutcome,
)

if TYPE_CHECKING:
    from simulation.clients import ClientHost, Program

LEASE = "actor"
OBJECTS = (b"object/0", b"object/1")
OBJECT = {"apiVersion": "v1", "kind": "Value", "metadata": {"name": "one"}}
TTLS_S = (0.6, 1.2)
PAUSE_S = 0.3
"""Between two writes of a holder, on average."""


def boottime(host: ClientHost) -> float:
    """Return a clock that goes on while the host sleeps."""
    return host.world.schedule.now


class Recorded:
    """The store, as far as leases and objects ask for it, with every call on record, under `fence` if there is one."""

    def __init__(self, program: Program, fence: tuple[bytes, int] | None = None) -> None:
        self._program, self._client, self._fence = program, program.client, fence

    async def range(self, request: Range, *, serializable: bool = False) -> RangeResult:
        answer = self._client.range(request, serializable=serializable)
        return await self._call("range", (request, serializable), answer)

    async def transact(self, transaction: Transaction) -> TransactionResult:
        return await self._call("transact", transaction, self._client.transact(transaction))

    async def lease_grant(self, ttl_ms: int) -> LeaseStatus:
        return await self._call("grant", Grant(0, ttl_ms), self._client.lease_grant(ttl_ms))

    async def lease_keep_alive(self, lease: int) -> LeaseStatus:
        return await self._call("keep_alive", lease, self._client.lease_keep_alive(lease))

    async def lease_revoke(self, lease: int) -> None:
        await self._call("revoke", Revoke(lease), self._client.lease_revoke(lease))

    def watch(self, key: bytes, range_end: bytes, start_revision: int) -> Any:
        return self._client.watch(key, range_end, start_revision)

    async def _call(self, kind: str, request: Any, answer: Awaitable[Any]) -> Any:
        outcome = await self._program.answered(kind, request, answer, self._fence)
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome


class Api:
    """What a `LeaseHolder` asks of its client, answered by an API server's leases in the same process."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases

    async def create(self, path: str, body: Mapping[str, Any]) -> Any:
        answer = await self._answer("POST", path, {}, orjson.dumps(body))
        assert isinstance(answer, Response)
        assert isinstance(answer.body, bytes)
        return orjson.loads(answer.body)

    def lines(self, path: str, params: Mapping[str, str]) -> Lines:
        return Lines(self._answer("GET", path, params, b""))

    async def _answer(self, method: str, path: str, params: Mapping[str, str], body: bytes) -> Answer:
        async def read() -> bytes:
            return body

        try:
            return await self._leases.handle(Request(method, path, Query(urlencode(params)), {}, read))
        except StoreError as error:
            raise Unreachable(str(error), sent=True) from None


class Lines:
    """A streamed answer line by line, without a network.

    It is no generator: those that a killed program leaves behind can't be closed.
    """

    def __init__(self, answer: Awaitable[Answer]) -> None:
        self._answer = answer
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._writing: asyncio.Task[None] | None = None

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> bytes:
        if self._writing is None:
            answer = await self._answer
            assert isinstance(answer, Stream)
            self._writing = asyncio.ensure_future(self._write(answer))
        line = await self._lines.get()
        if line is None:
            raise StopAsyncIteration
        return line

    async def aclose(self) -> None:
        if self._writing is not None:
            self._writing.cancel()

    async def _write(self, answer: Stream) -> None:
        try:
            with suppress(StoreError):
                await answer.run(self)
        finally:
            self.abort()

    # As the sending side sees it.

    def write(self, data: bytes) -> None:
        for line in data.splitlines():
            self._lines.put_nowait(line)

    async def drain(self) -> None:
        """Nothing is in the way."""

    def unsent(self) -> int:
        return 0

    def abort(self) -> None:
        self._lines.put_nowait(None)


class Contender:
    """Competes with those of other programs, term after term, until the world is to be quiet."""

    def __init__(self, program: Program, host: ClientHost) -> None:
        self._program, self._host, self._world = program, host, program.world
        self._rng = random.Random(program.rng.getrandbits(64))
        self._api: Any = Api(Leases(Recorded(program)))  # type: ignore[arg-type]
        self.holder: LeaseHolder | None = None

    async def run(self) -> None:
        term = 0
        while not self._world.quiet:
            term += 1
            identity, clock = f"{self._program.number}.{term}", self._clock()
            ttl_s = self._rng.choice(TTLS_S)
            self.holder = holder = LeaseHolder(self._api, LEASE, identity, ttl_s=ttl_s, clock=clock)
            try:
                holding = await self._unless_quiet(holder.acquire())
                if holding is not None:
                    await self._hold(holder, holding)
            finally:
                await holder.release()

    def _clock(self) -> Callable[[], float]:
        return lambda: boottime(self._host)

    async def _unless_quiet(self, acquiring: Awaitable[Holding]) -> Holding | None:
        task = asyncio.ensure_future(acquiring)
        while not task.done() and not self._world.quiet:
            await asyncio.wait((task,), timeout=0.2)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
        return None if task.cancelled() else task.result()

    async def _hold(self, holder: LeaseHolder, holding: Holding) -> None:
        """Write under the term's fence, and once or twice more after its end."""
        self._world.acquired(self, holding)
        late = self._rng.randrange(3)
        writes = self._rng.randrange(1, 20)
        while not self._world.quiet and (writes or late):
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            await self._write(holding)
            if holder.held and writes:
                writes -= 1
            elif holder.held:
                await holder.release()
            else:
                writes, late = 0, max(late - 1, 0)

    async def _write(self, holding: Holding) -> None:
        fence = Fence(holding.name, holding.epoch)
        storage: Any = Storage(Recorded(self._program, (fence.key, fence.epoch)), None)  # type: ignore[arg-type]
        key, world = self._rng.choice(OBJECTS), self._world
        try:
            present = await storage.live(key)
            await storage.put(key, {**OBJECT, "value": world.next_value()}, present, (fence,))
        except ApiError:
            world.stats["fenced_off"] += 1
        except (StoreError, Stale) as error:
            world.stats["fenced_unknown"] += isinstance(error, UnknownOutcome)
        else:
            world.stats["fenced_writes"] += 1
