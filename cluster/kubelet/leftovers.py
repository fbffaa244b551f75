"""Processes of containers, found in /proc: by session, and by the mark that every container carries in its environment.

A program that starts a session of its own leaves its container's session, but not its environment.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from oarlock.cluster.kubelet.shim import session_of, start_ticks

MARK = "OARLOCK_CONTAINER_ID"
DEATH_TIMEOUT_S = 1.0
"""How long a killed process may take to be gone; it holds its ports and files until then."""


@dataclass(frozen=True, slots=True)
class Started:
    """What a shim wrote about its container: process ids with start times, which tell a pid from its reuse."""

    shim_pid: int
    shim_ticks: int
    pid: int
    ticks: int
    at_ns: int
    boot_id: str

    @property
    def shim_alive(self) -> bool:
        return self.boot_id == boot_id() and start_ticks(self.shim_pid) == self.shim_ticks

    @property
    def alive(self) -> bool:
        return self.boot_id == boot_id() and start_ticks(self.pid) == self.ticks


def boot_id() -> str:
    """Return what tells this boot of the machine from others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read_started(folder: Path) -> Started | None:
    """Return the record of a container's start; None if it never started."""
    try:
        shim_pid, shim_ticks, pid, ticks, at_ns, boot = (folder / "started").read_text().split()
        return Started(int(shim_pid), int(shim_ticks), int(pid), int(ticks), int(at_ns), boot)
    except (OSError, ValueError):
        return None


def read_exit(folder: Path) -> tuple[int, int, int] | None:
    """Return (exit code, signal, Unix nanoseconds) as the shim recorded them; None if there is no record."""
    try:
        code, number, at_ns = (folder / "exit").read_text().split()
        return int(code), int(number), int(at_ns)
    except (OSError, ValueError):
        return None


def signal_group(started: Started, number: int) -> None:
    """Send a signal to the container's process group, if it is still that container's."""
    if started.alive:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(started.pid, number)


def kill(container_ids: Collection[str], sessions: Collection[int] = ()) -> int:
    """Kill whatever carries one of the marks or belongs to one of the sessions; return how many processes did.

    They are gone on return, unless the kernel holds one up for longer than DEATH_TIMEOUT_S.
    """
    marks = {f"{MARK}={container_id}".encode() for container_id in container_ids}
    return _kill_where(lambda pid: session_of(pid) in sessions or not marks.isdisjoint(_environment(pid)))


def kill_all(root: str | Path, grace_s: float = 2.0) -> int:
    """End every container that the process runtime keeps under `root`; return how many ran. Needs no agent.

    Each gets SIGTERM, then SIGKILL after `grace_s` for all together. Returns once their shims are gone too.
    """
    folders = {folder.name: folder for folder in Path(root).glob("pods/*/containers/*")}
    running = {name: started for name, started in _started(folders) if started.alive or started.shim_alive}
    for started in running.values():
        signal_group(started, signal.SIGTERM)
    shims = [started.shim_pid for started in running.values() if started.shim_alive]
    _await_ends(shims, grace_s)
    kill(folders.keys(), {started.pid for started in running.values() if started.alive})
    _await_ends(shims, grace_s)
    for started in running.values():
        if started.shim_alive:
            with suppress(ProcessLookupError):
                os.kill(started.shim_pid, signal.SIGKILL)
    return len(running)


def _started(folders: dict[str, Path]) -> Iterator[tuple[str, Started]]:
    for name, folder in folders.items():
        started = read_started(folder)
        if started is not None:
            yield name, started


def _await_ends(pids: Iterable[int], timeout_s: float) -> None:
    descriptors = set()
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptors.add(os.pidfd_open(pid))
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    waiting = set(descriptors)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            poll.unregister(descriptor)
            waiting.discard(descriptor)
    for descriptor in descriptors:
        os.close(descriptor)


def _kill_where(belongs: Callable[[int], bool]) -> int:
    """Kill until nothing new belongs: a process may fork while we look. Bounded, for a fork bomb may outrun us."""
    killed: set[int] = set()
    for _ in range(5):
        found = {int(name) for name in os.listdir("/proc") if name.isdigit() and belongs(int(name))}  # noqa: PTH208
        found -= killed | {os.getpid()}
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
        if not found:
            break
    _await_ends(killed, DEATH_TIMEOUT_S)
    return len(killed)


def _environment(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []
