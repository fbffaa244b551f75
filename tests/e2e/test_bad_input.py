"""What can't work ends with a sentence that names cause and way out, and leaves nothing half-started behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from oarlock.cluster.boot.processes import start_ticks

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
NOBODY = 65_534
KUBECONFIG = "apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\ncurrent-context: mine\n"
BATCH_MAGIC = b"OLJB"
AS_NOBODY = f"""
import os, sys
from oarlock.cluster.boot import main, up
if os.getuid() == 0:  # after the imports: nobody may not even read the interpreter's libraries
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
sys.exit(main.main())
"""

FORKED = "forked"
SLOW_EXEC = f"""
import functools, os, pathlib, subprocess, sys, time
from oarlock.cluster.boot import main, up
def stall():
    pathlib.Path(sys.argv[sys.argv.index("--state") + 1]).with_name("{FORKED}").symlink_to(str(os.getpid()))
    time.sleep(1)
subprocess.Popen = functools.partial(subprocess.Popen, preexec_fn=stall)
sys.exit(main.main())
"""


@dataclass
class Attempt:
    """A folder in which `oarlock up` is tried; `kubeconfig` is the user's, with something in it already."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def command(self, verb: str, *flags: str) -> list[str]:
        where = ["--name", "bad", "--state", str(self.state)]
        if verb == "up" and "--kubeconfig" not in flags:
            where += ["--kubeconfig", str(self.kubeconfig)]
        return [sys.executable, "-m", "oarlock.cluster.boot.main", verb, *where, *flags]

    def run(self, verb: str, *flags: str, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"cwd": "/", "timeout": 60, **options}
        return subprocess.run(self.command(verb, *flags), capture_output=True, text=True, check=False, **options)

    def up(self, *flags: str) -> None:
        done = self.run("up", "--single", *flags)
        assert done.returncode == 0, done.stderr

    def refused(self, *flags: str, **options: Any) -> str:
        """Run `up`; assert that it refuses in words and leaves the user's kubeconfig; return the words."""
        before = self.kubeconfig.read_bytes()
        done = self.run("up", *(flags or ("--single",)), **options)
        assert_told(done)
        assert self.kubeconfig.read_bytes() == before
        assert not self.kubeconfig.with_name("kubeconfig.lock").exists()
        return done.stderr

    def processes(self) -> list[int]:
        """All processes that belong to the cluster: each inherits where its state lives."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if f"OARLOCK_STATE={self.state}".encode() in variables:
                found.append(int(entry.parent.name))
        return found


def assert_told(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    cause, way_out = done.stderr.rstrip().split("\n", 1)
    assert cause.startswith("oarlock: ")
    assert way_out.strip().endswith(".")


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Attempt]:
    attempt = Attempt(tmp_path)
    attempt.kubeconfig.write_text(KUBECONFIG)
    yield attempt
    left = attempt.processes()
    attempt.run("down", "--delete")
    assert not left or attempt.folder.joinpath("running").exists(), f"left running: {left}"
    assert not attempt.processes()


@pytest.fixture
def running(attempt: Attempt) -> Attempt:
    """A cluster that is up; it may stay so until the test ends."""
    attempt.up()
    attempt.folder.joinpath("running").touch()
    return attempt


@pytest.fixture
def stopped(attempt: Attempt) -> Attempt:
    """A cluster that was up once."""
    attempt.up()
    assert attempt.run("down").returncode == 0
    return attempt


# Refused before anything starts.


def test_a_port_in_use(attempt: Attempt) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = attempt.refused("--single", "--port", port)
        assert f"port {port} on 127.0.0.1 is in use" in said
        assert "--port" in said.splitlines()[1]
    assert not attempt.state.exists()


def test_a_port_in_use_keeps_the_objects_that_fresh_would_forget(stopped: Attempt) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        stopped.refused("--single", "--fresh", "--port", str(taken.getsockname()[1]))
    assert list(stopped.state.glob("store/store-1/journal/*.log"))


def test_a_state_folder_of_another_format(stopped: Attempt) -> None:
    record = stopped.state / "cluster.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"format": 99}))
    said = stopped.refused()
    assert "format 99" in said
    assert "--fresh" in said


def test_a_state_folder_with_a_broken_record(stopped: Attempt) -> None:
    (stopped.state / "cluster.json").write_text('{"name": "bad"')
    assert "cluster.json can't be read" in stopped.refused()


def test_a_store_of_another_version(stopped: Attempt) -> None:
    identity = stopped.state / "store" / "store-1" / "identity.json"
    identity.write_text(json.dumps(json.loads(identity.read_text()) | {"version": 99}))
    said = stopped.refused()
    assert "store-1 failed" in said
    assert "99" in said


def test_a_folder_that_is_no_clusters(attempt: Attempt) -> None:
    attempt.state.mkdir()
    (attempt.state / "thesis.tex").write_text("years of work")
    for flags in (("--single",), ("--single", "--fresh")):
        assert "thesis.tex" in attempt.refused(*flags)
    attempt.run("down", "--delete")
    assert (attempt.state / "thesis.tex").read_text() == "years of work"


def test_a_state_folder_that_is_a_file(attempt: Attempt) -> None:
    attempt.state.write_text("")
    assert f"{attempt.state} is not a folder" in attempt.refused()


def test_a_state_folder_of_another_user() -> None:
    """Root tries as nobody with a folder of root's; anybody else with a folder of the system's."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        home, foreign = folder / "home", Path("/etc")
        home.mkdir()
        if os.getuid() == 0:
            foreign = folder / "state"
            foreign.mkdir(mode=0o755)
            shutil.chown(home, NOBODY, NOBODY)
        command = [sys.executable, "-c", AS_NOBODY, "up", "--single", "--name", "bad"]
        command += ["--state", str(foreign), "--kubeconfig", str(home / "kubeconfig")]
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, cwd="/"
        )
        assert_told(done)
        assert f"the state folder {foreign} belongs to another user" in done.stderr
        assert not list(home.iterdir())
    finally:
        shutil.rmtree(folder)


