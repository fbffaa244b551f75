"""A real kubectl, and an API server over an in-process store for it to talk to."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.threaded import threaded_api_server


class Kubectl:
    """Runs kubectl; raises with what it printed if it fails."""

    def __init__(self, path: str, kubeconfig: Path, home: Path) -> None:
        self._command = [path, f"--kubeconfig={kubeconfig}", f"--cache-dir={home / 'cache'}"]

    def run(self, *arguments: str, given: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [*self._command, *arguments]
        surroundings = {**os.environ, **environment}
        return subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=60, check=False, env=surroundings
        )

    def __call__(self, *arguments: str, given: str | None = None) -> str:
        done = self.run(*arguments, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*self._command, *arguments], stdout=subprocess.PIPE, text=True)


@contextmanager
def kubectl_beside_a_server(path: str, folder: Path, **settings: Any) -> Iterator[Kubectl]:
    """Run a server in a thread of its own, without controllers or nodes, and yield the kubectl at `path` for it."""
    with threaded_api_server(folder, **settings) as server:
        yield Kubectl(path, server.kubeconfig, folder)
