"""What keeps a process's event loop from its work: how late it is, measured; garbage collections, kept short.

A full collection looks at every object there is; 100,000 cached ones take 20 ms and more. What has survived one is
therefore not looked at again. That leaks only what becomes a cycle of garbage after that, and requests, connections
and watches leave no cycles behind (tests/unit/cluster/boot/test_pauses.py).
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import suppress
from typing import Any

from prometheus_client import Histogram

LAG = Histogram(
    "oarlock_event_loop_lag_seconds",
    "How late the event loop was when it was asked four times a second.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
COLLECTION = Histogram(
    "oarlock_garbage_collection_seconds",
    "How long a garbage collection stopped the process, by generation.",
    ["generation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25),
)
_INTERVAL_S = 0.25
_THRESHOLDS = (10_000, 1, 0)
"""Objects made and not freed before the young are looked at; every fourth time at all that isn't frozen."""
_OLDEST = 2


class Pauses:
    """Measures and shortens the pauses of this process from `start` to `stop`."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._began = 0.0

    def start(self, *, freezes: bool) -> None:
        """Begin. `freezes` is for processes that hold much for long; others go on as Python does."""
        gc.callbacks.append(self._collected)
        if freezes:
            gc.set_threshold(*_THRESHOLDS)
            gc.callbacks.append(_freeze)
        gc.collect()
        gc.freeze()
        self._task = asyncio.get_running_loop().create_task(_observe_lag(), name="event loop lag")

    def stop(self) -> None:
        """Idempotent."""
        if self._task is not None:
            self._task.cancel()
        for callback in (self._collected, _freeze):
            with suppress(ValueError):
                gc.callbacks.remove(callback)

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            COLLECTION.labels(str(info["generation"])).observe(time.perf_counter() - self._began)


def _freeze(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == _OLDEST:
        gc.freeze()


async def _observe_lag() -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _INTERVAL_S
        await asyncio.sleep(_INTERVAL_S)
        LAG.observe(max(0.0, loop.time() - due))
