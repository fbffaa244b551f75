"""What happens to an object whose owners go: pure decisions over a graph of owner references.

Source: kubernetes.io "Garbage Collection"; upstream's garbagecollector.go and graph_builder.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oarlock.actors.controllers.actions import Action, Delete, Patch, RecordEvent
from oarlock.cluster.objects.resources import Resource

Object = dict[str, Any]

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class UnknownKind(Exception):
    """An owner is of a kind that isn't served now: whether it exists can't be told, so nothing may be done yet."""


class Misplaced(Exception):
    """A cluster-scoped object names a namespaced owner: it can never be found, and the object is left alone."""


@dataclass(frozen=True)
class Owners:
    """An object's owner references by what became of the owners."""

    solid: Sequence[Object]
    dangling: Sequence[Object]
    waiting: Sequence[Object]


@dataclass(frozen=True)
class Whereabouts:
    """Where an owner must be if it exists; a reference names no namespace: the dependent's is meant."""

    resource: Resource
    namespace: str
    name: str
    uid: str


def locate(dependent: Mapping[str, Any], reference: Mapping[str, Any], kind: Resource | None) -> Whereabouts:
    """Return where the owner has to be. Raises UnknownKind when its kind isn't served, Misplaced."""
    if kind is None:
        raise UnknownKind(f"{reference['apiVersion']} {reference['kind']}")
    namespace = dependent["metadata"].get("namespace", "") if kind.namespaced else ""
    if kind.namespaced and not namespace:
        raise Misplaced(dependent["metadata"]["name"])
    return Whereabouts(kind, namespace, reference["name"], reference["uid"])


def is_waiting(obj: Mapping[str, Any]) -> bool:
    """Whether an object is deleted in the foreground and so waits for its dependents to go."""
    metadata = obj["metadata"]
    return bool(metadata.get("deletionTimestamp")) and FOREGROUND in (metadata.get("finalizers") or ())


def is_orphaning(obj: Mapping[str, Any]) -> bool:
    """Whether an object is being deleted and its dependents are to stay."""
    metadata = obj["metadata"]
    return bool(metadata.get("deletionTimestamp")) and ORPHAN in (metadata.get("finalizers") or ())


def judge(references: Sequence[Object], owners: Sequence[Object | None]) -> Owners:
    """Sort owner references; `owners` are what they name, in their order, None where it is known to be gone."""
    solid, dangling, waiting = [], [], []
    for reference, owner in zip(references, owners, strict=True):
        if owner is None:
            dangling.append(reference)
        elif is_waiting(owner):
            waiting.append(reference)
        else:
            solid.append(reference)
    return Owners(solid, dangling, waiting)


def decide(obj: Object, owners: Owners, dependents: Sequence[Object]) -> list[Action]:
    """Return what is to become of `obj`.

    With an owner left it stays, and forgets the others. Else it goes: in the foreground when an owner waits for it
    and it has dependents itself, otherwise as its own finalizers say, by default in the background.
    """
    if obj["metadata"].get("deletionTimestamp"):
        return _finish(obj, dependents)
    if not owners.dangling and not owners.waiting:
        return []
    if owners.solid:
        gone = {reference["uid"] for reference in (*owners.dangling, *owners.waiting)}
        return [_forget(obj, gone)]
    if owners.waiting and dependents:
        # A dependent that is itself waiting closes a circle: it is let go, or the circle would wait for ever. The
        # deletion follows when the change is seen: it is made on the revision that was looked at.
        if any(is_waiting(one) for one in dependents) and _blocks_any(obj):
            return [_unblock(obj)]
        return [Delete(obj, propagation="Foreground")]
    finalizers = obj["metadata"].get("finalizers") or ()
    policy = "Orphan" if ORPHAN in finalizers else "Foreground" if FOREGROUND in finalizers else "Background"
    return [Delete(obj, propagation=policy)]


def invalid_namespace(obj: Object, reference: Mapping[str, Any]) -> RecordEvent:
    """Return what is told of an object whose owner exists, but in another namespace."""
    namespace = obj["metadata"].get("namespace", "")
    named = (
        f"[{reference['apiVersion']}/{reference['kind']}, namespace: {namespace}, name: {reference['name']}, "
        f"uid: {reference['uid']}]"
    )
    message = f'ownerRef {named} does not exist in namespace "{namespace}"'
    return RecordEvent(obj, "OwnerRefInvalidNamespace", message, "Warning")


def _finish(obj: Object, dependents: Sequence[Object]) -> list[Action]:
    """Return how a deletion that waits or orphans goes on."""
    if is_orphaning(obj):
        uid = {obj["metadata"]["uid"]}
        return [*(_forget(one, uid) for one in dependents), _without_finalizer(obj, ORPHAN)]
    if is_waiting(obj) and not any(_blocks(one, obj) for one in dependents):
        return [_without_finalizer(obj, FOREGROUND)]
    return []


def _blocks(dependent: Object, owner: Object) -> bool:
    uid = owner["metadata"]["uid"]
    return any(one["uid"] == uid and one.get("blockOwnerDeletion") for one in dependent["metadata"]["ownerReferences"])


def _blocks_any(obj: Object) -> bool:
    return any(one.get("blockOwnerDeletion") for one in obj["metadata"].get("ownerReferences") or ())


def _forget(obj: Object, uids: Iterable[str]) -> Patch:
    """Drop references to owners."""
    gone = set(uids)
    left = [one for one in obj["metadata"].get("ownerReferences") or () if one["uid"] not in gone]
    return _patch(obj, {"ownerReferences": left or None})


def _unblock(obj: Object) -> Patch:
    references = [{**one, "blockOwnerDeletion": False} for one in obj["metadata"].get("ownerReferences") or ()]
    return _patch(obj, {"ownerReferences": references})


def _without_finalizer(obj: Object, finalizer: str) -> Patch:
    left = [one for one in obj["metadata"].get("finalizers") or () if one != finalizer]
    return _patch(obj, {"finalizers": left or None})


def _patch(obj: Object, metadata: Mapping[str, Any]) -> Patch:
    """Patch exactly the object and revision that was looked at: a merge patch replaces lists as a whole."""
    held = obj["metadata"]
    return Patch(obj, {"metadata": {"uid": held["uid"], "resourceVersion": held["resourceVersion"], **metadata}})
