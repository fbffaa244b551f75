"""Processes of an earlier supervisor: found again by id and start time, so that no stranger is ever signalled."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from oarlock.cluster.boot.state import write_private

END_S = 10.0
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
MARK = "OARLOCK_STATE"
"""An environment variable that every process of a cluster inherits: what belongs to it can be found and measured."""
SUPERVISOR = "supervisor"
"""The supervisor's own name in its list: it is ended before its parts, so that it restarts none of them."""


def start_ticks(pid: int) -> int:
    """Return the start of a process in clock ticks since boot, 0 if there is none. Source: proc(5), stat, field 22."""
    try:
        content = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = content.rpartition(")")[2].split()
    return 0 if fields[0] == "Z" else int(fields[19])


def record(processes_file: Path, pids: Mapping[str, int]) -> None:
    """Keep the list of what this process has started, itself included, for a `down` after its death."""
    everything = {SUPERVISOR: os.getpid(), **pids}
    content = {name: [pid, start_ticks(pid)] for name, pid in everything.items()}
    with contextlib.suppress(OSError):
        write_private(processes_file, json.dumps(content).encode())


def leftovers(processes_file: Path) -> dict[str, int]:
    """Return the still running processes of the list that a supervisor kept, by part name."""
    try:
        recorded = json.loads(processes_file.read_bytes())
    except (OSError, ValueError):
        return {}
    return {name: pid for name, (pid, ticks) in recorded.items() if ticks and start_ticks(pid) == ticks}


def owner(pid: int) -> Path | None:
    """Return the state folder that a process was started for, None if it was for none."""
    prefix = f"{MARK}=".encode()
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    return next((Path(os.fsdecode(one.removeprefix(prefix))) for one in entries if one.startswith(prefix)), None)


def marked(entry: str) -> list[int]:
    """Return the processes, this one excepted, that have `entry`, "NAME=value", in their environment.

    Finds also what was started by a process that ended before it could write that down.
    """
    wanted = os.fsencode(entry)
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return [pid for pid in found if pid != os.getpid()]


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back while the block runs, then let them have their way.

    For a start of a process: an interrupt between its fork and its exec would leave a process that nobody knows and
    that `marked` can't find yet. A blocked signal would stay blocked in the child; a handler ends with the exec.
    Only for the main thread, where Python runs handlers.
    """
    held: list[int] = []
    before = {number: signal.signal(number, lambda late, _: held.append(late)) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def end(pids: list[int]) -> None:
    """End the processes and their groups: SIGTERM, SIGKILL for what is still there after 10 s."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + END_S
    for pid in pids:
        if not _wait_gone(pid, deadline):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _wait_gone(pid: int, deadline: float) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return True
    with os.fdopen(handle, "rb", buffering=0):
        return bool(select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0])


def remove_tree(path: Path) -> None:
    """Delete a folder and all below it; a missing one is fine."""
    shutil.rmtree(path, ignore_errors=True)
