"""How soon a process gets to run among others that are busy: a short slice lets it in earlier and no longer.

Source: sched_setattr(2); Linux 6.12, "sched/eevdf: Allow shorter slices to wakeup-preempt".
"""

from __future__ import annotations

import ctypes
import os
import platform

SLICE_S = 0.0003
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_SCHED_OTHER = 0


class _Attributes(ctypes.Structure):
    """struct sched_attr in its first form."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


def shorten(seconds: float = SLICE_S) -> bool:
    """Ask for slices of so many seconds, 0.0001 to 0.1, for this thread and those that it will start.

    No privilege is needed, and no share of the processor is gained. Returns False where the system has no such call;
    a kernel that is too old to heed it says nothing.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None or platform.system() != "Linux":
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = _Attributes(ctypes.sizeof(_Attributes), _SCHED_OTHER, 0, nice, 0, int(seconds * 1e9), 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, 0, ctypes.byref(wanted), 0) == 0)
