"""delete and deletecollection: preconditions, finalizers, propagation, grace periods.

Source: apiserver pkg/registry/rest/delete.go and pkg/registry/generic/registry/store.go (Delete).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from oarlock.cluster.apiserver import clock, removing, views
from oarlock.cluster.apiserver.admission.chain import Admission
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.forms import Forms
from oarlock.cluster.apiserver.listing import Reader
from oarlock.cluster.apiserver.options import DeleteOptions, delete_options
from oarlock.cluster.apiserver.rendering import Page
from oarlock.cluster.apiserver.storage import Stale, Storage, TermOver
from oarlock.cluster.objects import status
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError

Obj = dict[str, Any]
ATTEMPTS_MAX = 64
DELETED_AT_ONCE = 16
"""Objects of one collection that are being deleted at the same time."""
CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_ORPHAN = "orphan"
_FOREGROUND = "foregroundDeletion"

#: Kinds whose deletion answers with the object rather than a Status. Source: ReturnDeletedObject in their stores.
_RETURNS_OBJECT = frozenset(
    {
        ("", "pods"),
        ("", "services"),
        ("", "persistentvolumes"),
        ("", "persistentvolumeclaims"),
        ("", "podtemplates"),
        ("", "resourcequotas"),
        ("", "serviceaccounts"),
        ("storage.k8s.io", "storageclasses"),
        ("storage.k8s.io", "volumeattachments"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "csinodes"),
    }
)


@dataclass(frozen=True, slots=True)
class Deleted:
    """A deletion's outcome. `gone` is false while finalizers or a grace period keep the object."""

    entry: Entry
    gone: bool


class Deleter:
    """Answers delete and deletecollection."""

    def __init__(self, storage: Storage, reader: Reader, admission: Admission, forms: Forms, now: clock.Clock) -> None:
        self._storage = storage
        self._forms = forms
        self._reader = reader
        self._admission = admission
        self._now = now

    async def delete(self, call: Call) -> Deleted:
        """Delete the named object as the request asks. Raises ApiError 403, 404, 409, 422."""
        wanted = delete_options(call.request.query, await call.request.read(), call.content_type)
        return await self.delete_object(call, call.key, call.info.name, wanted)

    async def delete_collection(self, call: Call) -> Page:
        """Delete what a list would select; objects that go meanwhile are passed over. Returns what was deleted.

        Some are deleted at the same time, so that they share the store's rounds. The first that is refused ends it.
        Source: rest.Store.DeleteCollection and its workers.
        """
        wanted = delete_options(call.request.query, await call.request.read(), call.content_type)
        page = await self._reader.page(call)
        entries = iter(page.entries)
        workers = [
            asyncio.create_task(self._delete_each(call, entries, wanted))
            for _ in range(min(DELETED_AT_ONCE, len(page.entries)))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return Page(page.entries, page.revision, page.token, page.remaining)

    async def _delete_each(self, call: Call, entries: Iterator[Entry], wanted: DeleteOptions) -> None:
        for entry in entries:
            name = entry.key.rpartition(b"/")[2].decode()
            try:
                await self.delete_object(call, entry.key, name, wanted)
            except TermOver:
                raise
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    async def delete_object(self, call: Call, key: bytes, name: str, wanted: DeleteOptions) -> Deleted:
        """Delete or mark one object; decisions taken on a cached object are taken again on the live one."""
        self._admission.refuse_deletion(call.resource, name)
        current = self._storage.cache.collection(call.resource.key_prefix).entries.get(key)
        is_live = False
        for _ in range(ATTEMPTS_MAX):
            if current is None and not is_live:
                current, is_live = await self._storage.live(key), True
            if current is None:
                raise status.not_found(call.resource.qualified, name)
            try:
                return await self._attempt(call, key, name, wanted, current)
            except Stale as stale:
                current, is_live = stale.live, True
            except ApiError:
                if is_live:
                    raise
                live, is_live = await self._storage.live(key), True
                if live is not None and live.revision == current.revision:
                    raise
                current = live
        raise status.conflict(call.resource.qualified, name)

    async def _attempt(self, call: Call, key: bytes, name: str, wanted: DeleteOptions, current: Entry) -> Deleted:
        resource = call.resource
        shown = await self._forms.one(resource, current)
        obj = views.parsed(resource, shown)
        _check_preconditions(resource, name, obj, wanted)
        marked = mark(resource, obj, wanted, self._now())
        if marked is None:
            if not wanted.dry_run:
                await removing.remove(self._storage, self._admission, call, key, obj, current)
            return Deleted(shown, gone=True)
        if marked == views.parsed(resource, shown):
            return Deleted(shown, gone=False)
        if wanted.dry_run:
            return Deleted(await self._forms.unsaved(resource, marked), gone=False)
        entry = await self._storage.put(key, await self._forms.stored(resource, marked), current, call.fences)
        return Deleted(await self._forms.one(resource, entry), gone=False)


def returns_object(resource: Resource) -> bool:
    """Tell whether a completed deletion answers with the object."""
    return (resource.group, resource.plural) in _RETURNS_OBJECT


def success(resource: Resource, entry: Entry) -> dict[str, Any]:
    """Return the Status that answers a completed deletion."""
    metadata = entry.object()["metadata"]
    details = status.details_of(metadata["name"], resource.group, resource.plural, uid=metadata.get("uid"))
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _check_preconditions(resource: Resource, name: str, obj: Obj, wanted: DeleteOptions) -> None:
    metadata = obj["metadata"]
    if wanted.uid is not None and wanted.uid != metadata.get("uid"):
        why = (
            f"the UID in the precondition ({wanted.uid}) does not match the UID in record ({metadata.get('uid', '')}). "
            "The object might have been deleted and then recreated"
        )
        raise status.conflict(resource.qualified_kind, name, why)
    if wanted.resource_version is not None and wanted.resource_version != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({wanted.resource_version}) does not match the ResourceVersion "
            f"in record ({metadata['resourceVersion']}). The object might have been modified"
        )
        raise status.conflict(resource.qualified_kind, name, why)


