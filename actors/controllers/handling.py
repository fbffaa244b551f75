"""A loop for what can't be decided from caches alone: it asks the API server itself, object by object."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from oarlock.cluster.client.cache import Cache, key_of
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.workqueue import WorkQueue
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]

_WORKERS = 4
_log = logging.getLogger(__name__)


class HandlingLoop:
    """Calls `handle` for every object of a cache that is `due`, until it isn't any more.

    `handle` returns the seconds after which to look at the object again, or None. What it raises as ApiError or
    Unreachable is tried again, ever later.
    """

    def __init__(
        self,
        name: str,
        cache: Cache,
        due: Callable[[Mapping[str, Any]], bool],
        handle: Callable[[Object], Awaitable[float | None]],
    ) -> None:
        self._name, self._cache, self._due, self._handle = name, cache, due, handle
        self._queue = WorkQueue(name)
        self._acting = False

    def attach(self) -> None:
        """Follow the cache; changes count only while `run()` runs."""
        self._cache.add_handler(lambda _, __, new: self._changed(new))

    async def run(self) -> None:
        """Act until cancelled."""
        self._queue = WorkQueue(self._name)
        self._acting = True
        tasks = []
        try:
            for obj in self._cache:
                self._changed(obj)
            tasks = [asyncio.get_running_loop().create_task(self._work()) for _ in range(_WORKERS)]
            await asyncio.gather(*tasks)
        finally:
            self._acting = False
            self._queue.shut_down()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _changed(self, obj: Object | None) -> None:
        if self._acting and obj is not None and self._due(obj):
            self._queue.add(key_of(obj))

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                obj = self._cache.get(key)
                if obj is None or not self._due(obj):
                    continue
                again_s = await self._handle(obj)
                self._queue.forget(key)
                if again_s is not None:
                    self._queue.add_after(key, again_s)
            except (ApiError, Unreachable) as error:
                _log.debug("not handled controller=%s key=%s error=%r", self._name, key, str(error))
                self._queue.add_rate_limited(key)
            except Exception:  # noqa: BLE001 - a fault in one object must hurt no other
                _log.exception("not handled controller=%s key=%s", self._name, key)
                self._queue.add_rate_limited(key)
            finally:
                self._queue.done(key)
