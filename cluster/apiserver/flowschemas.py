"""Keeps every FlowSchema's `Dangling` condition right: whether the priority level that it names exists.

Each API server does it, as upstream's do: all come to the same condition, and who finds it written writes nothing.
Source: apiserver pkg/util/flowcontrol/apf_controller.go.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from oarlock.cluster.apiserver import clock
from oarlock.cluster.apiserver.bootstrap import own_call
from oarlock.cluster.apiserver.entries import Change, Entry
from oarlock.cluster.apiserver.options import WriteOptions
from oarlock.cluster.apiserver.watchcache import Collection, WatchCache
from oarlock.cluster.apiserver.writing import Writer
from oarlock.cluster.objects import flowcontrol, resources
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.model import StoreError

log = logging.getLogger(__name__)

Obj = dict[str, Any]
MANAGER: Final = "api-priority-and-fairness-config-consumer-v1"
RETRY_S: Final = 1.0


class FlowSchemaConditions:
    """Looks at all FlowSchemas whenever one of them or a priority level has changed."""

    def __init__(self, writer: Writer, cache: WatchCache, now: clock.Clock) -> None:
        self._writer = writer
        self._now = now
        self._resource = _resource("flowschemas")
        self._schemas = cache.collection(self._resource.key_prefix)
        self._levels = cache.collection(_resource("prioritylevelconfigurations").key_prefix)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; `stop` ends it."""
        self._task = asyncio.create_task(self._run(), name="flow schema conditions")

    async def stop(self) -> None:
        """End, whatever is under way. May be called when it never began."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        for collection in (self._schemas, self._levels):
            collection.watchers.discard(self)

    def deliver(self, changes: list[Change]) -> None:
        """Something may be out of date; which conditions are, the next look at all of them tells."""
        del changes
        self._changed.set()

    def lost(self) -> None:
        """The cache begins anew: look again."""
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            for collection in (self._schemas, self._levels):
                collection.watchers.add(self)
            try:
                for entry in list(self._schemas.entries.values()):
                    if self._outdated(entry.object()):
                        await self._tell(entry)
            except (ApiError, StoreError) as error:
                log.warning("a FlowSchema's condition can't be written now: %s", error)
                await asyncio.sleep(RETRY_S)
                continue
            await self._changed.wait()

    def _outdated(self, schema: Obj) -> bool:
        wanted = flowcontrol.dangling(schema, _names(self._levels))
        told = [one for one in _conditions(schema) if one.get("type") == flowcontrol.DANGLING]
        return not told or any(told[0].get(name) != value for name, value in wanted.items())

    async def _tell(self, entry: Entry) -> None:
        def compute(current: Obj, _: Entry) -> Obj:
            if not self._outdated(current):
                return current
            condition = flowcontrol.dangling(current, _names(self._levels))
            condition["lastTransitionTime"] = clock.text(self._now())
            others = [one for one in _conditions(current) if one.get("type") != flowcontrol.DANGLING]
            status = {**(current.get("status") or {}), "conditions": [*others, condition]}
            return {**current, "status": status}

        call = own_call(self._resource, entry.object(), "update", MANAGER, "status")
        try:
            await self._writer.rewrite(call, compute, WriteOptions())
        except ApiError as error:
            if error.code != 404:  # it has been deleted meanwhile
                raise


def _conditions(schema: Obj) -> list[Obj]:
    found: list[Obj] = (schema.get("status") or {}).get("conditions") or []
    return found


def _names(collection: Collection) -> frozenset[str]:
    return frozenset(key.rpartition(b"/")[2].decode() for key in collection.entries)


def _resource(plural: str) -> resources.Resource:
    found = resources.lookup(flowcontrol.GROUP, "v1", plural)
    assert found is not None
    return found
