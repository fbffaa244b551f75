"""A real kubectl, and an API server over an in-process store for it to talk to."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.apiserver import start_api_server


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
    ready, finish = threading.Event(), []

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with start_api_server(folder, **settings):
            finish.append(lambda: loop.call_soon_threadsafe(stop.set))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(20), "the API server did not start"
    try:
        yield Kubectl(path, folder / "kubeconfig", folder)
    finally:
        finish[0]()
        thread.join(20)
