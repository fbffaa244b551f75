"""`python -m pytest bench/test_request_path.py`: each step of a request beside its baseline."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import request_path

BASELINE: dict[str, float] = orjson.loads(request_path.BASELINE.read_bytes())


@pytest.mark.parametrize("name", BASELINE)
def test_a_step(benchmark: BenchmarkFixture, name: str) -> None:
    async def run() -> request_path.Time:
        step = request_path.steps()[name]
        benchmark(step)
        return request_path.least(step)

    factor = asyncio.run(run()).units / BASELINE[name]
    assert factor <= request_path.SLOWER, f"{factor:.2f} times the baseline"
