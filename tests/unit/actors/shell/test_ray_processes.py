"""What is started for a Ray node, and how its processes are found again."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from oarlock.actors.shell import ray_remains
from oarlock.actors.shell.hosted import HostedSettings
from oarlock.actors.shell.pages import MetricsTls
from oarlock.actors.shell.ray_processes import (
    MARK,
    HeadSettings,
    RayNodeSettings,
    RayUnusable,
    environment,
    gcs_command,
    gcs_environment,
    prepare_folders,
    raylet_command,
)
from oarlock.cluster.client.settings import ClientSettings

HEAD = HeadSettings(ClientSettings("http://127.0.0.1:1"), 6380, "127.0.0.1", 6382, "whisper", "first")
SETTINGS = RayNodeSettings("ray-1", "a", "/run/o/a", "127.0.0.1:6379", "/run/o/token", HEAD)


@pytest.fixture
def settings(tmp_path: Path) -> RayNodeSettings:
    token = tmp_path / "token"
    token.write_text("hush")
    settings = dataclasses.replace(SETTINGS, folder=str(tmp_path / "a"), token_file=str(token))
    prepare_folders(settings)
    return settings


def test_no_secret_is_on_a_command_line_or_in_an_environment(settings: RayNodeSettings) -> None:
    shown = [*gcs_command(settings, "gcs=7"), *raylet_command(settings, "c1"), *environment(settings).values()]
    assert not any("hush" in text or "whisper" in text for text in [*shown, *gcs_environment(HEAD).values()])
    assert environment(settings)["RAY_AUTH_MODE"] == "token"


def test_the_state_is_written_under_the_fence_and_the_password_is_in_a_file(settings: RayNodeSettings) -> None:
    command = gcs_command(settings, "gcs=7")
    assert "--redis_username=gcs=7" in command
    (file,) = (Path(argument.partition("=")[2]) for argument in command if argument.startswith("--flagfile="))
    assert file.read_text() == "--redis_password=whisper\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_raylet_is_the_head_and_each_life_is_a_new_node() -> None:
    command, again = raylet_command(SETTINGS, "c1"), raylet_command(SETTINGS, "c1")
    assert "--head" not in command
    assert '--labels={"oarlock-position": "a"}' in command
    assert command != again


def test_everything_listens_on_loopback(settings: RayNodeSettings) -> None:
    assert "--node-ip-address=127.0.0.1" in gcs_command(settings, "gcs=7")
    assert "--node_ip_address=127.0.0.1" in raylet_command(settings, "c1")


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
