"""The actors as guests on a Ray cluster that was there before: `ray start` on loopback, `oarlock up --ray-address`."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from harness.store import free_ports

from oarlock.actors.shell import ray_remains
from oarlock.actors.shell.ray_guests import REFUSED

pytestmark = [pytest.mark.e2e, pytest.mark.ray, pytest.mark.thorough, pytest.mark.timeout(300)]
MARK = "OARLOCK_TEST_RAY"
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Without the first Ray swaps a loopback address for the host's outer one."""


@pytest.fixture
def ray_address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="or", dir="/tmp")
    for name, value in {**LOOPBACK, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
        monkeypatch.setenv(name, value)
    (port,) = free_ports(1)
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--node-ip-address=127.0.0.1"]
    options = [f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--object-store-memory=78643200"]
    subprocess.run(
        [*command, *options, f"--temp-dir={folder}"],
        env={**os.environ, MARK: folder},
        check=True,
        capture_output=True,
        timeout=120,
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        ray_remains.end_all(MARK, folder, grace_s=0)
        shutil.rmtree(folder, ignore_errors=True)


def placed_as(ours: str, address: str) -> tuple[int, str]:
    """Return how the placement ends where this version of Oarlock runs, and what it says."""
    script = (
        "import sys; from oarlock.actors.shell import ray_guest_placement as p; p.version = lambda _: sys.argv[1]; "
    )
    guest = {"name": "x", "factory": "x:create", "parcel": "{}"}
    wanted = {"address": address, "namespace": "other", "replace": False, "guests": [guest]}
    run = subprocess.run(
        [sys.executable, "-c", script + "sys.exit(p.main())", ours],
        input=json.dumps(wanted),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    return run.returncode, run.stdout


def test_actors_act_on_the_users_ray_and_leave_it_as_it_was(
    new_cluster: Callable[[str], Any], waiting: Callable[..., Any], ray_address: str
) -> None:
    status, said = placed_as("9.9.9", ray_address)
    assert status == REFUSED
    assert f"the Ray node 127.0.0.1 has Oarlock {version('oarlock')}: install there what is here" in said
    cluster = new_cluster("guest")
    cluster.up("--ray-address", ray_address, "--servers", "1", "--api-servers", "1")
    parts = cluster.status()
    assert {part["kind"] for part in parts} == {"store", "apiserver", "balancer", "agent", "guests", "actor"}
    active = {part["name"]: part["pid"] for part in parts if part["kind"] == "actor" and part["active"]}
    assert len(active) == 2

    cluster.kubectl("create", "deployment", "web", "--image=host/sleep", "--", "sleep", "1000")
    cluster.rolled_out("web")

    os.kill(next(pid for name, pid in active.items() if name.startswith("controllers")), signal.SIGKILL)
    cluster.kubectl("scale", "deployment/web", "--replicas=2")
    cluster.rolled_out("web")

    cluster.down()
    for pid in active.values():
        waiting(lambda pid=pid: not Path(f"/proc/{pid}").exists())
    assert not list(Path(tempfile.gettempdir()).glob("oarlock-guest-*"))
