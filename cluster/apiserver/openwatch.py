"""The life of a watch once its client has what there was: thousands last for hours, and none of them has a task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import orjson
from prometheus_client import Gauge

from oarlock.cluster.apiserver.entries import Watcher
from oarlock.cluster.apiserver.exchange import Wire
from oarlock.cluster.apiserver.gathering import GatheringWire
from oarlock.cluster.apiserver.watchcache import Collection, WatchCache
from oarlock.cluster.objects.status import ApiError

log = logging.getLogger(__name__)

BOOKMARK_S = 60.0


class HoldingWatcher(Watcher, Protocol):
    """A watcher that may hold changes back until they are converted."""

    call: Callable[[], None] | None
    """Called when something is to be pumped, or the watch is done."""
    is_done: bool

    @property
    def is_behind(self) -> bool:
        """Whether something is to be pumped."""
        ...

    async def pump(self) -> None:
        """Write what is held back. Raises ApiError where that can't be converted."""
        ...

    def progress(self, revision: int) -> None:
        """Tell the client that it has seen everything up to `revision`, if it has and wants to know."""
        ...


class OpenWatch:
    """A watch that is counted, and told of changes, until it is `gone`: the `Rest` of its answer.

    It ends by its time, by its watcher or by its client. Only what a webhook has to convert is waited for, by a task
    that ends with that.
    """

    __slots__ = (
        "_cache",
        "_collection",
        "_end",
        "_ends_s",
        "_gauge",
        "_others",
        "_pumping",
        "_timer",
        "_watcher",
        "_wire",
    )

    def __init__(
        self,
        watcher: HoldingWatcher,
        collection: Collection,
        cache: WatchCache,
        gauge: Gauge,
        others: set[OpenWatch],
        wire: Wire,
        timeout_s: float,
    ) -> None:
        self._watcher, self._collection, self._cache = watcher, collection, cache
        self._gauge, self._others, self._wire = gauge, others, wire
        self._ends_s = asyncio.get_running_loop().time() + timeout_s
        self._end: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pumping: asyncio.Task[None] | None = None
        gauge.inc()
        others.add(self)

    def begin(self, end: Callable[[], None]) -> None:
        """Go on with what the watcher holds, and then as long as it should last."""
        self._end = end
        self._watcher.call = self._called
        self._wait()
        self._attend()

    def gone(self) -> None:
        """Be told no more."""
        self._end = self._watcher.call = None
        for waiting in (self._timer, self._pumping):
            if waiting is not None:
                waiting.cancel()
        self._collection.watchers.discard(self._watcher)
        self._others.discard(self)
        self._gauge.dec()
        if isinstance(self._wire, GatheringWire):
            self._wire.end()

    def stop(self) -> None:
        """End now, with a last bookmark: nothing that the client should have seen is missing."""
        self._watcher.is_done = True
        self._watcher.progress(self._cache.told_revision)
        self._finish()

    def _finish(self) -> None:
        if self._end is not None:
            self._end()

    def _called(self) -> None:
        # Not at once: whoever calls is in the midst of telling many.
        asyncio.get_running_loop().call_soon(self._attend)

    def _attend(self) -> None:
        if self._watcher.is_done:
            self._finish()
        elif self._watcher.is_behind and self._pumping is None and self._end is not None:
            self._pumping = asyncio.get_running_loop().create_task(self._pump())

    async def _pump(self) -> None:
        try:
            await self._watcher.pump()
        except ApiError as error:
            # What could not be converted can't be left out; the client resumes from what it has seen.
            self._pumping = None
            self._wire.write(refusal(error))
            self._finish()
        except Exception:
            log.exception("a watch can't go on")
            self._wire.abort()
        else:
            self._pumping = None
            self._attend()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        left_s = self._ends_s - loop.time()
        if left_s <= 0:
            self._finish()
            return
        # A bookmark shortly before the end lets the client resume where it stood.
        pause_s = min(BOOKMARK_S, left_s - 2.0 if left_s > 2.0 else left_s)
        self._timer = loop.call_later(pause_s, self._look)

    def _look(self) -> None:
        self._watcher.progress(self._cache.told_revision)
        self._wait()


def refusal(error: ApiError) -> bytes:
    """Return the event line that ends a watch by an error."""
    return orjson.dumps({"type": "ERROR", "object": error.status()}) + b"\n"
