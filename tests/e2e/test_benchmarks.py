"""The benchmarks of the store run to their end, short as `--quick` makes them, and leave the report alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "benchmarks.md"


def quick(name: str) -> list[list[str]]:
    """Return the cells of the tables that the benchmark prints."""
    before = REPORT.read_bytes()
    command = [sys.executable, "-m", "bench", name, "--quick"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert REPORT.read_bytes() == before
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in run.stdout.splitlines() if line[:1] == "|"
    ]


@pytest.mark.thorough
@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_etcd_is_compared_in_every_operation(tool: Callable[[str], str]) -> None:
    tool("etcd")
    rows = quick("etcd")
    measured = {(row[0], row[1]) for row in rows if len(row) == 7 and row[1].isdigit()}
    operations = ("put", "transaction", "linearizable get", "serializable get", "range of 1,000", "lease")
    assert measured == {(name, count) for name in operations for count in ("1", "64", "512")} | {
        ("watch, 1,000 watchers", "16")
    }
    assert all(float(row[4]) > 0 for row in rows if len(row) == 7 and row[1].isdigit())
    assert any(row[0].startswith("resident: bytes per key") for row in rows)


@pytest.mark.thorough
@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_no_acknowledged_write_is_lost_with_a_leader(tool: Callable[[str], str]) -> None:
    tool("etcd")
    rows = {row[0].split()[0]: row for row in quick("takeover")}
    for system in ("Oarlock", "etcd"):
        _, _, _, acknowledged, lost, trials = rows[system]
        assert int(acknowledged.replace(",", "")) > 0
        assert (lost, trials) == ("0", "2")


@pytest.mark.ray
@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_nothing_changes_hands_on_a_saturated_machine() -> None:
    rows = {row[0]: row for row in quick("flaps")}
    changing = ("kube-scheduler", "kube-controller-manager", "gcs", "node not ready", "store leader")
    assert {name: rows[name][1] for name in changing} == dict.fromkeys(changing, "0")
    assert all(rows[name][2].startswith("≤") for name in changing[:3]), "their holders tell how long renewals take"
    _, writes, refused, renewals, *_ = rows["0.33"]
    assert (int(writes) > 0, refused, int(renewals) > 0) == (True, "0", True)


@pytest.mark.thorough
@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_a_saturated_machine_changes_no_leader() -> None:
    *_, row = quick("saturation")
    _, changes, writes, refused, *_ = row
    assert (changes, refused) == ("0", "0")
    assert int(writes.replace(",", "")) > 0
