"""A run of worlds tells of worlds that were not lived through, and of workers that died."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator

import pytest
from simulation import __main__ as simulation
from simulation.__main__ import Result, WorkerDied


def _arguments(worlds: int) -> argparse.Namespace:
    return argparse.Namespace(first=7, worlds=worlds, minutes=1.0, workers=1)


def _lived(count: int) -> Iterator[Result]:
    return (Result(seed, Counter({"operations": 1}), "") for seed in range(count))


@pytest.mark.parametrize(("asked", "lived", "status"), [(2, 2, 0), (3, 2, 1), (0, 2, 0)])
def test_fewer_worlds_than_asked_for_are_a_failure(
    asked: int, lived: int, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulation, "live_many", lambda *_: _lived(lived))
    assert simulation.run(_arguments(asked)) == status
    assert ("only 2 of 3 worlds" in capsys.readouterr().out) == bool(status)


def test_a_dead_worker_is_no_world(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def live(seed: int) -> Result:
        os._exit(3)

    monkeypatch.setattr(simulation, "live", live)
    assert simulation.run(_arguments(1)) == 1
    told = capsys.readouterr().out
    assert "worker 0 ended with 3" in told
    assert "SEED=-1" not in told


def test_a_worker_that_died_is_told_of_with_its_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "live", lambda _: os._exit(5))
    with pytest.raises(WorkerDied, match=r"ended with 5; worker n of 1 had seeds 7 \+ n"):
        list(simulation.live_many(7, 1, 1, 1e12))
