"""The thread in which a replica's journal is written, so that a stalled disk never stalls heartbeats."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

Job = tuple[Callable[..., object], tuple[Any, ...]]


class DiskThread:
    """Runs jobs one after another in one thread. Lighter than an executor: no futures, no locks of Python's own.

    Source: decision 0011.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., object], *arguments: Any) -> None:
        """Run `function`, which must not raise, after all that was submitted before."""
        self._jobs.put((function, arguments))

    def shutdown(self) -> None:
        """Finish what was submitted; blocks until it is done. Nothing may be submitted afterwards."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, arguments = job
            function(*arguments)
            del job, function, arguments  # or they would live on until the next job