def test_too_little_disk(attempt: Attempt) -> None:
    if os.getuid() != 0:
        pytest.skip("mounting a small disk needs root")
    small = attempt.folder / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "small", small], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mount: {mounted.stderr.strip()}")
    try:
        said = Attempt(attempt.folder).refused("--single", "--state", str(small / "state"))
        assert "MiB are free on the disk of" in said
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize("content", ["clusters: [", "- a list", "contexts: 3", "users: [{user: {}}]", "\x00"])
def test_a_broken_kubeconfig(attempt: Attempt, content: str) -> None:
    attempt.kubeconfig.write_text(content)
    assert str(attempt.kubeconfig) in attempt.refused()
    assert not attempt.state.exists()


@pytest.mark.parametrize("place", ["/proc/kubeconfig", "{folder}/kubeconfig/below-a-file"])
def test_a_kubeconfig_that_cannot_be_written(attempt: Attempt, place: str) -> None:
    file = place.format(folder=attempt.folder)
    said = attempt.refused("--single", "--kubeconfig", file)
    assert f"the kubeconfig {file} can't be" in said
    assert "--kubeconfig FILE" in said
    assert not attempt.state.exists()


def test_a_kubeconfig_that_another_program_holds(attempt: Attempt) -> None:
    lock = attempt.folder / "config.lock"
    lock.touch()
    said = attempt.refused("--single", "--kubeconfig", str(attempt.folder / "config"))
    assert str(lock) in said
    assert lock.exists()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--servers", "2"), "--servers 2"),
        (("--api-servers", "0"), "--api-servers 0"),
        (("--nodes", "-1"), "--nodes -1"),
        (("--port", "70000"), "--port 70000"),
        (("--name", "Grün"), "--name 'Grün'"),
        (("--token-file", "/no/such/file"), "--token-file /no/such/file"),
    ],
)
def test_flags_out_of_range(attempt: Attempt, flags: tuple[str, ...], named: str) -> None:
    assert named in attempt.refused(*flags)
    assert not attempt.state.exists()


