"""Whole clusters live through faults and keep every promise; broken on purpose, they don't, and that is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from simulation.faults import FAULTS
from simulation.installation import KNOBS
from simulation.sabotage import SABOTAGES, Sabotage, sabotaged
from simulation.world import Broken, World

SEEDS_TO_CATCH = 40
FIRST_TO_CATCH = 5000
FOLDER = Path(__file__).parent


@pytest.mark.parametrize("seed", range(24))
def test_no_promise_is_broken(seed: int) -> None:
    world = World(seed)
    world.run()
    assert len(world.oracle.events) > 0
    assert any(record.batches for record in world.recorder.watches)


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.name)
def test_sabotage_is_noticed(sabotage: Sabotage) -> None:
    """Within a bounded number of seeds; and the seed that shows it is harmless to the code as it is."""
    caught = next(seed for seed in range(FIRST_TO_CATCH, FIRST_TO_CATCH + SEEDS_TO_CATCH) if _breaks(seed, sabotage))
    World(caught, kinds=sabotage.kinds, settings=sabotage.settings).run()


def _breaks(seed: int, sabotage: Sabotage) -> bool:
    with sabotaged(sabotage):
        try:
            World(seed, kinds=sabotage.kinds, settings=sabotage.settings).run()
        except Broken:
            return True
    return False


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_each_fault_happens_and_is_survived(kind: str) -> None:
    stats: Counter[str] = Counter()
    for seed in range(3):
        stats += World(seed, kinds=(kind,)).run()
    assert stats["fault_" + kind] > 0


def test_a_seed_gives_the_same_world_in_every_process() -> None:
    """Whatever order Python gives its sets and dictionaries, and whatever ran before."""
    World(76).run()
    here = World(77)
    here.run()
    for hash_seed in ("0", "1"):
        told = subprocess.run(
            [sys.executable, str(FOLDER), "77"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert f"trace={here.digest} " in told


def test_a_failing_world_names_its_seed_and_exits_with_an_error() -> None:
    told = subprocess.run(
        [sys.executable, str(FOLDER), str(FIRST_TO_CATCH), "--sabotage", "skip_fsync"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert f"seed={FIRST_TO_CATCH} " in told.stdout.splitlines()[-1]
    assert "BROKEN" in told.stdout.splitlines()[-1]


def test_the_last_line_counts_worlds_operations_faults_and_failures() -> None:
    told = subprocess.run(
        [sys.executable, str(FOLDER), "--worlds", "2", "--first", "1", "--workers", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    counted = dict(part.split("=") for part in told.stdout.splitlines()[-1].split())
    assert list(counted) == ["worlds", "operations", "faults", "failures", "seconds"]
    assert counted["worlds"] == "2"
    assert int(counted["operations"]) > 10
    assert counted["failures"] == "0"


@pytest.mark.parametrize(("module", "limit"), KNOBS)
def test_each_limit_that_worlds_lower_exists(module: str, limit: str) -> None:
    """A limit that has been renamed would be lowered no more."""
    assert hasattr(sys.modules[f"oarlock.consensus.{module}"], limit)
