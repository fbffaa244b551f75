"""What the store benchmarks ask of a store, and how it is timed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bench.drivers import Driver
from bench.report import quantile
from bench.trios import cpu_s

KEYS = 4_096
LISTED = 1_000
PREFIX = b"/registry/core/pods/default/pod-"
END = b"/registry/core/pods/default/pod."
VALUE = bytes(range(256)) * 4
WARM_UP = 0.15
"""The share of a measurement's time that runs before it, uncounted."""
FILL_IN_FLIGHT = 256
WATCHED, WATCHED_END = b"/watched/", b"/watched0"
STRIDE = 2_039
"""Prime: neighbours in time aren't neighbours in the key space."""

Step = Callable[[int], Awaitable[object]]


@dataclass(frozen=True)
class Sample:
    """One measurement. `servers_us` and `client_us` are CPU per operation, of three servers and of the one client."""

    per_second: float
    p50_ms: float
    p99_ms: float
    servers_us: float
    client_us: float


def key(number: int) -> bytes:
    return PREFIX + b"%08d" % (number * STRIDE % KEYS)


def listed_range() -> tuple[bytes, bytes]:
    return PREFIX + b"%08d" % 0, PREFIX + b"%08d" % LISTED


class Workloads:
    """Each method returns the step that one of `in_flight` workers takes again and again."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._mod_revisions: dict[bytes, int] = {}

    def step(self, name: str) -> Step:
        steps: dict[str, Step] = {
            "put": lambda number: self._driver.put(key(number), VALUE),
            "transaction": self._update,
            "linearizable get": lambda number: self._driver.get(key(number)),
            "serializable get": lambda number: self._driver.get(key(number), serializable=True),
            "range of 1,000": lambda _: self._driver.list(*listed_range(), LISTED),
            "lease": lambda _: self._driver.lease(),
        }
        return steps[name]

    async def _update(self, number: int) -> None:
        """Update one of the keys that only updates touch; no two updates in flight have the same."""
        updated = b"/registry/core/configmaps/default/map-%08d" % (number % KEYS)
        known = self._mod_revisions.get(updated, 0)
        self._mod_revisions[updated] = await self._driver.update(updated, VALUE, known)

    async def fill(self, keys: int, value: bytes, prefix: bytes) -> None:
        """Put so many keys of 8 digits after `prefix`."""
        await _all(lambda number: self._driver.put(prefix + b"%08d" % number, value), keys, FILL_IN_FLIGHT)

    async def prepare(self) -> None:
        """Have every key that is read later."""
        await self.fill(KEYS, VALUE, PREFIX)


async def measure(
    step: Step, in_flight: int, seconds: float, servers: Sequence[int], deliveries: list[float] | None = None
) -> Sample:
    """Have `in_flight` workers take steps for so long; those under way at the end are finished and counted.

    Where a step adds to `deliveries` the times of all that it causes, the figures are of those instead of steps.
    """
    numbers = iter(range(1 << 62))
    times: list[float] = []

    async def worker(until: float) -> None:
        while (began := time.perf_counter()) < until:
            await step(next(numbers))
            if deliveries is None:
                times.append(time.perf_counter() - began)

    async def workers(seconds: float) -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(worker(until) for _ in range(in_flight)))

    if deliveries is not None:
        times = deliveries
    await workers(seconds * WARM_UP)
    times.clear()
    servers_before_s, client_before_s, began = _cpu_s(servers), time.process_time(), time.perf_counter()
    await workers(seconds)
    took_s = time.perf_counter() - began
    client_s, servers_s = time.process_time() - client_before_s, _cpu_s(servers) - servers_before_s
    times.sort()
    count = len(times)
    p50_ms, p99_ms = quantile(times, 0.5) * 1e3, quantile(times, 0.99) * 1e3
    return Sample(count / took_s, p50_ms, p99_ms, servers_s / count * 1e6, client_s / count * 1e6)


async def measure_watch(
    drivers: Sequence[Driver], watchers: int, in_flight: int, seconds: float, servers: Sequence[int]
) -> Sample:
    """Put to a range that `watchers` watch, over as many connections as drivers; count deliveries, time from the put.

    A put's worker goes on when every watcher has had its event.
    """
    times: list[float] = []
    waiting: dict[bytes, _Spread] = {}

    def on_value(value: bytes) -> None:
        spread = waiting[value[:8]]
        times.append(time.perf_counter() - spread.began)
        spread.missing -= 1
        if not spread.missing:
            spread.complete.set()

    for driver in drivers:
        await driver.watch(WATCHED, WATCHED_END, watchers // len(drivers), on_value)

    async def step(number: int) -> None:
        stamp = number.to_bytes(8, "big")
        spread = waiting[stamp] = _Spread(time.perf_counter(), watchers)
        await drivers[0].put(WATCHED + b"%04d" % (number % 1000), stamp + VALUE[8:])
        await spread.complete.wait()
        del waiting[stamp]

    return await measure(step, in_flight, seconds, servers, times)


@dataclass
class _Spread:
    """A put on its way to the watchers."""

    began: float
    missing: int
    complete: asyncio.Event = field(default_factory=asyncio.Event)


async def _all(step: Step, count: int, in_flight: int) -> None:
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await step(number)

    await asyncio.gather(*(worker() for _ in range(in_flight)))


def _cpu_s(pids: Sequence[int]) -> float:
    return sum(cpu_s(pid) for pid in pids)
