"""Drives real clusters as a person would: the `oarlock` command and an unmodified kubectl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

COMMAND_S = 150


@dataclass
class Cluster:
    """A cluster in a folder of its own. `kubectl` raises on failure and returns what was printed."""

    name: str
    folder: Path
    kubectl_path: str

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def oarlock(
        self, *arguments: str, check: bool = True, timeout_s: float = COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        where = ["--name", self.name, "--state", str(self.folder / "state")]
        command = [sys.executable, "-m", "oarlock.cluster.boot.main", arguments[0], *where, *arguments[1:]]
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        assert not check or run.returncode == 0, f"{arguments}: {run.stdout}{run.stderr}\n{self.logs()}"
        return run

    def up(self, *flags: str) -> str:
        return self.oarlock("up", "--kubeconfig", str(self.kubeconfig), *flags).stdout

    def down(self) -> None:
        self.oarlock("down")

    def status(self) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = json.loads(self.oarlock("status", "-o", "json", check=False).stdout)["parts"]
        return parts

    def kubectl(self, *arguments: str, input_text: str | None = None, timeout_s: float = 60) -> str:
        run = self.kubectl_run(*arguments, input_text=input_text, timeout_s=timeout_s)
        assert run.returncode == 0, f"kubectl {arguments}: {run.stdout}{run.stderr}"
        return run.stdout

    def kubectl_run(
        self, *arguments: str, input_text: str | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
        }
        return subprocess.run(
            [self.kubectl_path, *arguments],
            capture_output=True,
            text=True,
            input=input_text,
            env=environment,
            timeout=timeout_s,
            check=False,
        )

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def rolled_out(self, deployment: str) -> None:
        """Return once the rollout is complete; fail with what is known of its pods after a minute."""
        run = self.kubectl_run("rollout", "status", f"deployment/{deployment}", "--timeout=60s", timeout_s=90)
        if run.returncode != 0:
            seen = self.kubectl_run("describe", "pods", "-l", f"app={deployment}").stdout
            pytest.fail(f"{deployment}: {run.stdout}{run.stderr}\n{seen}\n{self.status()}\n{self.logs()}")

    def logs(self) -> str:
        """The ends of all the parts' logs, for the message of a failed assertion."""
        paths = sorted((self.folder / "state" / "logs").glob("*.log"))
        return "\n".join(f"--- {path.name}\n" + _last_lines(path) for path in paths)


def _last_lines(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-15:])


def eventually(condition: Callable[[], object], within_s: float = 30.0, tell: Callable[[], str] = str) -> Any:
    """Return the first true value of `condition`; fail with its last value, and what `tell` says, after `within_s`.

    For what has no event to await from outside: another program's processes and kubectl's answers.
    """
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s; last: {value!r}\n{tell()}")
        time.sleep(0.1)


@pytest.fixture(scope="session")
def waiting() -> Callable[..., Any]:
    return eventually


MakeCluster = Callable[[str], Cluster]


@pytest.fixture(scope="module")
def new_cluster(
    tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str], request: pytest.FixtureRequest
) -> MakeCluster:
    """Return a function that makes clusters; all are gone after the module's tests."""
    kubectl = tool("kubectl")

    def make(name: str) -> Cluster:
        cluster = Cluster(name, tmp_path_factory.mktemp(name), kubectl)
        request.addfinalizer(lambda: cluster.oarlock("down", "--delete", check=False))
        return cluster

    return make
