"""The garbage collector: follows owners and dependents over all kinds and carries out what `garbage` decides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.actors.controllers import garbage
from oarlock.actors.controllers.actions import Outcome, Performer
from oarlock.actors.controllers.view import by_owner
from oarlock.cluster.client.cache import Cache, key_of
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.workqueue import WorkQueue
from oarlock.cluster.objects import resources
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]

_WORKERS = 16
_NOT_FOUND = 404
_log = logging.getLogger(__name__)


def by_uid(obj: Object) -> Iterable[str]:
    """Index: the object's own uid."""
    return (obj["metadata"]["uid"],)


class Collector:
    """Looks at every object with owners whenever it or one of its owners changes.

    Keys are `PLURAL|KEY` of a watched cache. An owner that no cache holds is asked for before anything is deleted.
    """

    def __init__(self, client: ApiClient, caches: Mapping[str, Cache], performer: Performer) -> None:
        self._client, self._caches, self._performer = client, caches, performer
        self._queue = WorkQueue("garbage_collector")
        self._acting = False
        for cache in caches.values():
            cache.add_index("owner", by_owner)
            cache.add_index("uid", by_uid)

    def attach(self) -> None:
        """Follow the caches; changes count only while `run()` runs."""
        for plural, cache in self._caches.items():
            cache.add_handler(lambda _, old, new, plural=plural: self._changed(plural, old, new))  # type: ignore[misc]

    async def run(self) -> None:
        """Collect until cancelled, beginning with every object that has an owner or waits for dependents."""
        self._queue = WorkQueue("garbage_collector")
        self._acting = True
        tasks = []
        try:
            for plural, cache in self._caches.items():
                for obj in cache:
                    self._changed(plural, None, obj)
            tasks = [asyncio.get_running_loop().create_task(self._work()) for _ in range(_WORKERS)]
            await asyncio.gather(*tasks)
        finally:
            self._acting = False
            self._queue.shut_down()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _changed(self, plural: str, old: Object | None, new: Object | None) -> None:
        if not self._acting:
            return
        if new is None:
            assert old is not None
            self._add_dependents(old)
            self._add_owners(old)
            return
        if old is None or old["metadata"].get("ownerReferences") != new["metadata"].get("ownerReferences"):
            if old is not None:
                self._add_owners(old)
            if new["metadata"].get("ownerReferences"):
                self._queue.add(f"{plural}|{key_of(new)}")
        if new["metadata"].get("deletionTimestamp") and new["metadata"].get("finalizers"):
            self._queue.add(f"{plural}|{key_of(new)}")
            if garbage.is_waiting(new):
                self._add_dependents(new)

    def _add_dependents(self, owner: Object) -> None:
        for plural, cache in self._caches.items():
            for one in cache.by_index("owner", owner["metadata"]["uid"]):
                self._queue.add(f"{plural}|{key_of(one)}")

    def _add_owners(self, dependent: Object) -> None:
        """An owner that waits in the foreground may be free to go now."""
        for reference in dependent["metadata"].get("ownerReferences") or ():
            found = self._find(reference["uid"])
            if found is not None and garbage.is_waiting(found[1]):
                self._queue.add(f"{found[0]}|{key_of(found[1])}")

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._one(key)
                self._queue.forget(key)
            except (ApiError, Unreachable) as error:
                _log.debug("collecting failed key=%s error=%r", key, str(error))
                self._queue.add_rate_limited(key)
            except Exception:  # noqa: BLE001 - a fault in one object must hurt no other
                _log.exception("collecting failed key=%s", key)
                self._queue.add_rate_limited(key)
            finally:
                self._queue.done(key)

    async def _one(self, key: str) -> None:
        plural, _, name = key.partition("|")
        obj = self._caches[plural].get(name)
        if obj is None:
            return
        owners = {one["uid"]: await self._owner(obj, one) for one in obj["metadata"].get("ownerReferences") or ()}
        uid = obj["metadata"]["uid"]
        dependents = [one for cache in self._caches.values() for one in cache.by_index("owner", uid)]
        outcome = Outcome()
        await self._performer.perform(garbage.decide(obj, garbage.judge(obj, owners), dependents), outcome)
        for written, revision in outcome.revisions.items():
            if written in self._caches:
                await self._caches[written].wait_revision(revision)

    def _find(self, uid: str) -> tuple[str, Object] | None:
        for plural, cache in self._caches.items():
            for found in cache.by_index("uid", uid):
                return plural, found
        return None

    async def _owner(self, obj: Object, reference: Object) -> Object | None:
        """Return the owner, or None once the API server has said that it is gone."""
        found = self._find(reference["uid"])
        if found is not None:
            return found[1]
        group, _, version = reference["apiVersion"].rpartition("/")
        resource = resources.by_kind(group, version, reference["kind"])
        if resource is None:
            # A kind that we don't know may well be there: its dependents stay.
            return {"metadata": {"uid": reference["uid"]}}
        namespace = obj["metadata"].get("namespace", "")
        if resource.namespaced and not namespace:
            return {"metadata": {"uid": reference["uid"]}}  # forbidden, and upstream leaves such an object alone
        try:
            live = await self._client.get(resource.path(namespace, reference["name"]))
        except ApiError as error:
            if error.code == _NOT_FOUND:
                return None
            raise
        return live if live["metadata"]["uid"] == reference["uid"] else None
