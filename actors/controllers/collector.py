"""The garbage collector: follows owners and dependents over all kinds and carries out what `garbage` decides."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from oarlock.actors.controllers import garbage
from oarlock.actors.controllers.actions import Action, Delete, Patch, Performer
from oarlock.actors.controllers.garbage import Whereabouts
from oarlock.actors.controllers.monitors import Monitors, key
from oarlock.actors.controllers.workers import Workers
from oarlock.cluster.client.cache import STEP_OBJECTS, Cache
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]

_WORKERS = 16
_ABSENT_MAX = 5000
_CAUGHT_UP_TIMEOUT_S = 10.0
_GONE = 404
_log = logging.getLogger(__name__)


class Collector:
    """Looks at every object with owners whenever it or one of its owners changes.

    Keys are `KIND|KEY` of a watched cache. An owner that no cache holds is asked for before anything is deleted.
    """

    def __init__(self, client: ApiClient, caches: Mapping[str, Cache], performer: Performer) -> None:
        self._client, self._performer = client, performer
        expected = (ApiError, Unreachable, garbage.UnknownKind)
        self._workers = Workers("garbage_collector", _WORKERS, self._one, expected)
        self._absent: OrderedDict[Whereabouts, None] = OrderedDict()
        self._monitors = Monitors(client, caches, self._changed)

    def attach(self) -> None:
        """Changes count only while `run()` runs."""

    async def warm(self) -> None:
        """Begin to watch the kinds that no controller reads; the caches given are somebody else's to fill."""
        await self._monitors.warm()

    async def stop(self) -> None:
        """End these watches. Idempotent."""
        await self._monitors.stop()

    async def run(self) -> None:
        """Collect until cancelled, beginning with every object that has an owner or waits for dependents."""
        await self._workers.run(self._begin)

    async def _begin(self) -> None:
        for name, cache in list(self._monitors.caches.items()):
            for number, obj in enumerate(cache, start=1):
                self._changed(name, None, obj)
                if number % STEP_OBJECTS == 0:
                    await asyncio.sleep(0)

    def _changed(self, name: str, old: Object | None, new: Object | None) -> None:
        if not self._workers.are_acting:
            return
        if new is None:
            assert old is not None
            if self._add_dependents(old):
                self._note_absent(old)
            self._add_owners(old)
            return
        if old is None or old["metadata"].get("ownerReferences") != new["metadata"].get("ownerReferences"):
            if old is not None:
                self._add_owners(old)
            if new["metadata"].get("ownerReferences"):
                self._workers.queue.add(key(name, new))
        if new["metadata"].get("deletionTimestamp") and new["metadata"].get("finalizers"):
            self._workers.queue.add(key(name, new))
            if garbage.is_waiting(new):
                self._add_dependents(new)

    def _add_dependents(self, owner: Object) -> int:
        found = self._monitors.dependents(owner["metadata"]["uid"])
        for name, one in found:
            self._workers.queue.add(key(name, one))
        return len(found)

    def _note_absent(self, owner: Object) -> None:
        """Remember one that was seen to go: its dependents, maybe thousands, need not ask for it each."""
        kind = self._monitors.kinds.of(owner["apiVersion"], owner["kind"])
        if kind is not None:
            metadata = owner["metadata"]
            self._forget(Whereabouts(kind, metadata.get("namespace", ""), metadata["name"], metadata["uid"]))

    def _forget(self, where: Whereabouts) -> None:
        self._absent[where] = None
        while len(self._absent) > _ABSENT_MAX:
            self._absent.popitem(last=False)

    def _add_owners(self, dependent: Object) -> None:
        """An owner that waits in the foreground may be free to go now."""
        for reference in dependent["metadata"].get("ownerReferences") or ():
            kind = self._monitors.kinds.of(reference["apiVersion"], reference["kind"])
            if kind is None:
                continue
            namespace = dependent["metadata"].get("namespace", "") if kind.namespaced else ""
            owner = self._monitors.find(kind, namespace, reference["name"])
            if owner is not None and garbage.is_waiting(owner):
                self._workers.queue.add(key(kind.qualified, owner))

    async def _one(self, name: str) -> bool:
        kind, _, path = name.partition("|")
        cache = self._monitors.caches.get(kind)
        obj = cache.get(path) if cache is not None else None
        if obj is not None:
            with suppress(garbage.Misplaced):  # nothing will ever come of it
                await self._collect(obj)
        return True

    async def _collect(self, obj: Object) -> None:
        deleting = bool(obj["metadata"].get("deletionTimestamp"))
        references = [] if deleting else obj["metadata"].get("ownerReferences") or []
        owners = garbage.judge(references, [await self._owner(obj, one) for one in references])
        look = deleting or owners.waiting
        dependents = [one for _, one in self._monitors.dependents(obj["metadata"]["uid"])] if look else []
        for action in garbage.decide(obj, owners, dependents):
            await self._write(action)

    async def _owner(self, obj: Object, reference: Object) -> Object | None:
        """Return the owner, or None once it is certain that it is gone."""
        namespace = obj["metadata"].get("namespace", "")
        kind = self._monitors.kinds.of(reference["apiVersion"], reference["kind"])
        try:
            where = garbage.locate(obj, reference, kind)
        except garbage.Misplaced:
            if self._monitors.elsewhere(reference["uid"], namespace):
                self._performer.record(garbage.invalid_namespace(obj, reference))
            raise
        if where in self._absent:
            return None
        found = self._monitors.find(where.resource, where.namespace, where.name)
        if found is not None and found["metadata"]["uid"] == where.uid:
            return found
        if self._monitors.elsewhere(where.uid, namespace):
            self._performer.record(garbage.invalid_namespace(obj, reference))
        return await self._asked(where)

    async def _asked(self, where: Whereabouts) -> Object | None:
        """Ask the API server for an owner; what is gone once is gone for ever, for a uid is never used again."""
        try:
            live = await self._client.get(where.resource.path(where.namespace, where.name))
        except ApiError as error:
            if error.code != _GONE:
                raise
            live = None
        if live is not None and live["metadata"]["uid"] == where.uid:
            return live
        self._forget(where)
        return None

    async def _write(self, action: Action) -> None:
        """Carry one action out and wait until the caches show it; what is gone meanwhile needs it no more."""
        assert isinstance(action, Delete | Patch)
        metadata = action.obj["metadata"]
        kind = self._monitors.kinds.of(action.obj["apiVersion"], action.obj["kind"])
        if kind is None:
            raise garbage.UnknownKind(f"{action.obj['apiVersion']} {action.obj['kind']}")
        path = kind.path(metadata.get("namespace", ""), metadata["name"])
        try:
            if isinstance(action, Patch):
                answer = await self._client.patch(path, action.patch, action.content_type)
            else:
                certain = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
                options = {"propagationPolicy": action.propagation, "preconditions": certain}
                answer = await self._client.delete(path, options)
        except ApiError as error:
            if error.code == _GONE:
                return
            raise
        await self._caught_up(kind.qualified, int((answer.get("metadata") or {}).get("resourceVersion") or 0))

    async def _caught_up(self, kind: str, revision: int) -> None:
        cache = self._monitors.caches.get(kind)
        if cache is not None and revision:
            try:
                async with asyncio.timeout(_CAUGHT_UP_TIMEOUT_S):
                    await cache.wait_revision(revision)
            except TimeoutError:
                _log.warning("cache behind controller=garbage_collector kind=%s revision=%d", kind, revision)
