"""Volumes, claims and attribute classes that are being deleted go once nothing uses them.

Source: upstream's pkg/controller/volume/pvcprotection, pvprotection, vacprotection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from oarlock.actors.controllers.actions import Action, CatchUp, Update
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View

Object = dict[str, Any]

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"
CLASS_FINALIZER = "kubernetes.io/vac-protection"


def reconcile_claim(key: str, view: View) -> list[Action]:
    """Let a deleted claim go when no pod on a node uses it."""
    claim = view.get("persistentvolumeclaims", key)
    if claim is None or not _waits(claim, CLAIM_FINALIZER):
        return []
    behind = _behind(view, claim, "pods")
    if behind:
        return behind
    namespace, name = claim["metadata"]["namespace"], claim["metadata"]["name"]
    used = any(name in claims_of(pod) for pod in view.list("pods", namespace) if _is_running(pod))
    return [] if used else [_released(claim, CLAIM_FINALIZER)]


def reconcile_volume(key: str, view: View) -> list[Action]:
    """Let a deleted volume go when it isn't bound."""
    volume = view.get("persistentvolumes", key)
    if volume is None or not _waits(volume, VOLUME_FINALIZER):
        return []
    bound = (volume.get("status") or {}).get("phase") == "Bound"
    return [] if bound else [_released(volume, VOLUME_FINALIZER)]


def reconcile_class(key: str, view: View) -> list[Action]:
    """Let a deleted class of volume attributes go when no claim and no volume names it."""
    found = view.get("volumeattributesclasses", key)
    if found is None or not _waits(found, CLASS_FINALIZER):
        return []
    behind = _behind(view, found, "persistentvolumeclaims", "persistentvolumes")
    if behind:
        return behind
    users = [*view.list("persistentvolumeclaims"), *view.list("persistentvolumes")]
    return [] if any(key in _classes_of(one) for one in users) else [_released(found, CLASS_FINALIZER)]


def claims_of(pod: Object) -> Iterator[str]:
    """Yield the names of the claims that a pod's volumes are of; generic ephemeral ones are named for the pod."""
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume["persistentVolumeClaim"].get("claimName", "")
        elif volume.get("ephemeral"):
            yield f"{pod['metadata']['name']}-{volume['name']}"


def _is_running(pod: Object) -> bool:
    """Whether a pod is on a node and not at its end; one that waits for a node uses nothing yet."""
    phase = (pod.get("status") or {}).get("phase")
    return bool(pod["spec"].get("nodeName")) and phase not in ("Succeeded", "Failed")


def _classes_of(obj: Object) -> set[str | None]:
    spec, state = obj.get("spec") or {}, obj.get("status") or {}
    target = (state.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    return {spec.get("volumeAttributesClassName"), state.get("currentVolumeAttributesClassName"), target}


def _waits(obj: Object, finalizer: str) -> bool:
    metadata = obj["metadata"]
    return bool(metadata.get("deletionTimestamp")) and finalizer in (metadata.get("finalizers") or ())


def _behind(view: View, obj: Object, *plurals: str) -> list[Action]:
    """Whoever began to use the object before its deletion must be seen first."""
    revision = int(obj["metadata"]["resourceVersion"])
    late = [plural for plural in plurals if view.caches[plural].revision < revision]
    return [CatchUp(late, revision)] if late else []


def _released(obj: Object, finalizer: str) -> Update:
    kept = [one for one in obj["metadata"]["finalizers"] if one != finalizer]
    return Update({**obj, "metadata": {**obj["metadata"], "finalizers": kept}})


def _claim_keys(plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    if plural == "persistentvolumeclaims":
        return _own_key(new, CLAIM_FINALIZER)
    if old is None or (new is not None and (not _is_running(old) or _is_running(new))):
        return []
    namespace = old["metadata"]["namespace"]
    return [Due(f"{namespace}/{name}") for name in claims_of(old)]


def _volume_keys(_plural: str, _old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    return _own_key(new, VOLUME_FINALIZER)


def _class_keys(plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    if plural == "volumeattributesclasses":
        return _own_key(new, CLASS_FINALIZER)
    if old is None:
        return []
    left = _classes_of(old) - (set() if new is None else _classes_of(new))
    return [Due(name) for name in left if name]


def _own_key(obj: Object | None, finalizer: str) -> Iterable[Due]:
    if obj is None or not _waits(obj, finalizer):
        return []
    metadata = obj["metadata"]
    namespace = metadata.get("namespace")
    return [Due(f"{namespace}/{metadata['name']}" if namespace else metadata["name"])]


CLAIM_PROTECTION = Controller(
    name="pvcprotection",
    source="pvc-protection-controller",
    reads=("persistentvolumeclaims", "pods"),
    keys=_claim_keys,
    reconcile=reconcile_claim,
    workers=2,
)
VOLUME_PROTECTION = Controller(
    name="pvprotection",
    source="pv-protection-controller",
    reads=("persistentvolumes",),
    keys=_volume_keys,
    reconcile=reconcile_volume,
    workers=2,
)
CLASS_PROTECTION = Controller(
    name="vacprotection",
    source="vac-protection-controller",
    reads=("volumeattributesclasses", "persistentvolumeclaims", "persistentvolumes"),
    keys=_class_keys,
    reconcile=reconcile_class,
    workers=1,
)