@pytest.mark.parametrize("flags", [("--bogus",), ("--port", "http")])
def test_flags_that_do_not_exist(attempt: Attempt, flags: tuple[str, ...]) -> None:
    done = attempt.run("up", *flags)
    assert done.returncode == 2
    assert flags[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_another_shape_than_the_folder_has(stopped: Attempt) -> None:
    said = stopped.refused("--servers", "3")
    assert "was made with --single" in said
    assert "--fresh" in said


def test_already_running(running: Attempt, tool: Callable[[str], str]) -> None:
    before = sorted(running.processes())
    said = running.refused()
    assert "is already running" in said
    assert "oarlock down --name bad" in said
    assert sorted(running.processes()) == before
    nodes = [tool("kubectl"), "--kubeconfig", running.kubeconfig, "get", "nodes"]
    assert subprocess.run(nodes, capture_output=True, check=False, timeout=30).returncode == 0


def test_python_too_old(tmp_path: Path, tool: Callable[[str], str]) -> None:
    make = tool("make")
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.8"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for flags, said in (((f"PYTHON={old}",), f"{old} is none"), (("PYTHON=",), "none was found")):
        done = subprocess.run(
            [make, "install", *flags], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode != 0
        assert f"Oarlock needs Python 3.11 or newer: {said}." in done.stdout
        assert "make install PYTHON=" in done.stdout
        assert not (tmp_path / ".venv").exists()


# Refused by a part that has begun to start.


@pytest.mark.parametrize(("line", "number"), [("only-a-token", 1), ("# tokens\na,b,c\n,user,uid", 3)])
def test_a_malformed_token_file(attempt: Attempt, line: str, number: int) -> None:
    tokens = attempt.folder / "tokens.csv"
    tokens.write_text(line + "\n")
    said = attempt.refused("--single", "--token-file", str(tokens))
    assert f"apiserver failed: {tokens}:{number}:" in said
    assert not attempt.processes()
    tokens.write_text('good,user,uid,"a,b"\n')
    attempt.up("--token-file", str(tokens))
    assert attempt.run("down").returncode == 0


@pytest.mark.thorough
def test_a_malformed_token_file_with_many_processes(attempt: Attempt) -> None:
    tokens = attempt.folder / "tokens.csv"
    tokens.write_text("only-a-token\n")
    said = attempt.refused("--token-file", str(tokens))
    assert f"{tokens}:1:" in said
    assert not attempt.processes()


def test_a_journal_damaged_between_two_runs(stopped: Attempt) -> None:
    (segment,) = stopped.state.glob("store/store-1/journal/*.log")
    damaged = bytearray(segment.read_bytes())
    middle = damaged.index(BATCH_MAGIC, len(damaged) // 2)
    damaged[middle + 30] ^= 1
    segment.write_bytes(damaged)
    said = stopped.refused()
    assert "store-1 failed" in said
    assert str(segment) in said
    assert "wrong checksum" in said
    assert f"at byte {middle} " in said
    assert segment.read_bytes() == damaged, "nothing was repaired behind the user's back"


# Interrupted.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "moment", ["settings/plan.json", "logs/supervisor.log", "processes.json", "store/store-1/lock"]
)
def test_interrupted(attempt: Attempt, number: signal.Signals, moment: str) -> None:
    interrupt(attempt, number, attempt.state / moment, attempt.command("up", "--single"))


def test_interrupted_between_fork_and_exec(attempt: Attempt) -> None:
    """The process that is just being started has no command line yet by which it could be found."""
    command = attempt.command("up", "--single")
    module = command.index("-m")
    command[module : module + 2] = ["-c", SLOW_EXEC]
    forked = attempt.folder / FORKED
    interrupt(attempt, signal.SIGINT, forked, command)
    assert not start_ticks(int(forked.readlink().name))


@pytest.mark.thorough
@pytest.mark.parametrize("moment", ["logs/store-1.log", "logs/node-1.log", "logs/ray-1.log"])
def test_interrupted_with_many_processes(attempt: Attempt, moment: str) -> None:
    interrupt(attempt, signal.SIGINT, attempt.state / moment, attempt.command("up"))


def interrupt(attempt: Attempt, number: signal.Signals, moment: Path, command: list[str]) -> None:
    """Signal `command` as soon as the file `moment` is there; assert that nothing runs or is left but logs."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd="/") as process:
        deadline = time.monotonic() + 60
        while not os.path.lexists(moment):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not attempt.processes()
    assert attempt.kubeconfig.read_text() == KUBECONFIG
    assert not (attempt.state / "cluster.json").exists()
