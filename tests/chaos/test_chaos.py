"""Real replicas under every kind of fault: nothing acknowledged is lost, and no answer is wrong.

`python tests/chaos/run.py` does the same for as long as one likes.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from chaos.network import missing
from chaos.run import Run
from checking.history import save

pytestmark = pytest.mark.chaos

FAULTS = (
    *("kill", "pause", "part", "isolate", "mute", "deafen", "full disk"),
    *("torn tail", "cut tail", "damaged journal", "damaged snapshot"),
)


@pytest.fixture(autouse=True)
def _hosts() -> None:
    if lacks := missing():
        (pytest.fail if os.environ.get("OARLOCK_REQUIRE_TOOLS") else pytest.skip)(lacks)


def survive(folder: Path, *, seed: int, replicas: int, faults: Sequence[str]) -> None:
    result = asyncio.run(Run(folder, seed, replicas).run(0, faults))
    save(result.history, folder / "history.jsonl")
    assert len(result.faults) == len(faults)
    assert any(call.replica for call in result.history.calls), "replicas were asked what they hold by themselves"
    assert not result.failures, f"{result.summary()}\nkept in {folder}"


def test_three_replicas_survive_every_fault(tmp_path: Path) -> None:
    survive(tmp_path, seed=1, replicas=3, faults=FAULTS)


def test_five_replicas_survive_partitions_and_kills(tmp_path: Path) -> None:
    survive(tmp_path, seed=2, replicas=5, faults=("bridge", "kill", "isolate"))


@pytest.mark.parametrize(
    ("sabotage", "rule"), [("drop_a_watch_event", "revision"), ("answer_from_the_past", "was at revision")]
)
def test_sabotaged_replicas_are_noticed(tmp_path: Path, sabotage: str, rule: str) -> None:
    result = asyncio.run(Run(tmp_path, 3, 3, sabotage=sabotage).run(0, ("kill",)))
    assert rule in "\n".join(result.failures)


def test_what_hosts_need_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """To anybody but root, or to root in a container that may not mount."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "ip, mount, umount" in missing()
    monkeypatch.undo()
    run = [sys.executable, str(Path(__file__).parent / "run.py"), "--minutes", "0"]
    denied = subprocess.run(
        ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", *run],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (denied.returncode, denied.stdout) == (2, "")
    assert denied.stderr.strip().endswith("that needs CAP_SYS_ADMIN")
