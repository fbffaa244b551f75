"""The order in which admission looks at a write, and what it adds to the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oarlock.cluster.apiserver.admission import pods, services
from oarlock.cluster.apiserver.admission.lifecycle import NamespaceLifecycle
from oarlock.cluster.apiserver.allocation import Pool
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.storage import NO_CLAIMS, Claims, Storage
from oarlock.cluster.objects.resources import Resource

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """The object to store, what its transaction takes and gives back, and which of it the client `asked` for."""

    obj: Obj
    claims: Claims = NO_CLAIMS
    asked: frozenset[bytes] = frozenset()


class Admission:
    """Mutates and refuses writes. Raises ApiError."""

    def __init__(self, storage: Storage, pool: Pool) -> None:
        self._lifecycle = NamespaceLifecycle(storage)
        self._pods = pods.PodAdmission(storage)
        self._pool = pool
        self._storage = storage

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

    async def decide_create(self, call: Call, obj: Obj) -> Decision:
        """Allocate what a valid new object needs."""
        if _is_service(call.resource):
            key = call.resource.key(call.namespace, obj["metadata"]["name"])
            return Decision(*services.allocate(self._pool, key, obj), asked=frozenset(services.held(obj)))
        return Decision(obj)

    async def decide_update(self, call: Call, new: Obj, old: Obj, subresource: str) -> Decision:
        """Allocate and release what a valid update changes."""
        if _is_service(call.resource) and not subresource:
            return Decision(*services.reallocate(self._pool, call.key, new, old), asked=frozenset(services.held(new)))
        return Decision(new)

    def released(self, resource: Resource, obj: Obj) -> Claims:
        """Return what goes back when `obj` is deleted."""
        return Claims(release=tuple(services.held(obj))) if _is_service(resource) else NO_CLAIMS

    async def refuse_taken(self, decision: Decision) -> None:
        """Raise ApiError 422 if something that the client asked for is somebody else's in the store."""
        services.refuse_taken(decision.obj, decision.asked, await self._storage.present(tuple(decision.asked)))

    def taken(self, decision: Decision, keys: tuple[bytes, ...]) -> None:
        """Hear that claimed keys are taken: avoid them, and refuse (ApiError 422) if the client asked for one."""
        self._pool.avoid(keys)
        services.refuse_taken(decision.obj, decision.asked, keys)


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
