"""The slices that a process asks the kernel for."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import threading

import pytest

from oarlock.cluster.boot import slices

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}


def present() -> tuple[int, int]:
    """Return the calling thread's nice value and slice in nanoseconds. Source: sched_getattr(2)."""
    found = slices._Attributes()
    call = ctypes.CDLL(None).syscall
    assert call(SCHED_GETATTR[platform.machine()], 0, ctypes.byref(found), ctypes.sizeof(found), 0) == 0
    return found.nice, found.runtime_ns


@pytest.mark.skipif(platform.machine() not in SCHED_GETATTR, reason="the system call's number isn't known here")
def test_a_thread_and_those_it_starts_run_in_short_slices_and_are_as_nice_as_before() -> None:
    said: list[object] = []

    def child() -> None:
        said.append(present())

    def parent() -> None:
        said.append(slices.shorten(0.0004))
        started = threading.Thread(target=child)
        started.start()
        started.join()

    thread = threading.Thread(target=parent)
    thread.start()
    thread.join()
    version = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    expected = 400_000 if version >= (6, 12) else said[-1][1]  # type: ignore[index]
    assert said == [True, (os.getpriority(os.PRIO_PROCESS, 0), expected)]
    assert present()[1] != 400_000, "other threads of the process are left alone"


def test_where_the_call_is_not_known_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    assert not slices.shorten()
