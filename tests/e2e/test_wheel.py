"""The wheel, not the checkout: packages or data missing from it don't show in an editable install."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.thorough


def test_a_cluster_runs_from_the_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("oarlock-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120
        ).stdout

    found = python("-c", "import oarlock.cluster.boot.main as m; print(m.__file__)")
    assert found.startswith(str(tmp_path)), "the wheel's own modules are run"
    where = ["--name", "wheel", "--state", str(tmp_path / "state")]
    main = ["-m", "oarlock.cluster.boot.main"]
    try:
        printed = python(*main, "up", *where, "--single", "--kubeconfig", str(tmp_path / "kubeconfig"))
        assert "oarlock-wheel is up" in printed
        status = python(*main, "status", *where)
        assert status.count(" ready ") == 5
    finally:
        python(*main, "down", *where, "--delete")
