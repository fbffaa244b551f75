"""create, update and patch: decide on the cached object, commit by comparison, decide again on the live one.

Source: apiserver pkg/registry/generic/registry/store.go (Create, Update) and handlers/{create,update,patch}.go.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from oarlock.cluster.apiserver import applying, bodies, clock, patching, removing, views
from oarlock.cluster.apiserver.admission.chain import Admission
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.claims import Claims, Unmet
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.expiry import Expiry
from oarlock.cluster.apiserver.forms import Forms
from oarlock.cluster.apiserver.options import WriteOptions, write_options
from oarlock.cluster.apiserver.storage import Stale, Storage
from oarlock.cluster.objects import codec, defaulting, status, strategy, validation, warnings
from oarlock.cluster.objects.causes import invalid
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import ApiError, Cause
from oarlock.consensus.model import LeaseNotFound, Store

Obj = dict[str, Any]
ATTEMPTS_MAX = 64
"""How often a write without a resource version starts again because somebody else was faster."""
NAME_ATTEMPTS_MAX = 8
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
GENERATED_BASE_MAX = 58
_LOOPBACK_REFUSED = "may not be in the loopback range"


@dataclass(frozen=True, slots=True)
class Written:
    """A write's outcome: the object as it is now, whether it was created, whether it is gone with this write."""

    entry: Entry
    created: bool = False
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a rewrite wants the object to become; `tracked`: its managedFields are already what they shall be."""

    obj: Obj
    claims: Claims = ()
    tracked: bool = False


Compute = Callable[[Obj, Entry], "Proposal | Obj | Awaitable[Proposal]"]


class Writer:
    """Answers create, update and patch of whole objects; `rewrite` serves every other change."""

    def __init__(
        self,
        store: Store,
        storage: Storage,
        admission: Admission,
        forms: Forms,
        now: clock.Clock,
        *,
        loopback: bool = False,
    ) -> None:
        """`loopback` permits endpoints on loopback addresses, on which a cluster of one machine may live."""
        self._expiry = Expiry(store)
        self._loopback = loopback
        self.storage = storage
        self.admission = admission
        self._forms = forms
        self._now = now

    async def create(self, call: Call) -> Written:
        """Create the body's object. Raises ApiError 400, 403, 404, 409, 422."""
        wanted = write_options("CreateOptions", call.request.query)
        obj = await bodies.read_object(call, wanted)
        bodies.check_scope(call, obj)
        return await self.create_object(call, obj, dry_run=wanted.dry_run)

    async def create_object(self, call: Call, obj: Obj, *, dry_run: bool, tracked: bool = False) -> Written:
        """Create `obj` (decoded, its namespace set). `tracked`: its managedFields are already what they shall be."""
        generated = not obj["metadata"].get("name") and bool(obj["metadata"].get("generateName"))
        for _ in range(NAME_ATTEMPTS_MAX):
            fresh = dict(obj, metadata=dict(obj["metadata"]))
            if generated:
                fresh["metadata"]["name"] = generated_name(fresh["metadata"]["generateName"])
            try:
                return await self._create_named(call, fresh, dry_run=dry_run, tracked=tracked, generated=generated)
            except ApiError as error:
                if not generated or error.reason != "AlreadyExists":
                    raise
        base = obj["metadata"]["generateName"]
        raise status.already_exists(call.resource.qualified, base)

    async def _create_named(self, call: Call, obj: Obj, *, dry_run: bool, tracked: bool, generated: bool) -> Written:
        resource, metadata = call.resource, obj["metadata"]
        if metadata.get("resourceVersion"):
            # Upstream answers 500, though the fault is the client's.
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        owned = metadata.pop("managedFields", None)
        metadata["uid"] = str(uuid4())
        metadata["creationTimestamp"] = clock.text(self._now())
        defaulting.default(resource, obj)
        if not tracked:
            owned = applying.created(call, obj, owned, self._now)
        if owned:
            metadata["managedFields"] = owned
        attributes = self.admission.attributes(call, obj, None, "", dry_run=dry_run, generated=generated)
        await self.admission.mutate(attributes)
        for _ in range(ATTEMPTS_MAX):
            written = await self._attempt_create(call, obj, dry_run=dry_run)
            if written is not None:
                return written
        raise status.server_timeout(resource.qualified, "create")

    async def _attempt_create(self, call: Call, obj: Obj, *, dry_run: bool) -> Written | None:
        """Allocate, validate and store; None means that something it relied on has changed."""
        resource = call.resource
        given = await self.admission.give(call, obj, None, "", dry_run=dry_run)
        new = given.obj
        strategy.prepare_create(resource, new)
        name = new["metadata"].get("name", "")
        causes = self._standing(validation.validate_create(resource, new))
        if causes:
            raise status.invalid(resource.kind, resource.stored_as[0], name, causes)
        call.warn(warnings.of_create(resource, new))
        # Kinds without a name of their own (Binding) are never stored by a plain create.
        if not name:
            raise status.method_not_allowed()
        attributes = self.admission.attributes(call, new, None, "", dry_run=dry_run)
        await self.admission.validate(attributes)
        key = resource.key(call.namespace, name)
        if dry_run:
            await self.admission.quotas.check(attributes)
            if await self.storage.live(key) is not None:
                raise status.already_exists(resource.qualified, name)
            return Written(await self._forms.unsaved(resource, new), created=True)
        claims = (*given.guards, *await self.admission.claims(resource, new, None))
        try:
            lease = await self._expiry.lease(resource)
            stored = await self._forms.stored(resource, new)
            entry = await self.admission.quotas.put(
                attributes, lambda paid: self.storage.put(key, stored, None, call.fences, (*claims, *paid), lease)
            )
        except Stale as stale:
            if claims and stale.live is not None:
                # What the object would hold is looked at before its name.
                await self.storage.catch_up(stale.live.revision)
                await self.admission.give(call, obj, None, "", dry_run=False)
            raise status.already_exists(resource.qualified, name) from None
        except Unmet as unmet:
            await self.storage.catch_up(unmet.revision)
            return None
        except LeaseNotFound:
            self._expiry.forget()
            return None
        return Written(await self._forms.one(resource, entry), created=True)

    def _standing(self, causes: list[Cause]) -> list[Cause]:
        return [cause for cause in causes if _LOOPBACK_REFUSED not in cause.message] if self._loopback else causes

    async def update(self, call: Call) -> Written:
        """Replace the named object with the body's. Raises ApiError 400, 404, 409, 422."""
        wanted = write_options("UpdateOptions", call.request.query)
        given = await bodies.read_object(call, wanted)
        bodies.check_scope(call, given)
        if not given["metadata"].get("name") and call.resource.kind == "Namespace":
            given["metadata"]["name"] = call.info.name
        bodies.check_name(call, given)

        def compute(_: Obj, __: Entry) -> Obj:
            return dict(given, metadata=dict(given["metadata"]))

        try:
            return await self.rewrite(call, compute, wanted)
        except ApiError as error:
            if error.code == 404 and not call.info.subresource and strategy.creates_on_update(call.resource):
                return await self.create_object(call, given, dry_run=wanted.dry_run)
            raise

    async def patch(self, call: Call) -> Written:
        """Patch the named object. Raises ApiError 400, 404, 409, 415, 422."""
        is_apply = patching.media_type(call) == applying.APPLY_PATCH
        wanted = write_options("ApplyOptions" if is_apply else "PatchOptions", call.request.query)
        if is_apply:
            return await self._apply(call, wanted)
        patch = patching.Patch(call, wanted, await call.request.read())

        def compute(current: Obj, _: Entry) -> Obj:
            return patch.apply(current)

        written = await self.rewrite(call, compute, wanted)
        patch.warn()
        return written

    async def _apply(self, call: Call, wanted: WriteOptions) -> Written:
        """Apply the body's object; one that isn't there is created."""
        apply = applying.Apply(call, wanted, await call.request.read(), self._forms, self._now)

        async def compute(current: Obj, _: Entry) -> Proposal:
            obj, owned = await apply.onto(current)
            obj["metadata"]["managedFields"] = owned
            return Proposal(obj, tracked=True)

        try:
            return await self.rewrite(call, compute, wanted)
        except ApiError as error:
            if error.code != 404 or call.info.subresource:
                raise
        if apply.uid:
            why = f"uid mismatch: the provided object specified uid {apply.uid}, and no existing object was found"
            raise status.conflict(call.resource.qualified, call.info.name, why)
        obj, owned = await apply.onto({})
        obj["metadata"]["managedFields"] = owned
        bodies.check_scope(call, obj)
        return await self.create_object(call, obj, dry_run=wanted.dry_run, tracked=True)

    async def rewrite(
        self,
        call: Call,
        compute: Compute,
        wanted: WriteOptions,
        *,
        subresource: str | None = None,
    ) -> Written:
        """Change the named object by `compute`, which gets a fresh copy of the current one and returns the new one.

        What `compute` or a check refuses on a cached object is decided again on the live one before it is reported.
        """
        part = call.info.subresource if subresource is None else subresource
        current = self.storage.cache.collection(call.resource.key_prefix).entries.get(call.key)
        is_live = False
        for _ in range(ATTEMPTS_MAX):
            if current is None and not is_live:
                current, is_live = await self.storage.live(call.key), True
            if current is None:
                raise status.not_found(call.resource.qualified, call.info.name)
            try:
                return await self._attempt(call, compute, wanted, current, part=part)
            except Stale as stale:
                current, is_live = stale.live, True
            except ApiError:
                if is_live:
                    raise
                live, is_live = await self.storage.live(call.key), True
                if live is not None and live.revision == current.revision:
                    raise
                current = live
        raise status.conflict(call.resource.qualified, call.info.name)

    async def _attempt(
        self, call: Call, compute: Compute, wanted: WriteOptions, current: Entry, *, part: str
    ) -> Written:
        resource = call.resource
        shown = await self._forms.one(resource, current)
        old = views.parsed(resource, shown)
        made = compute(views.parsed(resource, shown), current)
        if isinstance(made, Awaitable):
            made = await made
        proposal = made if isinstance(made, Proposal) else Proposal(made)
        new = proposal.obj
        _check_preconditions(resource, new, old)
        defaulting.default(resource, new)
        attributes = self.admission.attributes(call, new, old, part, dry_run=wanted.dry_run)
        await self.admission.mutate(attributes)
        owned = new["metadata"].pop("managedFields", None)
        strategy.prepare_update(resource, new, old, part)
        strategy.date_conditions(resource, new, old, part, clock.text(self._now()))
        if not proposal.tracked:
            owned = await applying.updated(call, old, new, owned, part, self._forms, self._now)
        if owned:
            new["metadata"]["managedFields"] = owned
        given = await self.admission.give(call, new, old, part, dry_run=wanted.dry_run)
        new = given.obj
        causes = self._standing(validation.validate_update(resource, new, old, part))
        if causes:
            raise status.invalid(resource.kind, resource.stored_as[0], call.info.name, causes)
        call.warn(warnings.of_update(resource, new, old, part))
        attributes = self.admission.attributes(call, new, old, part, dry_run=wanted.dry_run)
        await self.admission.validate(attributes)
        if wanted.dry_run:
            await self.admission.quotas.check(attributes)
            return Written(await self._forms.unsaved(resource, new))
        encoded = codec.encode(await self._forms.stored(resource, new))
        if codec.with_revision(encoded, current.revision) == current.wire:
            return Written(shown)
        if is_finished(resource, new, old):
            guards = (*proposal.claims, *given.guards)
            await removing.remove(self.storage, self.admission, call, call.key, old, current, guards)
            return Written(views.unsaved(new), removed=True)
        claims = (*proposal.claims, *given.guards, *await self.admission.claims(resource, new, old))
        try:
            lease = await self._expiry.lease(resource)
            entry = await self.admission.quotas.put(
                attributes,
                lambda paid: self.storage.put_encoded(call.key, encoded, current, call.fences, (*claims, *paid), lease),
            )
            return Written(await self._forms.one(resource, entry))
        except Unmet as unmet:
            await self.storage.catch_up(unmet.revision)
        except LeaseNotFound:
            self._expiry.forget()
        raise Stale(current)


