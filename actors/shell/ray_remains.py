"""Finds and ends processes by a variable of their environment, whoever their parent is by now."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_POLL_S = 0.02


def processes(variable: str, value: str) -> list[int]:
    """Return the ids of the living processes that were started with `variable=value`, this one excepted.

    A variable is inherited through every fork and exec, so a raylet's workers are found even when orphaned, and a
    recycled process id never is.
    """
    mark = f"{variable}={value}".encode()
    return [pid for pid in _numbered() if pid != os.getpid() and _has_mark(pid, mark)]


def end_all(variable: str, value: str, *, grace_s: float) -> int:
    """Return how many processes were left after `grace_s` and had to be killed; none is alive afterwards."""
    deadline = time.monotonic() + grace_s
    while (left := processes(variable, value)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    killed = len(left)
    while left:
        for pid in left:
            _kill(pid)
        time.sleep(_POLL_S)
        left = processes(variable, value)
    return killed


def _numbered() -> Iterator[int]:
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                yield int(entry.name)


def _has_mark(pid: int, mark: bytes) -> bool:
    try:
        # A zombie's environment reads as empty, so one that waits for its parent is not counted.
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
