"""A loop for what can't be decided from caches alone: it asks the API server itself, object by object."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from oarlock.actors.controllers.workers import Workers
from oarlock.cluster.client.cache import Cache, key_of

Object = dict[str, Any]

_WORKERS = 4


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
        self._cache, self._due, self._handle = cache, due, handle
        self._workers = Workers(name, _WORKERS, self._one)

    def attach(self) -> None:
        """Follow the cache; changes count only while `run()` runs."""
        self._cache.add_handler(lambda _, __, new: self._changed(new))

    async def run(self) -> None:
        """Act until cancelled."""
        await self._workers.run(self._begin)

    async def _begin(self) -> None:
        for obj in self._cache:
            self._changed(obj)

    def _changed(self, obj: Object | None) -> None:
        if self._workers.are_acting and obj is not None and self._due(obj):
            self._workers.queue.add(key_of(obj))

    async def _one(self, key: str) -> bool:
        obj = self._cache.get(key)
        if obj is not None and self._due(obj):
            again_s = await self._handle(obj)
            if again_s is not None:
                self._workers.queue.add_after(key, again_s)
        return True
