"""A time limit that many have in common: one timer of the loop stands for all of them."""

from __future__ import annotations

import asyncio
from types import TracebackType


class TimeLimit:
    """Gives blocks of code the same `seconds`, as `asyncio.timeout` would, at a fraction of its cost.

    Belongs to one event loop. `with limit.begun():` raises TimeoutError around what it had to cancel.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[Begun, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begun(self) -> Begun:
        """Return the context of one block, whose time begins now."""
        loop = asyncio.get_running_loop()
        block = Begun(self._open, loop.time() + self._seconds)
        if self._timer is None:
            self._timer = loop.call_at(block.ends_s, self._expire)
        return block

    def _expire(self) -> None:
        """End those whose time is over. The first that is open ends next: all have the same time."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for block in list(self._open):
            if block.ends_s > loop.time():
                self._timer = loop.call_at(block.ends_s, self._expire)
                return
            block.expire()


class Begun:
    """One block under a time limit."""

    __slots__ = ("_cancelling", "_expired", "_open", "_task", "ends_s")

    def __init__(self, others: dict[Begun, None], ends_s: float) -> None:
        self.ends_s = ends_s
        self._open = others
        self._expired = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0

    def expire(self) -> None:
        """Cancel the block."""
        del self._open[self]
        self._expired = True
        assert self._task is not None
        self._task.cancel()

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task()
        assert task is not None
        self._cancelling = task.cancelling()
        self._open[self] = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._expired:
            del self._open[self]
            return
        assert self._task is not None
        # Whoever else has cancelled the task as well is to be heeded.
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
