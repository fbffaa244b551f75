"""A connection that says nothing for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

IDLE_S = 4 * 3600.0
"""Source: the kubelet's --streaming-connection-idle-timeout."""


class Idle:
    """Calls `expire` once `touch` was not called for `limit_s` seconds. One timer, however often it is touched."""

    def __init__(self, expire: Callable[[], None], limit_s: float = IDLE_S) -> None:
        self._expire = expire
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._touched_s = self._loop.time()
        self._timer = self._loop.call_later(limit_s, self._look)

    def touch(self) -> None:
        """Note that something was sent or has come."""
        self._touched_s = self._loop.time()

    def cancel(self) -> None:
        """Never call."""
        self._timer.cancel()

    def _look(self) -> None:
        left_s = self._touched_s + self._limit_s - self._loop.time()
        if left_s <= 0:
            self._expire()
        else:
            self._timer = self._loop.call_later(left_s, self._look)
