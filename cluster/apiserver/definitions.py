"""Keeps CustomResourceDefinitions' statuses, deletes the objects of those that go, and ends watches on what changed.

Every API server does so; whoever writes first is right, and the others find nothing left to do.
Source: apiextensions `pkg/controller/{status,establish,finalizer}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from typing import Any

from oarlock.cluster.apiserver import clock
from oarlock.cluster.apiserver.authentication import AUTHENTICATED, MASTERS, User
from oarlock.cluster.apiserver.bootstrap import own_call
from oarlock.cluster.apiserver.deleting import CLEANUP_FINALIZER, Deleter
from oarlock.cluster.apiserver.entries import Change, Entry
from oarlock.cluster.apiserver.options import DeleteOptions, WriteOptions
from oarlock.cluster.apiserver.served import DEFINITIONS
from oarlock.cluster.apiserver.watchcache import Collection, WatchCache
from oarlock.cluster.apiserver.writing import Writer
from oarlock.cluster.objects.custom import naming
from oarlock.cluster.objects.custom.definition import holds, stored_resource
from oarlock.cluster.objects.custom.outline import outline, spec_bytes
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.model import StoreError

log = logging.getLogger(__name__)
Obj = dict[str, Any]
RETRY_S = 0.2
FAILED_RETRY_S = 2.0
"""The pause after deletions that failed: a webhook that is down needs time, not requests."""
_USER = User("system:apiserver", (MASTERS, AUTHENTICATED))


class Definitions:
    """A watcher of the definitions in the cache, with one task that acts on what it has seen."""

    def __init__(self, cache: WatchCache, writer: Writer, deleter: Deleter, now: clock.Clock) -> None:
        self._cache, self._writer, self._deleter, self._now = cache, writer, deleter, now
        self._shown: dict[bytes, tuple[bytes, bytes]] = {}
        self._outlines: dict[bytes, tuple[int, Obj]] = {}
        self._due: dict[bytes, None] = {}
        self._finishing: dict[bytes, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Act until stopped, beginning with every definition there is."""
        self._follow()
        self._task = asyncio.create_task(self._run(), name="definitions")

    async def stop(self) -> None:
        """Idempotent."""
        task, self._task = self._task, None
        tasks = [*self._finishing.values(), *([task] if task is not None else ())]
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._collection.watchers.discard(self)

    # What the cache tells.

    def deliver(self, changes: list[Change]) -> None:
        """Whatever a definition does may free names for others of its group that lack some."""
        for change in changes:
            self._look_at(change.key)
            self._due[change.key] = None
            group = _group(change.key)
            for key, entry in self._collection.entries.items():
                if _group(key) == group and not naming.is_settled(self._outline(entry)):
                    self._due[key] = None
        self._woken.set()

    def lost(self) -> None:
        """The cache has a gap: begin anew."""
        self._follow()

    @property
    def _collection(self) -> Collection:
        return self._cache.collection(DEFINITIONS.key_prefix)

    def _follow(self) -> None:
        self._collection.watchers.add(self)
        for key in (*self._shown, *self._collection.entries):
            self._look_at(key)
        for key, entry in self._collection.entries.items():
            found = self._outline(entry)
            if found["metadata"].get("deletionTimestamp") or not naming.is_settled(found):
                self._due[key] = None
        self._woken.set()

    def _look_at(self, key: bytes) -> None:
        """End the watches on a definition's objects when its specification has changed or it is gone."""
        entry: Entry | None = self._collection.entries.get(key)
        before = self._shown.pop(key, None)
        if entry is None:
            self._outlines.pop(key, None)
        else:
            spec = self._outline(entry)["spec"]
            prefix = f"/registry/{spec['group']}/{spec['names']['plural']}/".encode()
            self._shown[key] = (prefix, hashlib.sha256(spec_bytes(entry.wire)).digest())
        if before is not None and before != self._shown.get(key):
            objects = self._cache.collection(before[0])
            for watcher in tuple(objects.watchers):
                watcher.lost()

    def _outline(self, entry: Entry) -> Obj:
        """A definition without its schemas; it must not be changed."""
        found = self._outlines.get(entry.key)
        if found is None or found[0] != entry.revision:
            found = self._outlines[entry.key] = (entry.revision, outline(entry.wire))
        return found[1]

    # What is done about it.

    async def _run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            due, self._due = list(self._due), {}
            for key in due:
                try:
                    await self._settle(key)
                except (ApiError, StoreError, TimeoutError) as error:
                    log.info("definition not settled key=%s error=%s", key.decode(), error)
                    self._due[key] = None
                except Exception:
                    log.exception("definition not settled key=%s", key.decode())
            if self._due:
                await asyncio.sleep(RETRY_S)
                self._woken.set()

    async def _settle(self, key: bytes) -> None:
        entry = self._collection.entries.get(key)
        if entry is None:
            return
        found = self._outline(entry)
        if found["metadata"].get("deletionTimestamp"):
            if key not in self._finishing:
                # It takes as long as objects take to go, which must keep no other definition waiting.
                self._finishing[key] = asyncio.create_task(self._finish_soon(key), name="definition's end")
            return
        if naming.status(found, self._others(found), "") != found.get("status"):
            await self._write_status(found, lambda now: naming.status(found, self._others(found), now))

    def _others(self, definition: Obj) -> list[Obj]:
        """The other definitions of a group."""
        name, group = definition["metadata"]["name"], definition["spec"]["group"]
        entries = [entry for key, entry in self._collection.entries.items() if _group(key) == group]
        return [one for one in map(self._outline, entries) if one["metadata"]["name"] != name]

    async def _finish_soon(self, key: bytes) -> None:
        """Try to finish a definition until it is gone."""
        try:
            while (entry := self._collection.entries.get(key)) is not None:
                try:
                    await self._finish(entry.object())
                    return
                except (ApiError, StoreError, TimeoutError) as error:
                    log.info("definition not finished key=%s error=%s", key.decode(), error)
                except Exception:
                    log.exception("definition not finished key=%s", key.decode())
                await asyncio.sleep(RETRY_S)
        finally:
            del self._finishing[key]

    async def _finish(self, definition: Obj) -> None:
        """Delete every object of a definition that goes; when there is none left, let it go."""
        if CLEANUP_FINALIZER not in (definition["metadata"].get("finalizers") or ()):
            return
        await self._cache.fresh()
        left = stored_resource(definition)
        collection = self._cache.collection(left.key_prefix)
        if collection.entries:
            if not holds(definition, "Terminating"):
                await self._write_status(definition, lambda now: naming.terminating(definition, now))
            failure = await self._delete_all(left, list(collection.entries.values()))
            if failure:
                await self._write_status(definition, lambda now: naming.terminating(definition, now, failure))
                await asyncio.sleep(FAILED_RETRY_S)
            await self._cache.fresh()
            if collection.entries:
                raise TimeoutError("objects with finalizers are left")

        def compute(current: Obj, _: Entry) -> Obj:
            metadata = current["metadata"]
            metadata["finalizers"] = [one for one in metadata.get("finalizers") or () if one != CLEANUP_FINALIZER]
            return current

        with contextlib.suppress(ApiError):
            await self._writer.rewrite(own_call(DEFINITIONS, definition, "update"), compute, WriteOptions())

    async def _delete_all(self, resource: Resource, entries: list[Entry]) -> str:
        """Delete objects; return why some couldn't be."""
        failure = ""
        for entry in entries:
            try:
                await self._delete(resource, entry)
            except ApiError as error:
                failure = failure or error.message
        return failure

    async def _delete(self, resource: Resource, entry: Entry) -> None:
        metadata = entry.object()["metadata"]
        try:
            await self._deleter.delete_object(
                own_call(resource, {"metadata": metadata}, "delete"), entry.key, metadata["name"], DeleteOptions()
            )
        except ApiError as error:
            if error.code != 404:
                raise

    async def _write_status(self, definition: Obj, made: Callable[[str], Obj]) -> None:
        wanted = made(clock.text(self._now()))
        uid = definition["metadata"]["uid"]

        def compute(current: Obj, _: Entry) -> Obj:
            if current["metadata"]["uid"] != uid:
                return current
            return {**current, "status": {**current.get("status", {}), **wanted}}

        call = own_call(DEFINITIONS, definition, "update", subresource="status")
        await self._writer.rewrite(call, compute, WriteOptions())


def _group(key: bytes) -> str:
    return key.rpartition(b"/")[2].decode().partition(".")[2]
