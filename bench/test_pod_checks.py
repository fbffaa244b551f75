"""`python -m pytest bench/test_pod_checks.py`: a Pod is defaulted, prepared and validated within its limit."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from bench.pod_checks import LIMIT_US, ROUNDS, Obj, default_and_validate, pods
from oarlock.cluster.objects.resources import Resource


def test_a_typical_pod(benchmark: BenchmarkFixture) -> None:
    """The least of many rounds counts: whatever else runs on the machine only adds to the others."""

    def fresh() -> tuple[tuple[Resource, Obj], dict[str, object]]:
        resource, (obj,) = pods(1)
        return (resource, obj), {}

    benchmark.pedantic(default_and_validate, setup=fresh, rounds=ROUNDS)
    assert benchmark.stats is not None
    assert benchmark.stats.stats.min * 1e6 <= LIMIT_US
