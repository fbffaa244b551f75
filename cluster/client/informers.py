"""Caches shared by everybody in a process: one list and one watch per kind, however many read it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from oarlock.cluster.client.cache import Cache
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.reflector import Reflector, Transform, without_managed_fields


def collection_path(group: str, version: str, plural: str, namespace: str | None = None) -> str:
    """Return the URL path of a collection; the core group is ""."""
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


class Informers:
    """Makes caches on demand; those asked for before `start()` begin with it, later ones at once.

    `gather_ms` is how long the events of a busy kind may be gathered before they come, see `ApiClient.pieces`; it may
    be set at any time.
    """

    def __init__(self, client: ApiClient, gather_ms: int = 0) -> None:
        self._client, self._gather_ms = client, gather_ms
        self._caches: dict[tuple[object, ...], Cache] = {}
        self._reflectors: dict[tuple[object, ...], Reflector] = {}
        self._tasks: dict[Reflector, asyncio.Task[None]] = {}
        self._started = False

    def cache(
        self,
        group: str,
        version: str,
        plural: str,
        *,
        namespace: str | None = None,
        params: Mapping[str, str] | None = None,
        transform: Transform = without_managed_fields,
    ) -> Cache:
        """Return the shared cache of a kind, in all namespaces or one.

        `params` narrows it (`fieldSelector`, `labelSelector`). Who asks first for a cache decides its `transform`.
        """
        identity = (group, version, plural, namespace, tuple(sorted((params or {}).items())))
        if identity not in self._caches:
            cache = self._caches[identity] = Cache(f"{plural}.{group}" if group else plural)
            path = collection_path(group, version, plural, namespace)
            self._reflectors[identity] = Reflector(self._client, path, cache, params, transform, self._gather_ms)
            if self._started:
                self._launch(self._reflectors[identity])
        return self._caches[identity]

    @property
    def gather_ms(self) -> int:
        return self._gather_ms

    @gather_ms.setter
    def gather_ms(self, gather_ms: int) -> None:
        self._gather_ms = gather_ms
        for reflector in self._reflectors.values():
            reflector.gather_ms = gather_ms

    def drop(self, group: str, version: str, plural: str) -> None:
        """End the watch of a kind in all namespaces, because it is served no more; the cache keeps what it holds."""
        identity = (group, version, plural, None, ())
        self._caches.pop(identity, None)
        reflector = self._reflectors.pop(identity, None)
        task = self._tasks.pop(reflector, None) if reflector is not None else None
        if task is not None:
            task.cancel()

    def start(self) -> None:
        """Begin to fill the caches. Needs a running event loop."""
        if not self._started:
            self._started = True
            for reflector in self._reflectors.values():
                self._launch(reflector)

    async def synced(self) -> None:
        """Return once every cache holds its first full list."""
        for cache in list(self._caches.values()):
            await cache.synced.wait()

    async def wait_revision(self, revision: int) -> None:
        """Return once every cache has every change up to `revision`."""
        await asyncio.gather(*(cache.wait_revision(revision) for cache in self._caches.values()))

    async def stop(self) -> None:
        """End all watches; the caches keep what they hold. Idempotent."""
        tasks, self._tasks = list(self._tasks.values()), {}
        self._started = False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _launch(self, reflector: Reflector) -> None:
        self._tasks[reflector] = asyncio.get_running_loop().create_task(reflector.run())
