"""Workers are forked from a process that has imported everything, and start by themselves where there is none."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from oarlock.actors.shell import ray_worker, ray_zygote
from oarlock.actors.shell.ray_processes import HeadSettings, Hosted, RayNodeSettings, zygote_command
from oarlock.cluster.client.settings import ClientSettings

LOADED = {ray_zygote.JOB: "01000000", ray_zygote.RAYLET: "4711"}
_WORKER = """\
import json, os, signal, sys
print(json.dumps({
    "pid": os.getpid(), "parent": os.getppid(), "arguments": sys.argv[1:], "name": __name__, "prefix": sys.prefix,
    "said": sys.stdin.read(), "threads": len(os.listdir("/proc/self/task")), "loaded": "wave" in sys.modules,
    "variable": os.environ.get("VARIABLE"), "children": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
}))
raise SystemExit("words of the end")
"""
_DRAWS = """\
import importlib, os, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
import ray
print(len(os.listdir("/proc/self/task")), flush=True)
for _ in range(2):
    if not os.fork():
        print(ray.WorkerID.from_random().hex(), ray._raylet.UniqueID.from_random().hex(), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Sockets need a short path, so the folder isn't pytest's."""
    with tempfile.TemporaryDirectory(prefix="or") as made:
        (Path(made) / "worker.py").write_text(_WORKER)
        yield Path(made)


@contextmanager
def zygote(folder: Path, *modules: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", ray_zygote.__name__, str(folder / "z"), *modules]
    with subprocess.Popen(command, env={**os.environ, **LOADED}) as process:
        try:
            while not (folder / "z").exists():
                assert process.poll() is None
                time.sleep(0.005)
            yield process
        finally:
            process.kill()


def started(folder: Path, **variables: str) -> tuple[dict[str, Any], int, str]:
    """Return what the worker said, the process id of what had been started, and the words on standard error."""
    setup = ["--serialized-runtime-env-context={}", "--language=PYTHON"]
    command = [sys.executable, "-I", "-S", ray_worker.__file__, str(folder / "z"), str(folder / "worker.py")]
    with subprocess.Popen(
        [*command, "--name=1", *setup],
        env={**os.environ, **LOADED, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        said, ended = process.communicate(b"hello")
        return json.loads(said), process.pid, ended.decode()


def test_a_worker_is_forked_with_what_it_was_started_with(folder: Path) -> None:
    with zygote(folder, "wave") as process:
        first, pid, ended = started(folder, VARIABLE="here")
        second, _, _ = started(folder)
    assert first == {
        "pid": first["pid"],
        "parent": process.pid,
        "arguments": ["--name=1"],
        "name": "__main__",
        "prefix": sys.prefix,
        "said": "hello",
        "threads": 1,
        "loaded": True,
        "variable": "here",
        "children": True,
    }
    assert first["pid"] not in (pid, process.pid, second["pid"])
    assert second["variable"] is None
    assert ended == "words of the end\n"


def test_without_a_zygote_the_worker_is_what_was_started(folder: Path) -> None:
    worker, pid, _ = started(folder, VARIABLE="here")
    assert (worker["pid"], worker["arguments"], worker["loaded"]) == (pid, ["--name=1"], False)
    assert (worker["said"], worker["variable"], worker["prefix"]) == ("hello", "here", sys.prefix)


@pytest.mark.parametrize("variable", [ray_zygote.JOB, ray_zygote.RAYLET])
def test_a_worker_of_another_job_or_raylet_is_not_forked(folder: Path, variable: str) -> None:
    with zygote(folder, "wave"):
        worker, pid, _ = started(folder, **{variable: "02000000"})
        assert (worker["pid"], worker["loaded"]) == (pid, False)
        assert started(folder)[0]["loaded"]


def test_a_zygote_that_ends_unasked_is_made_up_for(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "z"))
        listener.listen()

        def end() -> None:
            listener.accept()[0].close()

        ending = threading.Thread(target=end)
        ending.start()
        worker, pid, _ = started(folder)
        ending.join()
    assert worker["pid"] == pid


def test_who_asks_for_nothing_is_no_trouble(folder: Path) -> None:
    with zygote(folder, "wave"):
        for words in (b"", b"{", b'{"command": ["x"], "environment": {}}'):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(folder / "z"))
                connection.sendall(words)
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(1) == b""
        assert started(folder)[0]["loaded"]


def test_what_is_imported_may_be_forked(folder: Path) -> None:
    """A thread would be missing in the workers, and a random number drawn before would be the same in all of them."""
    head = HeadSettings(ClientSettings("http://127.0.0.1:1"), 6380, "127.0.0.1", 6382, "whisper", "first")
    hosted = tuple(Hosted(name, f"oarlock.actors.{name}.component:create") for name in ("scheduler", "controllers"))
    settings = RayNodeSettings("ray-1", "a", str(folder), "127.0.0.1:6379", "token", head, hosted)
    modules = zygote_command(settings)[4:]
    assert modules[-2:] == ["oarlock.actors.scheduler.component", "oarlock.actors.controllers.component"]
    run = subprocess.run(
        [sys.executable, "-c", _DRAWS, *modules], check=True, stdout=subprocess.PIPE, text=True, timeout=60
    )
    threads, *drawn = run.stdout.split()
    assert threads == "1"
    assert len(set(drawn)) == len(drawn) == 4
