"""The current status of every part, and word of each change to whoever listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict

from prometheus_client import Gauge

from oarlock.cluster.boot.control import Answer
from oarlock.cluster.boot.parts import PartState, PartStatus

UP = Gauge("oarlock_supervisor_part_ready", "1 while the part is ready.", ["part"])


class Board:
    """Holds one `PartStatus` a part, by name."""

    def __init__(self) -> None:
        self.statuses: dict[str, PartStatus] = {}
        self._changed = asyncio.Condition()
        self._version = 0

    def add(self, name: str, kind: str) -> None:
        self.statuses[name] = PartStatus(name, kind)

    async def set(self, name: str, state: PartState, **changes: object) -> None:
        """Change a part's state and the given fields of its status; an earlier error is forgotten."""
        status = self.statuses[name]
        status.state, status.error = state, ""
        for key, value in changes.items():
            setattr(status, key, value)
        UP.labels(name).set(state == "ready")
        async with self._changed:
            self._version += 1
            self._changed.notify_all()

    async def watch(self) -> AsyncIterator[Answer]:
        """Yield {"parts": […]} now and after every change, for as long as the caller listens."""
        seen = -1
        while True:
            async with self._changed:
                while self._version == seen:
                    await self._changed.wait()
                seen = self._version
            yield self.snapshot()

    def snapshot(self) -> Answer:
        """Return {"parts": […]} as it is now, in the order in which the parts were added."""
        return {"parts": [asdict(status) for status in self.statuses.values()]}
