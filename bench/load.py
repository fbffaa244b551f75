"""Asks a cluster many things at once and keeps the times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.clusters import Processes
from bench.report import quantile

Operation = Callable[[int], Awaitable[object]]


@dataclass(frozen=True)
class Result:
    """What one run of `count` operations took; `cpu_us` is what the measured processes used per operation."""

    count: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_us: float

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    def cells(self) -> tuple[float, ...]:
        return self.per_second, self.p50_ms, self.p99_ms, self.cpu_us


COLUMNS = ("operations/s", "p50 ms", "p99 ms", "CPU µs/operation")


async def run(processes: Processes, operation: Operation, count: int, in_flight: int) -> Result:
    """Run `operation(0)` to `operation(count - 1)`, `in_flight` at a time; the first failure ends it."""
    numbers = iter(range(count))
    times: list[float] = []

    async def worker() -> None:
        for number in numbers:
            began = time.perf_counter()
            await operation(number)
            times.append(time.perf_counter() - began)

    cpu_before_s = processes.cpu_s()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(worker())
    seconds = time.perf_counter() - began
    cpu_s = processes.cpu_s() - cpu_before_s
    times.sort()
    p50_ms, p99_ms = quantile(times, 0.5) * 1e3, quantile(times, 0.99) * 1e3
    return Result(count, seconds, p50_ms, p99_ms, cpu_s / count * 1e6)
