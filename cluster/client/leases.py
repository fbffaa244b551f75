"""Hold a leader lease through the API server, so that at most one holder acts at a time.

The epoch that a holder gets is compared with every write it makes (`Oarlock-Fence`), so even a holder that doesn't
know yet that it was deposed changes nothing. Source: DESIGN "Leases, fencing, shards".
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import orjson
from prometheus_client import Counter, Histogram

from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.objects.status import ApiError

LEASES_PATH: Final = "/oarlock/v1/leases"

_RENEWALS_PER_TTL = 3
_MARGIN = 0.1
"""The share of the TTL that the holder gives up at its end, for the time it takes to stop."""
_RETRY_FIRST_S, _RETRY_MAX_S = 0.05, 1.0
_TICK_S = 0.001
"""The shortest wait: two clocks never agree to the last bit."""
_ASKING_MAX = 4
"""Renewals that may be unanswered at a time."""
_CONFLICT, _NOT_FOUND = 409, 404
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

RENEWAL_SECONDS = Histogram("oarlock_lease_renewal_seconds", "From asking to the answer.", ["name"], buckets=_SECONDS)
LOST = Counter(
    "oarlock_lease_lost", "Terms that ended unasked: refused by the server, or unconfirmed in time.", ["name", "why"]
)

_log = logging.getLogger(__name__)


def boottime() -> float:
    """Seconds that go on while this machine sleeps, as the count of a TTL does on the others."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Holding:
    """One term of holding a lease. Caches must have reached `revision` before the holder acts."""

    name: str
    epoch: int
    revision: int

    @property
    def fence(self) -> str:
        """The value of the `Oarlock-Fence` header."""
        return f"{self.name}={self.epoch}"


