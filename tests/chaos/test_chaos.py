"""Real replicas under every kind of fault: nothing acknowledged is lost, and no answer is wrong.

`python tests/chaos/run.py` does the same for as long as one likes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from chaos.run import Run
from checking.history import save

pytestmark = pytest.mark.chaos

FAULTS = (
    *("kill", "pause", "part", "isolate", "mute", "deafen", "full disk"),
    *("torn tail", "cut tail", "damaged journal", "damaged snapshot"),
)


@pytest.fixture(autouse=True)
def _hosts(tool: Callable[[str], str]) -> None:
    """Hosts are network namespaces with disks of their own, which only root can make."""
    tool("ip")
    tool("mount")
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("OARLOCK_REQUIRE_TOOLS") else pytest.skip)("only root can make namespaces")


def survive(folder: Path, *, seed: int, replicas: int, faults: Sequence[str]) -> None:
    result = asyncio.run(Run(folder, seed, replicas).run(0, faults))
    save(result.history, folder / "history.jsonl")
    assert len(result.faults) == len(faults)
    assert sum(call.answered for call in result.history.calls) > 1000
    assert not result.failures, f"{result.summary()}\nkept in {folder}"


def test_three_replicas_survive_every_fault(tmp_path: Path) -> None:
    survive(tmp_path, seed=1, replicas=3, faults=FAULTS)


def test_five_replicas_survive_partitions_and_kills(tmp_path: Path) -> None:
    survive(tmp_path, seed=2, replicas=5, faults=("bridge", "kill", "isolate"))
