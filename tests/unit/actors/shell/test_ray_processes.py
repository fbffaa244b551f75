"""What is started for a Ray node, and how its processes are found again."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from oarlock.actors.shell import ray_remains
from oarlock.actors.shell.hosted import HostedSettings, MetricsTls
from oarlock.actors.shell.ray_processes import (
    MARK,
    RayNodeSettings,
    RayUnusable,
    environment,
    gcs_command,
    raylet_command,
)
from oarlock.cluster.client.settings import ClientSettings

SETTINGS = RayNodeSettings("ray-1", "a", "/run/o/a", "/run/o/ray", "127.0.0.1:6379", "/run/o/token", head=True)


def test_no_secret_is_on_a_command_line_or_in_an_environment(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hush")
    settings = dataclasses.replace(SETTINGS, token_file=str(token))
    shown = [*gcs_command(settings), *raylet_command(settings, "c1"), *environment(settings).values()]
    assert not any("hush" in text for text in shown)
    assert environment(settings)["RAY_AUTH_MODE"] == "token"


def test_only_the_head_says_so_and_each_life_is_a_new_node() -> None:
    worker = dataclasses.replace(SETTINGS, head=False, position="b")
    assert "--head" in raylet_command(SETTINGS, "c1")
    command, again = raylet_command(worker, "c1"), raylet_command(worker, "c1")
    assert "--head" not in command
    assert any("oarlock-b,1000" in argument for argument in command)
    assert command != again


def test_everything_listens_on_loopback() -> None:
    assert "--node-ip-address=127.0.0.1" in gcs_command(SETTINGS)
    assert "--node_ip_address=127.0.0.1" in raylet_command(SETTINGS, "c1")


def test_a_folder_too_long_for_sockets_is_refused() -> None:
    with pytest.raises(RayUnusable, match="too long"):
        dataclasses.replace(SETTINGS, folder="/" + "x" * 90)


def test_remains_are_found_by_their_mark_and_ended(tmp_path: Path) -> None:
    folder = str(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        env={MARK: folder},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert ray_remains.processes(MARK, folder) == [process.pid]
        assert ray_remains.processes(MARK, folder + "x") == []
        assert ray_remains.end_all(MARK, folder, grace_s=0) == 1
        assert process.wait() == -9


def test_hosted_settings_survive_their_file(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    settings = HostedSettings(
        ClientSettings("https://127.0.0.1:6443", ca_file="ca", cert_file="cert", key_file="key"),
        "scheduler",
        1500,
        {"scheduler_name": "mine"},
        metrics_tls=MetricsTls("ca", "cert", "key"),
    )
    settings.save(str(file))
    assert HostedSettings.load(str(file)) == settings
    assert file.stat().st_mode & 0o777 == 0o600