class LeaseHolder:
    """Acquires, renews and gives up one lease for one identity.

    `ttl_s` is counted on `clock` from before the request was sent; `held` is false and `lost()` returns before it
    ends. Needs a client without a fence of its own.
    """

    def __init__(
        self,
        client: ApiClient,
        name: str,
        identity: str,
        *,
        ttl_s: float = 1.5,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._client, self._path = client, f"{LEASES_PATH}/{name}"
        self.name, self.identity = name, identity
        self._ttl_s, self._clock = ttl_s, clock
        self._holding: Holding | None = None
        self._sent = self._deadline = 0.0
        self._renewing: asyncio.Task[None] | None = None
        self._attached: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        """Whether the lease is ours for certain at this moment."""
        return self._holding is not None and self._clock() < self._deadline

    @property
    def fence(self) -> str | None:
        """`NAME=EPOCH` of the present term, or None while the lease isn't held."""
        return self._holding.fence if self._holding is not None and self.held else None

    async def acquire(self) -> Holding:
        """Return once the lease is ours, taking over the moment it falls free; renewals then go on by themselves."""
        retry_s = _RETRY_FIRST_S
        while True:
            try:
                holding = await self._try_acquire()
                if holding is not None:
                    self._holding = holding
                    loop = asyncio.get_running_loop()
                    self._renewing = loop.create_task(self._renew(holding))
                    self._attached = loop.create_task(self._attach(holding))
                    _log.info("lease acquired name=%s identity=%s epoch=%d", self.name, self.identity, holding.epoch)
                    return holding
                await self._until_free()
                retry_s = _RETRY_FIRST_S
            except (Unreachable, ApiError, TimeoutError) as error:
                _log.debug("lease not acquired name=%s error=%r", self.name, str(error))
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, _RETRY_MAX_S)

    async def lost(self) -> None:
        """Return when the term that `acquire()` began is over, for whatever reason."""
        if self._renewing is not None:
            await asyncio.wait((self._renewing,))

    async def release(self) -> None:
        """End the term and let the next holder in at once. Idempotent; failures leave it to the TTL."""
        holding, self._holding = self._holding, None
        await self._stop_renewing()
        if holding is None or self._clock() >= self._deadline:
            return
        self._deadline = 0.0
        try:
            async with asyncio.timeout(self._ttl_s):
                await self._post("release", {"identity": self.identity, "epoch": holding.epoch})
        except (Unreachable, ApiError, TimeoutError) as error:
            _log.debug("lease left to its TTL name=%s error=%r", self.name, str(error))

    async def lead(self, act: Callable[[Holding], Awaitable[object]]) -> None:
        """Acquire, run `act(holding)`, cancel it when the lease is lost, and begin anew; until cancelled.

        An exception out of `act` releases the lease and is raised; a normal return releases it and returns.
        """
        while True:
            holding = await self.acquire()
            acting = asyncio.ensure_future(act(holding))
            losing = asyncio.ensure_future(self.lost())
            try:
                await asyncio.wait((acting, losing), return_when=asyncio.FIRST_COMPLETED)
                if acting.done():
                    acting.result()
                    return
            finally:
                for task in (acting, losing):
                    task.cancel()
                await asyncio.wait((acting, losing))
                await self.release()

    async def _try_acquire(self) -> Holding | None:
        sent = self._clock()
        try:
            async with asyncio.timeout(self._ttl_s):
                answer = await self._post("acquire", {"identity": self.identity, "ttlMillis": self._ttl_ms})
        except ApiError as error:
            if error.code == _CONFLICT:
                return None
            raise
        self._sent, self._deadline = sent, self._term_of(sent)
        if self._clock() >= self._deadline:
            return None
        return Holding(self.name, int(answer["epoch"]), int(answer["revision"]))

    async def _renew(self, holding: Holding) -> None:
        """Renew until the lease is refused or can't be confirmed before its deadline.

        A request that isn't answered for half an interval gets another one beside it, over another connection: it may
        be stuck at a server that is dying. It is waited for all the same: a machine that is busy answers late.
        """
        interval_s = self._ttl_s / _RENEWALS_PER_TTL
        asking: set[asyncio.Task[float | None]] = set()
        due = self._sent + interval_s
        try:
            while (now := self._clock()) < self._deadline:
                if now >= due and len(asking) < _ASKING_MAX:
                    if asking:
                        self._client.doubt()
                    asking.add(asyncio.get_running_loop().create_task(self._ask(holding, now)))
                    due = now + interval_s / 2
                until = min(due, self._deadline) if len(asking) < _ASKING_MAX else self._deadline
                done, asking = await _first(asking, max(until - now, _TICK_S))
                for one in done:
                    sent = one.result()
                    due = min(due, now + _RETRY_FIRST_S) if sent is None else max(due, sent + interval_s)
            LOST.labels(self.name, "unconfirmed").inc()
            _log.warning("lease expired unrenewed name=%s epoch=%d", self.name, holding.epoch)
        except ApiError as error:
            LOST.labels(self.name, "refused").inc()
            _log.warning("lease lost name=%s epoch=%d error=%r", self.name, holding.epoch, error.message)
        finally:
            self._holding = None
            await _end(asking)

    async def _ask(self, holding: Holding, sent: float) -> float | None:
        """Renew once; return `sent` if that went well. Raises the ApiError that says that the lease has passed on."""
        try:
            async with asyncio.timeout(self._ttl_s):
                await self._post("renew", {"identity": self.identity, "epoch": holding.epoch})
        except ApiError as error:
            if error.code in (_CONFLICT, _NOT_FOUND):
                raise
            return None
        except (Unreachable, TimeoutError):
            return None
        RENEWAL_SECONDS.labels(self.name).observe(self._clock() - sent)
        self._deadline = max(self._deadline, self._term_of(sent))
        return sent

    def _term_of(self, sent: float) -> float:
        """Return until when a term lasts that was asked for at `sent`."""
        return sent + self._ttl_s * (1 - _MARGIN)

    async def _attach(self, holding: Holding) -> None:
        """Keep a connection open by whose end the server notices ours, and make a broken one good.

        To attach is to renew; the server ends the lease of a holder that is gone from its connection and does neither.
        """
        mine = {"identity": self.identity, "epoch": str(holding.epoch)}
        retry_s = _RETRY_FIRST_S
        while True:
            sent = self._clock()
            try:
                async with aclosing(self._states(mine)) as states:
                    async for state in states:
                        retry_s = _RETRY_FIRST_S
                        if state.get("epoch") == holding.epoch:
                            self._deadline = max(self._deadline, self._term_of(sent))
            except (Unreachable, ApiError) as error:
                _log.debug("lease not attached name=%s error=%r", self.name, str(error))
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, self._ttl_s / _RENEWALS_PER_TTL)

    async def _until_free(self) -> None:
        """Watch the lease until nobody holds it; the first line tells how it is now."""
        async with aclosing(self._states()) as states:
            async for state in states:
                if state["type"] == "FREE" or state.get("holder") == self.identity:
                    return
        # A server that is leaving ends the watch at once.
        await asyncio.sleep(_RETRY_FIRST_S)

    async def _states(self, own: Mapping[str, str] | None = None) -> AsyncGenerator[dict[str, Any], None]:
        async with aclosing(self._client.lines(self._path, {"watch": "1", **(own or {})})) as lines:
            async for line in lines:
                yield orjson.loads(line)

    async def _stop_renewing(self) -> None:
        tasks = [one for one in (self._renewing, self._attached) if one is not None]
        self._renewing = self._attached = None
        await _end(tasks)

    async def _post(self, verb: str, body: dict[str, object]) -> dict[str, Any]:
        return await self._client.create(f"{self._path}/{verb}", body)

    @property
    def _ttl_ms(self) -> int:
        return int(self._ttl_s * 1000)


async def _first(
    asking: set[asyncio.Task[float | None]], within_s: float
) -> tuple[set[asyncio.Task[float | None]], set[asyncio.Task[float | None]]]:
    """Wait until one is done, at most so long; return those that are and those that aren't."""
    if not asking:
        await asyncio.sleep(within_s)
        return set(), set()
    return await asyncio.wait(asking, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel and reap tasks, whatever they end with."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()