def _check_preconditions(resource: Resource, new: Obj, old: Obj) -> None:
    """Compare what the new object says of its identity with the old one. Raises ApiError 409, 422.

    What is refused here is refused by the store of the resource, which upstream names by its plural, not its kind.
    """
    metadata, present = new["metadata"], old["metadata"]
    name, uid, version = present["name"], metadata.get("uid") or "", metadata.get("resourceVersion") or ""
    if uid and uid != present["uid"]:
        key = resource.key(present.get("namespace", ""), name).decode().replace("/registry/core/", "/registry/")
        why = (
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition "
            f"failed: UID in precondition: {uid}, UID in object meta: {present['uid']}"
        )
        raise status.conflict(resource.qualified, name, why)
    if not version and strategy.needs_version(resource):
        unsaid = invalid("metadata.resourceVersion", 0, "must be specified for an update")
        raise status.invalid(resource.plural, resource.group, name, [unsaid])
    if version and version != present["resourceVersion"]:
        raise status.conflict(resource.qualified, name)
    metadata["resourceVersion"] = present["resourceVersion"]


def is_finished(resource: Resource, new: Obj, old: Obj) -> bool:
    """Tell whether an update has removed the last thing that kept a deleted object.

    Source: ShouldDeleteDuringUpdate.
    """
    metadata = new["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if resource.kind == "Namespace" and new.get("spec", {}).get("finalizers"):
        return False
    return not old["metadata"].get("deletionGracePeriodSeconds")


def generated_name(base: str) -> str:
    """Return `base` (cut to leave room) with five random letters. Source: apiserver pkg/storage/names."""
    return base[:GENERATED_BASE_MAX] + "".join(random.choices(_NAME_LETTERS, k=5))
