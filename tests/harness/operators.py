"""Operators as their users run them: a process of its own, which knows the cluster by a kubeconfig only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class Operator:
    """A Python program that may be started, killed and started again; all its runs write to one log."""

    def __init__(self, arguments: list[str], kubeconfig: Path, log: Path) -> None:
        self._command = [sys.executable, *arguments]
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> None:
        with self._log.open("ab") as file:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=file, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """End it without any warning."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)
        self._process = None

    def stop(self) -> None:
        """End it as a node agent does, and see that it ends well; nothing to do if it doesn't run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(120) == 0, self.log
        finally:
            process.kill()


class RunOperator(Protocol):
    """Runs `python ARGUMENTS` as an operator for as long as the context lasts."""

    def __call__(self, *arguments: str) -> AbstractContextManager[Operator]: ...
