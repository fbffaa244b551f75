"""Owner references: who controls what, and claiming what matches a selector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oarlock.actors.controllers.actions import Action, Patch
from oarlock.actors.controllers.loop import Due
from oarlock.actors.controllers.view import View, controller_of
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.objects import selectors

Object = dict[str, Any]

CREATION_SETTLE_S = 0.05
STATUS_SETTLE_S = 0.02


def controller_reference(owner: Mapping[str, Any]) -> Object:
    """Return the owner reference by which `owner` controls an object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_controlled_by(obj: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    """Whether `owner`, this very object, controls `obj`."""
    reference = controller_of(obj)
    return reference is not None and bool(reference["uid"] == owner["metadata"]["uid"])


@dataclass
class Claim:
    """The objects that an owner controls, and the patches that adopt or release some of them."""

    owned: list[Object] = field(default_factory=list)
    patches: list[Action] = field(default_factory=list)


def claim(
    view: View,
    plural: str,
    owner: Object,
    selector: selectors.LabelSelector,
    adoptable: Callable[[Object], bool] = lambda _: True,
) -> Claim:
    """Return what `owner` controls after adopting matching orphans and releasing what matches no longer.

    Source: upstream's ControllerRefManager; an owner that is being deleted adopts and releases nothing.
    """
    deleting = bool(owner["metadata"].get("deletionTimestamp"))
    found = Claim()
    for obj in view.controlled(plural, owner):
        if selector.matches(obj["metadata"].get("labels") or {}):
            found.owned.append(obj)
        elif not deleting:
            found.patches.append(_release(obj, owner))
    if deleting:
        return found
    for obj in view.orphans(plural, owner["metadata"]["namespace"]):
        metadata = obj["metadata"]
        if not metadata.get("deletionTimestamp") and adoptable(obj) and selector.matches(metadata.get("labels") or {}):
            found.owned.append(obj)
            found.patches.append(_adopt(obj, owner))
    return found


def _adopt(obj: Object, owner: Object) -> Patch:
    references = [*(obj["metadata"].get("ownerReferences") or []), controller_reference(owner)]
    return Patch(obj, _references_patch(obj, references))


def _release(obj: Object, owner: Object) -> Patch:
    uid = owner["metadata"]["uid"]
    return Patch(obj, _references_patch(obj, [one for one in obj["metadata"]["ownerReferences"] if one["uid"] != uid]))


def _references_patch(obj: Object, references: list[Object]) -> Object:
    """Replace the references only in exactly the object that was looked at."""
    metadata = obj["metadata"]
    return {
        "metadata": {
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
            "ownerReferences": references or None,
        }
    }


def owner_keys(view: View, kind: str, plural: str, old: Object | None, new: Object | None) -> list[str]:
    """Return the keys of the `kind` objects that a change of a dependent concerns.

    Its controller now and before; for an orphan every object of `plural` in its namespace whose selector matches.
    """
    keys: dict[str, None] = {}
    owner = None
    for obj in (old, new):
        owner = controller_of(obj) if obj is not None else None
        if obj is not None and owner is not None and owner["kind"] == kind:
            keys[f"{obj['metadata']['namespace']}/{owner['name']}"] = None
    if new is not None and owner is None and not new["metadata"].get("deletionTimestamp"):
        labels = new["metadata"].get("labels")
        for candidate in view.list(plural, new["metadata"]["namespace"]) if labels else ():
            if selector_of(candidate).matches(labels):
                keys[key_of(candidate)] = None
    return list(keys)


def selector_of(workload: Object) -> selectors.LabelSelector:
    """Return a workload's pod selector; a ReplicationController's is a plain map."""
    selector = workload["spec"].get("selector") or {}
    if workload["kind"] == "ReplicationController":
        selector = {"matchLabels": selector}
    return selectors.from_object(selector)


def keys_for(kind: str, plural: str, settle_s: float = 0.0) -> Callable[..., list[Due]]:
    """Return the `keys` of a controller of `plural` that owns all the other kinds it reads.

    A dependent's change that leaves its labels and existence as they were waits `settle_s`, so that a burst of
    status changes costs one status write; after a creation more are likely to come, so that takes longer. So does the
    look at a status that changed: mostly the controller wrote it itself, but what it says may ask for a next step, and
    what somebody else wrote there is set right.
    """

    def keys(changed: str, old: Object | None, new: Object | None, view: View) -> list[Due]:
        present = new if new is not None else old
        assert present is not None
        if changed == plural:
            only_status = old is not None and new is not None and not _meant(old, new)
            return [Due(key_of(present), CREATION_SETTLE_S if only_status else 0.0)]
        found = owner_keys(view, kind, plural, old, new)
        if not found:
            return []
        wait_s = (CREATION_SETTLE_S if old is None else settle_s) if _calm(old, new) else 0.0
        return [Due(key, wait_s) for key in found]

    return keys


def _meant(old: Object, new: Object) -> bool:
    """Whether more than the status changed."""
    return old.get("spec") != new.get("spec") or _lasting(old) != _lasting(new)


def _lasting(obj: Object) -> Object:
    return {name: value for name, value in obj["metadata"].items() if name not in ("resourceVersion", "managedFields")}


def _calm(old: Object | None, new: Object | None) -> bool:
    """Whether a dependent's change asks for no new or fewer objects, only for another status."""
    if old is None:
        return True
    if new is None:
        return False
    one, two = old["metadata"], new["metadata"]
    ended = ("Succeeded", "Failed")
    return (
        one.get("labels") == two.get("labels")
        and one.get("ownerReferences") == two.get("ownerReferences")
        and one.get("deletionTimestamp") == two.get("deletionTimestamp")
        and not (
            (new.get("status") or {}).get("phase") in ended and (old.get("status") or {}).get("phase") not in ended
        )
    )
