"""Bind claims to volumes and tell their phases; take back volumes whose claims are gone.

Volumes are made by others (external provisioners, or by hand); here they are matched, as the claims' classes say.
Source: kubernetes.io "Persistent Volumes"; upstream's pv_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.actors.controllers.actions import Action, CatchUp, RecordEvent, Update, UpdateStatus
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.storage_protection import claims_of
from oarlock.actors.controllers.view import View
from oarlock.actors.controllers.volume_matching import best, class_of, has_class, is_for, unsatisfied
from oarlock.actors.controllers.volume_provisioning import classified, is_delayed, waited_for
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

BOUND = "pv.kubernetes.io/bind-completed"
BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_CLAIM, _VOLUME = "claim|", "volume|"


def reconcile(key: str, view: View) -> list[Action]:
    """Return the next step for a claim (`claim|NAMESPACE/NAME`) or a volume (`volume|NAME`)."""
    if key.startswith(_VOLUME):
        volume = view.get("persistentvolumes", key.removeprefix(_VOLUME))
        return _volume(view, volume) if volume is not None else []
    claim = view.get("persistentvolumeclaims", key.removeprefix(_CLAIM))
    if claim is None:
        return []
    return _bound_claim(view, claim) if BOUND in _annotations(claim) else _unbound_claim(view, claim)


def _unbound_claim(view: View, claim: Object) -> list[Action]:
    name = claim["spec"].get("volumeName")
    if name:
        return _named(claim, view.get("persistentvolumes", name))
    if claim["metadata"].get("deletionTimestamp"):
        return []
    delayed = is_delayed(view, claim)
    volume = best(view.list("persistentvolumes"), claim, only_chosen=delayed)
    if volume is not None:
        return _bind(claim, volume)
    return classified(view, claim) or [*waited_for(view, claim, delayed=delayed), *_claim_phase(claim, "Pending")]


def _named(claim: Object, volume: Object | None) -> list[Action]:
    """A claim that names its volume gets it, unless another has it already."""
    if volume is None:
        return _claim_phase(claim, "Pending")
    if not volume["spec"].get("claimRef"):
        why = unsatisfied(volume, claim)
        if why:
            message = f'Cannot bind to requested volume "{volume["metadata"]["name"]}": {why}'
            return [RecordEvent(claim, "VolumeMismatch", message, "Warning"), *_claim_phase(claim, "Pending")]
        return _bind(claim, volume)
    if is_for(volume, claim):
        return _bind(claim, volume)
    message = f'volume "{volume["metadata"]["name"]}" already bound to a different claim.'
    return [RecordEvent(claim, "FailedBinding", message, "Warning"), *_claim_phase(claim, "Pending")]


def _bound_claim(view: View, claim: Object) -> list[Action]:
    name = claim["spec"].get("volumeName")
    lost = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
    if name:
        volume = view.get("persistentvolumes", name)
        if volume is not None and (not volume["spec"].get("claimRef") or is_for(volume, claim)):
            return _bind(claim, volume)
        lost = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        if volume is not None:
            lost = "Two claims are bound to the same volume, this one is bound incorrectly"
            return _lose(claim, "ClaimMisbound", lost)
    return _lose(claim, "ClaimLost", lost)


def _lose(claim: Object, reason: str, message: str) -> list[Action]:
    if (claim.get("status") or {}).get("phase") == "Lost":
        return []
    return [*_claim_phase(claim, "Lost"), RecordEvent(claim, reason, message, "Warning")]


def _bind(claim: Object, volume: Object) -> list[Action]:
    """Return the next write that is missing: volume to claim, its phase, claim to volume, its phase.

    One write at a time: each is seen in the caches before the next is decided.
    """
    metadata = claim["metadata"]
    held = volume["spec"].get("claimRef") or {}
    if held.get("uid") != metadata["uid"]:
        reference = {
            "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        }
        ours = {} if held else {BY_CONTROLLER: "yes"}
        return [Update(_annotated({**volume, "spec": {**volume["spec"], "claimRef": reference}}, ours))]
    if (volume.get("status") or {}).get("phase") != "Bound":
        return _volume_phase(volume, "Bound")
    name = volume["metadata"]["name"]
    if claim["spec"].get("volumeName") != name or BOUND not in _annotations(claim):
        ours = {BOUND: "yes"} if claim["spec"].get("volumeName") else {BOUND: "yes", BY_CONTROLLER: "yes"}
        return [Update(_annotated({**claim, "spec": {**claim["spec"], "volumeName": name}}, ours))]
    status, spec = claim.get("status") or {}, volume["spec"]
    told: Object = {"phase": "Bound", "accessModes": spec.get("accessModes")}
    if status.get("phase") != "Bound":
        told["capacity"] = spec.get("capacity")
        if spec.get("volumeAttributesClassName"):
            told["currentVolumeAttributesClassName"] = spec["volumeAttributesClassName"]
    return [UpdateStatus({**claim, "status": {**status, **told}})] if {**status, **told} != status else []


def _volume(view: View, volume: Object) -> list[Action]:
    """Return what a volume's claim asks of it."""
    reference = volume["spec"].get("claimRef")
    if not reference or not reference.get("uid"):
        return _volume_phase(volume, "Available")
    claim = view.get("persistentvolumeclaims", f"{reference.get('namespace')}/{reference.get('name')}")
    if claim is not None and claim["metadata"]["uid"] == reference["uid"]:
        return _claimed(view, volume, claim)
    return _released(view, volume)


