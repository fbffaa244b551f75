"""How the benchmarks come to their figures."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest

from bench import report
from bench.etcd import middle
from bench.trios import cpu_s, free_ports
from bench.workloads import KEYS, Sample, key, measure


def test_a_quantile_is_a_measured_value() -> None:
    values = [float(number) for number in range(1, 101)]
    assert report.quantile(values, 0.5) == 51
    assert report.quantile(values, 0.99) == 100
    assert report.quantile(values, 1.0) == 100
    assert report.quantile([3.0], 0.0) == 3
    with pytest.raises(ValueError, match="nothing"):
        report.quantile([], 0.5)


def test_each_figure_is_the_median_of_the_rounds_by_itself() -> None:
    samples = [Sample(1, 30, 100, 7, 0), Sample(3, 10, 300, 9, 2), Sample(2, 20, 200, 8, 1)]
    assert middle(samples) == Sample(2, 20, 200, 8, 1)


def test_as_many_steps_are_under_way_as_asked_for() -> None:
    async def run() -> int:
        under_way = most = 0

        async def step(number: int) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

        sample = await measure(step, 7, 0.01, [os.getpid()])
        assert sample.per_second > 0
        assert sample.p50_ms <= sample.p99_ms
        return most

    assert asyncio.run(run()) == 7


def test_deliveries_are_counted_in_place_of_steps() -> None:
    async def run() -> Sample:
        deliveries: list[float] = []

        async def step(number: int) -> None:
            await asyncio.sleep(0)
            deliveries.extend([0.001, 0.002, 0.003])

        return await measure(step, 1, 0.01, [], deliveries)

    sample = asyncio.run(run())
    assert sample.p50_ms == pytest.approx(2)
    assert sample.p99_ms == pytest.approx(3)


def test_keys_in_turn_reach_the_whole_key_space() -> None:
    assert len({key(number) for number in range(KEYS)}) == KEYS


def test_the_cpu_time_of_another_process_is_read() -> None:
    busy = subprocess.Popen(
        [sys.executable, "-c", "print(sum(range(10**6)), flush=True); input()"], stdin=-1, stdout=-1
    )
    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        assert cpu_s(busy.pid) > 0
        assert cpu_s(os.getpid()) == pytest.approx(time.process_time(), abs=0.5)
    finally:
        busy.kill()
        busy.communicate()


def test_free_ports_differ() -> None:
    assert len(set(free_ports(6))) == 6
