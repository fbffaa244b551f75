"""The order in which admission looks at a write, and what it adds to the transaction."""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.admission import pods
from oarlock.cluster.apiserver.admission.lifecycle import NamespaceLifecycle
from oarlock.cluster.apiserver.allocation.holding import Holdings
from oarlock.cluster.apiserver.allocation.services import Given, ServiceAllocation
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.claims import Claims
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.objects.resources import Resource

Obj = dict[str, Any]


class Admission:
    """Mutates and refuses writes. Raises ApiError."""

    def __init__(self, storage: Storage, allocation: ServiceAllocation, holdings: Holdings) -> None:
        self._lifecycle = NamespaceLifecycle(storage)
        self._pods = pods.PodAdmission(storage)
        self._allocation = allocation
        self._holdings = holdings

    async def mutate_create(self, call: Call, obj: Obj) -> None:
        """Complete a new object before its validation, in place."""
        await self._lifecycle.check(call)
        if call.resource.group == "" and call.resource.kind == "Pod":
            self._pods.complete(obj)
        elif call.resource.kind == "Namespace":
            _name_label(obj)
        elif call.resource.kind == "CertificateSigningRequest":
            _sign(call, obj)

    def mutate_update(self, call: Call, new: Obj) -> None:
        """Complete an update's object before its validation, in place."""
        if call.resource.kind == "Namespace":
            _name_label(new)

    async def give(self, call: Call, new: Obj, old: Obj | None, part: str, *, dry_run: bool) -> Given:
        """Return the object with what the cluster allocates for it: before its validation, again when claims fail."""
        if part or not _is_service(call.resource):
            return Given(new)
        return await self._allocation.give(new, old, dry_run=dry_run)

    async def claims(self, resource: Resource, new: Obj | None, old: Obj | None) -> Claims:
        """Return what the transaction of a valid write of `new` over `old` takes and gives back.

        None stands for no object: before a creation, after a deletion.
        """
        return self._holdings.claims(new, old) if _is_service(resource) else ()

    async def remains(self, resource: Resource, obj: Obj) -> Given | None:
        """Return what takes the place of an object that is deleted, where something has to."""
        if (resource.group, resource.kind) != ("networking.k8s.io", "IPAddress"):
            return None
        return await self._holdings.renewed(obj)


def _is_service(resource: Resource) -> bool:
    return resource.group == "" and resource.kind == "Service"


def _sign(call: Call, request: Obj) -> None:
    """A signing request says who made it, whatever its maker says of that. Source: the strategy's PrepareForCreate."""
    spec = request.setdefault("spec", {})
    for name in ("username", "uid", "groups", "extra"):
        spec.pop(name, None)
    spec["username"] = call.user.name
    spec["groups"] = list(call.user.groups)
    if call.user.uid:
        spec["uid"] = call.user.uid
    if call.user.extra:
        spec["extra"] = {name: list(values) for name, values in call.user.extra}


def _name_label(obj: Obj) -> None:
    """A namespace carries its name as a label. Source: KEP-2161."""
    name = obj["metadata"].get("name")
    if name:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
