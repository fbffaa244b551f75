"""Custom objects from one version into another, by their definition's webhook where it has one.

What has been converted is remembered, so that an object that doesn't change is sent once for each version and each
specification of its definition, and whoever needs the same at the same time waits for the same call.
Source: apiextensions `pkg/apiserver/conversion`.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import uuid4

from oarlock.cluster.apiserver import conversion, metrics, views
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.views import Converted
from oarlock.cluster.apiserver.webhooks import CallFailed, Webhooks
from oarlock.cluster.objects import codec, status
from oarlock.cluster.objects.custom import forms, reviews
from oarlock.cluster.objects.custom.kind import CustomKind
from oarlock.cluster.objects.custom.reviews import Failed
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError

Obj = dict[str, Any]
Known = tuple[str, str, bytes]
"""A definition's generation, an API version, an object's key."""
REVIEW_OBJECTS_MAX = 500
REVIEW_BYTES_MAX = 2 << 20
"""Objects sent with one call; a larger one goes alone."""
KEPT_BYTES_MAX = 64 << 20
CALLS_AT_ONCE = 4
"""Calls under way for one list."""


class Forms:
    """Shows objects in the versions that they are asked for in, and gives them the one that is stored.

    Raises ApiError 500 where a conversion fails, 429 where too many wait for the same webhook.
    """

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks
        self._kept: OrderedDict[Known, Entry] = OrderedDict()
        self._kept_bytes = 0
        self._calls: dict[tuple[Known, int], asyncio.Task[list[Converted]]] = {}

    async def stop(self) -> None:
        """Let go of the calls under way."""
        calls = set(self._calls.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def waits(self, resource: Resource) -> bool:
        """Tell whether showing objects of `resource` may take a webhook."""
        custom = resource.custom
        return custom is not None and custom.conversion.webhook is not None and len(custom.versions) > 1

    async def shown(self, resource: Resource, entries: Sequence[Entry]) -> list[Entry]:
        """Return entries as `views` can show them as they are."""
        others = [one for one in entries if not views.as_stored(resource, one)] if resource.custom is not None else ()
        if not others:
            return list(entries)
        made: dict[int, Entry] = {}
        pending: list[Entry] = []
        for count, entry in enumerate(others, start=1):
            if self.waits(resource) and not entry.wire.startswith(resource.head):
                pending.append(entry)
            else:
                made[id(entry)] = self._refreshed(resource, entry)
                if count % REVIEW_OBJECTS_MAX == 0:
                    await asyncio.sleep(0)
        if pending:
            made |= await self._converted(resource, pending)
        return [made.get(id(one), one) for one in entries]

    async def one(self, resource: Resource, entry: Entry) -> Entry:
        """The same for a single one."""
        return (await self.shown(resource, (entry,)))[0] if resource.custom is not None else entry

    async def stored(self, resource: Resource, obj: Obj) -> Obj:
        """Return `obj`, given in `resource`'s form, in the form that is stored."""
        if resource.custom is None:
            return views.stored(resource, obj)
        return (await self.in_version(resource.custom, (obj,), "/".join(resource.stored_as)))[0]

    async def unsaved(self, resource: Resource, obj: Obj) -> Entry:
        """Return what a write of `obj` would show: it goes into the stored form and back, as if it were stored."""
        if resource.custom is None:
            return views.unsaved(obj)
        return await self.one(resource, views.unsaved(await self.stored(resource, obj)))

    async def in_version(self, custom: CustomKind, objects: Sequence[Obj], api_version: str) -> list[Obj]:
        """Return objects of one version in another; what is in it already is returned as it is."""
        target = custom.versions.get(api_version.rpartition("/")[2])
        if target is None:
            raise status.unreasoned(f"request to convert CR to an invalid group/version: {api_version}")
        others = [one for one in objects if one["apiVersion"] != api_version]
        if not others:
            return list(objects)
        if custom.conversion.webhook is None:
            return [forms.relabelled(target, one, api_version) for one in objects]
        found = iter(await self._asked(target, others, api_version))
        return [one if one["apiVersion"] == api_version else next(found) for one in objects]

    async def _converted(self, resource: Resource, entries: Sequence[Entry]) -> dict[int, Entry]:
        """Return what entries, by their identity, are in `resource`'s version."""
        assert resource.custom is not None
        generation = resource.custom.conversion.generation
        made: dict[int, Entry] = {}
        missing: list[Entry] = []
        joined: dict[asyncio.Task[list[Converted]], list[Entry]] = {}
        for entry in entries:
            known = (generation, resource.api_version, entry.key)
            kept = self._recalled(known, entry)
            if kept is not None:
                made[id(entry)] = kept
            elif (call := self._calls.get((known, entry.revision))) is not None:
                joined.setdefault(call, []).append(entry)
            else:
                missing.append(entry)
        results: list[list[Converted]] = []
        for batches in _grouped(_batches(missing), CALLS_AT_ONCE):
            calls = [self._call(resource, batch) for batch in batches]
            results += [await asyncio.shield(call) for call in calls]
        for call, wanted in joined.items():
            results.append(await self._of_others(call, resource, wanted))
        by_key = {(one.key, one.revision): one for result in results for one in result}
        return {id(entry): made.get(id(entry)) or by_key[entry.key, entry.revision] for entry in entries}

    def _refreshed(self, resource: Resource, entry: Entry) -> Entry:
        """Return what takes no webhook: an object from before its definition changed, or one that is but relabelled."""
        assert resource.custom is not None
        known = (resource.custom.conversion.generation, resource.api_version, entry.key)
        found = self._recalled(known, entry)
        if found is None:
            found = _entry(entry, views.parsed(resource, entry))
            self._keep(known, found)
        return found

    def _recalled(self, known: Known, entry: Entry) -> Entry | None:
        kept = self._kept.get(known)
        if kept is None or kept.revision != entry.revision or not entry.key:
            return None
        self._kept.move_to_end(known)
        return kept

    async def _of_others(
        self, call: asyncio.Task[list[Converted]], resource: Resource, wanted: list[Entry]
    ) -> list[Converted]:
        """Wait for somebody else's call; if that fails, whatever else was in it may be the reason."""
        try:
            return await asyncio.shield(call)
        except ApiError:
            return await asyncio.shield(self._call(resource, wanted))

    # A call goes on for the others who wait for it when one of them goes away.

    def _call(self, resource: Resource, batch: list[Entry]) -> asyncio.Task[list[Converted]]:
        assert resource.custom is not None
        generation = resource.custom.conversion.generation
        names = [((generation, resource.api_version, one.key), one.revision) for one in batch if one.key]
        call = asyncio.create_task(self._convert(resource, batch), name="conversion")

        def ended(_: asyncio.Task[list[Converted]]) -> None:
            for name in names:
                self._calls.pop(name, None)
            if not call.cancelled() and call.exception() is None:
                for one in call.result():
                    self._keep((generation, resource.api_version, one.key), one)

        self._calls.update(dict.fromkeys(names, call))
        call.add_done_callback(ended)
        return call

    async def _convert(self, resource: Resource, batch: list[Entry]) -> list[Converted]:
        custom = resource.custom
        assert custom is not None
        objects = [one.object() for one in batch]
        read = [forms.read(conversion.origin(custom, one), one) for one in objects]
        found = await self._asked(custom, read, resource.api_version)
        return [_entry(entry, obj) for entry, obj in zip(batch, found, strict=True)]

    async def _asked(self, target: CustomKind, objects: Sequence[Obj], api_version: str) -> list[Obj]:
        """Have objects of other versions converted into `target`'s."""
        how, origin = target.conversion, objects[0]["apiVersion"].rpartition("/")[2]
        started = time.perf_counter()
        failure = reviews.CALL
        try:
            found = await self._review(target, objects, api_version)
            failure = ""
        except Failed as error:
            failure = error.failure
            raise status.unreasoned(str(error)) from None
        finally:
            metrics.observe_conversion(
                how.definition, origin, api_version.rpartition("/")[2], failure, time.perf_counter() - started
            )
        return [forms.fitting(target, one) for one in found]

    async def _review(self, target: CustomKind, objects: Sequence[Obj], api_version: str) -> list[Obj]:
        how = target.conversion
        assert how.webhook is not None
        version, uid = reviews.version_of(how.reviews), str(uuid4())
        body = reviews.request(version, uid, [codec.encode(one) for one in objects], api_version)
        try:
            answer = await self._webhooks.ask(how.webhook, body)
        except CallFailed as error:
            told = reviews.subject(objects[0])
            raise Failed(f"conversion webhook for {told} failed: {error}", reviews.CALL) from None
        return reviews.converted(version, uid, answer, objects, api_version)

    def _keep(self, known: Known, entry: Entry) -> None:
        """Remember the newest form of an object that has a key, of those that were shown."""
        old = self._kept.get(known)
        if not entry.key or (old is not None and old.revision > entry.revision):
            return
        self._kept.pop(known, None)
        self._kept_bytes += len(entry.wire) - (len(old.wire) if old is not None else 0)
        self._kept[known] = entry
        while self._kept_bytes > KEPT_BYTES_MAX:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= len(gone.wire)


def _entry(entry: Entry, obj: Obj) -> Converted:
    encoded = codec.encode(obj)
    wire = codec.with_revision(encoded, entry.revision) if entry.revision else encoded
    return Converted(entry.key, wire, entry.create_revision, entry.revision)


def _grouped(batches: Iterator[list[Entry]], size: int) -> Iterator[list[list[Entry]]]:
    while group := list(islice(batches, size)):
        yield group


def _batches(entries: list[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == REVIEW_OBJECTS_MAX or size + len(entry.wire) > REVIEW_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += len(entry.wire)
    if batch:
        yield batch
