"""A real cluster in a temporary folder, and what its processes cost."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oarlock.cluster.boot.processes import MARK
from oarlock.cluster.boot.state import StateFolder

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ROOMS = ("cluster", "consensus", "actors")


@dataclass(frozen=True)
class Processes:
    """Some processes of a cluster, chosen once: to find them anew for every reading would cost what is measured."""

    pids: tuple[int, ...]

    def cpu_s(self) -> float:
        """Return the CPU seconds that they have used since their start."""
        return self._ticks(11, 12) / TICKS_PER_S

    def kernel_s(self) -> float:
        """Return those of them that the kernel used for these processes, such as for their sockets and files."""
        return self._ticks(12) / TICKS_PER_S

    def _ticks(self, *places: int) -> int:
        found = [_read(pid, "stat").rpartition(b")")[2].split() for pid in self.pids]
        return sum(int(fields[place]) for fields in found if fields for place in places)


@dataclass(frozen=True)
class BenchCluster:
    """A running cluster and the commands to drive it."""

    name: str
    root: Path

    @property
    def folder(self) -> StateFolder:
        return StateFolder(self.root / "state")

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def server(self) -> str:
        record = self.folder.load()
        assert record is not None
        return f"https://127.0.0.1:{record.port}"

    def oarlock(self, command: str, *arguments: str) -> str:
        where = ["--name", self.name, "--state", str(self.folder.path)]
        run = [sys.executable, "-m", "oarlock.cluster.boot.main", command, *where, *arguments]
        return subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True, timeout=300).stdout

    def up(self, *flags: str) -> None:
        self.oarlock("up", "--kubeconfig", str(self.kubeconfig), *flags)

    def down(self) -> None:
        self.oarlock("down")

    def processes(self) -> list[int]:
        """Return the ids of all processes that belong to the cluster."""
        mark = f"{MARK}={self.folder.path}".encode()
        return [pid for pid in _all_processes() if mark in _read(pid, "environ").split(b"\0")]

    def named(self, prefix: str) -> Processes:
        """Return those processes whose part's name begins with `prefix`, "" for all."""
        return Processes(tuple(pid for pid in self.processes() if _title(pid).startswith(prefix)))

    def cpu_s(self) -> float:
        """Return the CPU seconds that the present processes have used since their start."""
        return self.named("").cpu_s()

    def pss_bytes(self) -> dict[str, int]:
        """Return the proportional set size of each process, by "NAME pid"."""
        sizes = {}
        for pid in self.processes():
            for line in _read(pid, "smaps_rollup").splitlines():
                if line.startswith(b"Pss:"):
                    sizes[f"{_title(pid)} {pid}"] = int(line.split()[1]) * 1024
        return sizes


@contextmanager
def cluster(*flags: str, name: str = "bench") -> Iterator[BenchCluster]:
    """Run a cluster of its own with `oarlock up` and these flags; it is gone afterwards."""
    for room in ROOMS:
        # An installed package has its bytecode. Where Python may write none, each process would compile everything.
        compileall.compile_dir(str(Path(__file__).parent.parent / room), quiet=1)
    with tempfile.TemporaryDirectory(prefix="oarlock-bench-") as root:
        running = BenchCluster(name, Path(root))
        try:
            running.up(*flags)
            yield running
        finally:
            running.oarlock("down", "--delete")


def wait_until(deadline_s: float, condition: object) -> float:
    """Return the seconds until `condition()` was true. Raises TimeoutError."""
    assert callable(condition)
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > deadline_s:
            raise TimeoutError(f"not within {deadline_s} s")
        time.sleep(0.005)
    return time.monotonic() - began


def _all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""


def _title(pid: int) -> str:
    words = _read(pid, "cmdline").split(b"\0")
    if b"oarlock.cluster.boot.process" in words:
        settings = words[words.index(b"oarlock.cluster.boot.process") + 2]
        return Path(os.fsdecode(settings)).stem
    if b"oarlock.cluster.boot.server" in words:
        return "supervisor"
    if words[1:2] == [b"-m"]:
        return os.fsdecode(words[2].rpartition(b".")[2])
    return Path(os.fsdecode(words[0].split(b" ")[0])).name
