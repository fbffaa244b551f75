"""The garbage collector's sight: a cache of the metadata of every kind that may own or be owned."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oarlock.actors.controllers.kinds import Kinds, discover
from oarlock.actors.controllers.view import KINDS, by_owner
from oarlock.actors.shell.component import GATHER_MS
from oarlock.cluster.client.cache import Cache, key_of
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.informers import Informers
from oarlock.cluster.client.reflector import metadata_only
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]
Changed = Callable[[str, "Object | None", "Object | None"], None]

_DISCOVERY_S = 15.0
_RETRY_S = 1.0
_APART_S = 0.02
"""Between two new watches: many TLS handshakes at once would hold up whoever shares the process."""
_SYNC_TIMEOUT_S = 10.0
_log = logging.getLogger(__name__)


class Monitors:
    """The shared caches, and one more for each other kind as long as it is served, by `deployments.apps` names.

    `changed(name, old, new)` is told of every change. Source: upstream's GraphBuilder, its syncMonitors.
    """

    def __init__(self, client: ApiClient, shared: Mapping[str, Cache], changed: Changed) -> None:
        self._client, self._changed = client, changed
        self._informers = Informers(client, GATHER_MS)
        self.caches: dict[str, Cache] = {}
        self._own: dict[str, Resource] = {}
        self._keeping: asyncio.Task[None] | None = None
        self.kinds = Kinds(())
        for plural, cache in shared.items():
            group = KINDS[plural][0]
            self._add(f"{plural}.{group}" if group else plural, cache)

    async def warm(self) -> None:
        """Begin to follow what is served, and return once it is known."""
        self._informers.start()
        while True:
            if await self.refresh():
                break
            await asyncio.sleep(_RETRY_S)
        self._keeping = asyncio.get_running_loop().create_task(self._keep())
        await self.synced()

    async def stop(self) -> None:
        """End the watches of its own. Idempotent."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        await self._informers.stop()

    async def _keep(self) -> None:
        answered = True
        while True:
            await asyncio.sleep(_DISCOVERY_S if answered else _RETRY_S)
            answered = await self.refresh()

    async def refresh(self) -> bool:
        """Ask once what is served, and watch what is new; return whether there was an answer."""
        try:
            self.kinds = await discover(self._client)
        except (ApiError, Unreachable) as error:
            _log.info("discovery failed error=%r", str(error))
            return False
        served = {one.qualified: one for one in self.kinds.collectable()}
        for name, resource in served.items():
            if name not in self.caches:
                self._own[name] = resource
                self._add(name, self._cache(resource))
                await asyncio.sleep(_APART_S)
        stale = {group.rpartition("/")[0] for group in self.kinds.stale}
        for name, resource in list(self._own.items()):
            if served.get(name) != resource and resource.group not in stale:
                self._drop(name)
        return True

    async def synced(self) -> None:
        """Return once every kind's objects are known, or after a time: one broken kind must stop no other."""
        waits = [cache.synced.wait() for cache in self.caches.values()]
        try:
            async with asyncio.timeout(_SYNC_TIMEOUT_S):
                await asyncio.gather(*waits)
        except TimeoutError:
            behind = [name for name, cache in self.caches.items() if not cache.synced.is_set()]
            _log.warning("collecting without kinds=%s", ",".join(behind))

    def dependents(self, uid: str) -> Sequence[tuple[str, Object]]:
        """Return the objects that name `uid` as an owner, each with its kind's name."""
        return [(name, obj) for name, cache in self.caches.items() for obj in cache.by_index("owner", uid)]

    def find(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Return a cached object, or None."""
        cache = self.caches.get(resource.qualified)
        return cache.get(f"{namespace}/{name}" if namespace else name) if cache is not None else None

    def elsewhere(self, uid: str, namespace: str) -> bool:
        """Whether the object of that uid is in another namespace (a search through everything, for the rare case)."""
        return any(
            obj["metadata"]["uid"] == uid and obj["metadata"].get("namespace", namespace) != namespace
            for cache in self.caches.values()
            for obj in cache
        )

    def _cache(self, resource: Resource) -> Cache:
        return self._informers.cache(resource.group, resource.version, resource.plural, transform=metadata_only)

    def _drop(self, name: str) -> None:
        resource = self._own.pop(name)
        del self.caches[name]
        self._informers.drop(resource.group, resource.version, resource.plural)

    def _add(self, name: str, cache: Cache) -> None:
        self.caches[name] = cache
        cache.add_index("owner", by_owner)
        cache.add_handler(lambda _, old, new: self._changed(name, old, new))


def key(name: str, obj: Object) -> str:
    """Return the collector's key of an object."""
    return f"{name}|{key_of(obj)}"
