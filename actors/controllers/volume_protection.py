"""Claims and volumes in use aren't taken away: a finalizer keeps them until nothing uses them any more.

Source: kubernetes.io "Storage Object in Use Protection"; upstream's pvcprotection and pvprotection controllers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from oarlock.actors.controllers import pods
from oarlock.actors.controllers.actions import Action, Patch
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.ownership import is_controlled_by
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"


def reconcile_claim(key: str, view: View) -> list[Action]:
    """Return the removal of a claim's finalizer once no scheduled pod that runs uses it, or its addition."""
    claim = view.get("persistentvolumeclaims", key)
    if claim is None:
        return []
    if not claim["metadata"].get("deletionTimestamp"):
        return _with(claim, CLAIM_FINALIZER)
    used = any(_uses(pod, claim) for pod in view.list("pods", claim["metadata"]["namespace"]))
    return [] if used else _without(claim, CLAIM_FINALIZER)


def reconcile_volume(key: str, view: View) -> list[Action]:
    """Return the removal of a volume's finalizer once it is bound to no claim, or its addition."""
    volume = view.get("persistentvolumes", key)
    if volume is None:
        return []
    if not volume["metadata"].get("deletionTimestamp"):
        return _with(volume, VOLUME_FINALIZER)
    bound = (volume.get("status") or {}).get("phase") == "Bound"
    return [] if bound else _without(volume, VOLUME_FINALIZER)


def claims_of(pod: Object) -> Iterator[str]:
    """Yield the names of the claims that a pod uses; an ephemeral volume's is named for pod and volume."""
    for volume in pod["spec"].get("volumes") or ():
        if volume.get("persistentVolumeClaim"):
            yield volume["persistentVolumeClaim"]["claimName"]
        elif volume.get("ephemeral"):
            yield f"{pod['metadata']['name']}-{volume['name']}"


def _uses(pod: Object, claim: Object) -> bool:
    """A pod that isn't bound yet doesn't count: no node starts a pod whose claim is being deleted."""
    if not pod["spec"].get("nodeName") or pods.is_ended(pod):
        return False
    name = claim["metadata"]["name"]
    for volume in pod["spec"].get("volumes") or ():
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == name:
            return True
        if volume.get("ephemeral") and f"{pod['metadata']['name']}-{volume['name']}" == name:
            return is_controlled_by(claim, pod)
    return False


def _with(obj: Object, finalizer: str) -> list[Action]:
    held = obj["metadata"].get("finalizers") or []
    return [] if finalizer in held else [_patch(obj, [*held, finalizer])]


def _without(obj: Object, finalizer: str) -> list[Action]:
    held = obj["metadata"].get("finalizers") or []
    return [_patch(obj, [one for one in held if one != finalizer])] if finalizer in held else []


def _patch(obj: Object, finalizers: list[str]) -> Patch:
    metadata = obj["metadata"]
    certain = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    return Patch(obj, {"metadata": {**certain, "finalizers": finalizers or None}})


def _claim_keys(plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    if plural == "persistentvolumeclaims":
        return [Due(key_of(present))]
    freed = new is None or pods.is_ended(new)
    namespace = present["metadata"]["namespace"]
    return [Due(f"{namespace}/{name}") for name in claims_of(present)] if freed else []


def _volume_keys(_plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    return [Due(key_of(present))]


CLAIM_PROTECTION = Controller(
    name="PVC_protection",
    source="pvc-protection-controller",
    reads=("persistentvolumeclaims", "pods"),
    keys=_claim_keys,
    reconcile=reconcile_claim,
    workers=4,
)
VOLUME_PROTECTION = Controller(
    name="PV_protection",
    source="pv-protection-controller",
    reads=("persistentvolumes",),
    keys=_volume_keys,
    reconcile=reconcile_volume,
    workers=2,
)
