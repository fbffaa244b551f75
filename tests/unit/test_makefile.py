"""`make install` chooses the build of Python that runs fastest (decision 0046)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def chosen(tmp_path: Path, tool: Callable[[str], str]) -> Callable[[dict[str, str]], str]:
    """Return which Python `make install` makes .venv from, if these folders' Pythons do what these scripts do."""
    make = tool("make")

    def choose(scripts: dict[str, str]) -> str:
        for name, script in scripts.items():
            python = tmp_path / name
            python.parent.mkdir(parents=True)
            python.write_text(f"#!/bin/sh\n{script}\n")
            python.chmod(0o755)
        folders = [str((tmp_path / name).parent) for name in scripts]
        command = (make, "--dry-run", "install", f"VENV={tmp_path}/none")
        # A real Python below needs more than so few nanoseconds.
        environment = {"PATH": os.pathsep.join((*folders, os.environ["PATH"]))}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split('python="', 1)[1].split('"', 1)[0]

    return choose


def test_the_fastest_build_is_taken(chosen: Callable[[dict[str, str]], str]) -> None:
    assert chosen({"a/python3.11": "echo 20 slow", "b c/python3.11": "echo 3 fast"}) == "fast"


def test_the_oldest_version_is_taken_first(chosen: Callable[[dict[str, str]], str]) -> None:
    assert chosen({"a/python3.12": "echo 1 newer", "b/python3.11": "echo 2 older"}) == "older"


def test_one_that_cannot_make_an_environment_is_none(chosen: Callable[[dict[str, str]], str]) -> None:
    assert chosen({"a/python3.11": "exit 1", "b/python3.11": "echo 2 'with a space/python3.11'"}) == (
        "with a space/python3.11"
    )