def mark(resource: Resource, obj: Obj, wanted: DeleteOptions, now: datetime) -> Obj | None:
    """Return `obj` as a deletion leaves it, or None if it is to go at once. `obj` may be changed.

    Source: rest.BeforeDelete, markAsDeleting, deletionFinalizersForGarbageCollection.
    """
    if resource.kind == "Namespace" and not resource.group:
        return _mark_namespace(obj, now)
    metadata = obj["metadata"]
    if resource.kind == "CustomResourceDefinition" and not metadata.get("deletionTimestamp"):
        _hold(metadata)
    grace_s = _grace(resource, obj, wanted)
    finalizers = _finalizers(metadata.get("finalizers") or [], wanted)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if grace_s is not None and grace_s > 0:
        _set_deadline(metadata, now, grace_s)
        return obj
    if not finalizers:
        return None
    if not metadata.get("deletionTimestamp"):
        _set_deadline(metadata, now, 0)
    metadata["deletionGracePeriodSeconds"] = 0
    return obj


def _hold(metadata: Obj) -> None:
    """A definition goes once all its objects have gone."""
    finalizers = metadata.setdefault("finalizers", [])
    if CLEANUP_FINALIZER not in finalizers:
        finalizers.append(CLEANUP_FINALIZER)


def _grace(resource: Resource, obj: Obj, wanted: DeleteOptions) -> int | None:
    """Return the grace period that this deletion leaves; None for kinds that have none."""
    if resource.kind != "Pod" or resource.group:
        return None
    metadata, spec = obj["metadata"], obj.get("spec", {})
    asked = wanted.grace_s
    if metadata.get("deletionTimestamp"):
        present = int(metadata.get("deletionGracePeriodSeconds") or 0)
        return present if asked is None else min(present, max(asked, 0))
    if asked is None:
        asked = int(spec.get("terminationGracePeriodSeconds") or 0)
    if not spec.get("nodeName") or obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    return 1 if asked < 0 else asked


def _set_deadline(metadata: Obj, now: datetime, grace_s: int) -> None:
    if metadata.get("deletionTimestamp"):
        present = int(metadata.get("deletionGracePeriodSeconds") or 0)
        if grace_s >= present:
            return
        started = clock.parse(metadata["deletionTimestamp"]) - timedelta(seconds=present)
        metadata["deletionTimestamp"] = clock.text(started + timedelta(seconds=grace_s))
    else:
        metadata["deletionTimestamp"] = clock.text(now + timedelta(seconds=grace_s))
        if metadata.get("generation"):
            metadata["generation"] += 1
    metadata["deletionGracePeriodSeconds"] = grace_s


def _finalizers(present: list[str], wanted: DeleteOptions) -> list[str]:
    if not wanted.propagation:
        return present
    kept = [name for name in present if name not in (_ORPHAN, _FOREGROUND)]
    if wanted.propagation == "Orphan":
        kept.append(_ORPHAN)
    elif wanted.propagation == "Foreground":
        kept.append(_FOREGROUND)
    return kept


def _mark_namespace(obj: Obj, now: datetime) -> Obj | None:
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp"):
        metadata["deletionTimestamp"] = clock.text(now)
        obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}
        return obj
    if obj.get("spec", {}).get("finalizers") or metadata.get("finalizers"):
        return obj
    return None
