"""What happens in the cluster, told to the queue and to those who wait for it."""

from __future__ import annotations

import asyncio

from oarlock.actors.scheduler.queue import SchedulingQueue


class Changes:
    """Passes on what is told of storage and devices, and wakes bindings that wait for either."""

    def __init__(self, queue: SchedulingQueue) -> None:
        self._queue = queue
        self._changed = asyncio.Event()

    def note(self, event: str) -> None:
        """Tell what happened."""
        self._queue.note(event)
        self._wake()

    def about_claim(self, event: str, key: str) -> None:
        """Tell what happened to a ResourceClaim, which concerns the pods that use it."""
        self._queue.note_claim(event, key)
        self._wake()

    async def next(self) -> None:
        """Return when anything has changed."""
        await self._changed.wait()

    def _wake(self) -> None:
        # Whoever waits has been woken by set() already; the next one waits for the next change.
        self._changed.set()
        self._changed.clear()
