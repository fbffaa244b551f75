"""A client's request numbers: never two alike, and never further apart than the server remembers."""

from __future__ import annotations

import asyncio

from oarlock.consensus.sessions import OUTCOMES_MAX


class RequestSequence:
    """Numbers from 1 on. All below `acknowledged` have been answered, and no number is more than OUTCOMES_MAX above."""

    def __init__(self) -> None:
        self._last = 0
        self._open: dict[int, None] = {}
        self._room = asyncio.Event()

    async def take(self) -> tuple[int, int]:
        """Return (a new number, acknowledged); waits while the oldest open number is too far behind."""
        while self._last + 1 - self._acknowledged() >= OUTCOMES_MAX:
            self._room.clear()
            await self._room.wait()
        self._last += 1
        self._open[self._last] = None
        return self._last, self._acknowledged()

    def release(self, number: int) -> None:
        """Its request is over."""
        del self._open[number]
        self._room.set()

    def _acknowledged(self) -> int:
        return next(iter(self._open), self._last + 1)