def _released(view: View, volume: Object) -> list[Action]:
    """Take back a volume whose claim is gone, once nothing newer than what was seen can tell otherwise."""
    phase = (volume.get("status") or {}).get("phase")
    if phase in ("Released", "Failed"):
        return _reclaim(volume) if phase == "Released" else []
    revision = int(volume["metadata"]["resourceVersion"])
    if view.caches["persistentvolumeclaims"].revision < revision:
        return [CatchUp(["persistentvolumeclaims"], revision)]
    return _volume_phase(volume, "Released")


def _claimed(view: View, volume: Object, claim: Object) -> list[Action]:
    name = claim["spec"].get("volumeName")
    if not name:
        return []  # the claim's turn comes
    if name == volume["metadata"]["name"]:
        return _volume_phase(volume, "Bound")
    if PROVISIONED_BY in _annotations(volume) and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
        return _released(view, volume)  # it was made for the claim, which has got another meanwhile
    if BY_CONTROLLER not in _annotations(volume):
        kept = {part: volume["spec"]["claimRef"][part] for part in ("namespace", "name")}
        return [Update({**volume, "spec": {**volume["spec"], "claimRef": kept}})]
    annotations = {part: value for part, value in _annotations(volume).items() if part != BY_CONTROLLER}
    spec = {part: value for part, value in volume["spec"].items() if part != "claimRef"}
    return [Update({**volume, "metadata": {**volume["metadata"], "annotations": annotations}, "spec": spec})]


def _reclaim(volume: Object) -> list[Action]:
    """Retain keeps a volume; to delete one is its provisioner's, and without any only its object could be deleted."""
    policy = volume["spec"].get("persistentVolumeReclaimPolicy", "Retain")
    if policy == "Retain" or volume["metadata"].get("deletionTimestamp"):
        return []
    if PROVISIONED_BY in _annotations(volume):
        return []
    name = volume["metadata"]["name"]
    if policy == "Delete":
        message = f'error getting deleter volume plugin for volume "{name}": no deletable volume plugin matched'
        return [*_failed(volume, message), RecordEvent(volume, "VolumeFailedDelete", message, "Warning")]
    message = "No recycler plugin found for the volume!"
    return [*_failed(volume, message), RecordEvent(volume, "VolumeFailedRecycle", message, "Warning")]


def _failed(volume: Object, message: str) -> list[Action]:
    return [UpdateStatus({**volume, "status": {**(volume.get("status") or {}), "phase": "Failed", "message": message}})]


def _volume_phase(volume: Object, phase: str) -> list[Action]:
    status = volume.get("status") or {}
    kept = {name: value for name, value in status.items() if name != "message"}
    return [] if status.get("phase") == phase else [UpdateStatus({**volume, "status": {**kept, "phase": phase}})]


def _claim_phase(claim: Object, phase: str) -> list[Action]:
    status = claim.get("status") or {}
    if status.get("phase") == phase:
        return []
    kept = {name: value for name, value in status.items() if name not in ("accessModes", "capacity")}
    return [UpdateStatus({**claim, "status": {**kept, "phase": phase}})]


def _annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    return dict(obj["metadata"].get("annotations") or {})


def _annotated(obj: Object, more: Mapping[str, str]) -> Object:
    if not more:
        return obj
    return {**obj, "metadata": {**obj["metadata"], "annotations": {**_annotations(obj), **more}}}


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    if plural == "pods":
        return _waiting(view, present) if old is None and not present["spec"].get("nodeName") else []
    if plural == "persistentvolumeclaims":
        name = present["spec"].get("volumeName")
        bound = [Due(_VOLUME + name)] if name else []
        if new is None:  # the volume may have been bound before the claim could tell
            mine = [one for one in view.list("persistentvolumes") if is_for(one, present)]
            bound = [Due(_VOLUME + one["metadata"]["name"]) for one in mine]
        return [Due(_CLAIM + key_of(present)), *bound]
    if plural == "storageclasses":
        name = present["metadata"]["name"]
        return [Due(_CLAIM + key_of(one)) for one in _unbound(view) if class_of(one) == name or not has_class(one)]
    reference = present["spec"].get("claimRef")
    itself = Due(_VOLUME + present["metadata"]["name"])
    if reference:
        return [itself, Due(f"{_CLAIM}{reference.get('namespace')}/{reference.get('name')}")]
    return [itself, *(Due(_CLAIM + key_of(one)) for one in _unbound(view))]


def _waiting(view: View, pod: Object) -> Iterable[Due]:
    """The claims of a new pod that have waited for one tell now that they wait for its node."""
    found = [view.get("persistentvolumeclaims", f"{pod['metadata']['namespace']}/{name}") for name in claims_of(pod)]
    return [
        Due(_CLAIM + key_of(one))
        for one in found
        if one is not None and BOUND not in _annotations(one) and is_delayed(view, one)
    ]


def _unbound(view: View) -> Iterable[Object]:
    return [one for one in view.list("persistentvolumeclaims") if BOUND not in _annotations(one)]


VOLUME_BINDING = Controller(
    name="volumes",
    source="persistentvolume-controller",
    reads=("persistentvolumeclaims", "persistentvolumes", "storageclasses", "pods"),
    keys=_keys,
    reconcile=reconcile,
    workers=1,
)
