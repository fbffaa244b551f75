"""The volume claims of a StatefulSet's pods: made before them, mounted in them, and owned as the retention asks.

Source: kubernetes.io "StatefulSets", PersistentVolumeClaim retention; upstream's stateful_pod_control.go and
stateful_set_utils.go.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from oarlock.actors.controllers.actions import Action, Create, Patch, RecordEvent
from oarlock.actors.controllers.ownership import controller_reference
from oarlock.actors.controllers.view import View, controller_of

Object = dict[str, Any]


def missing(view: View, owner: Object, number: int) -> Iterator[Action]:
    """Yield the claims that the pod of an ordinal lacks."""
    namespace, set_name = owner["metadata"]["namespace"], owner["metadata"]["name"]
    for template in owner["spec"].get("volumeClaimTemplates") or ():
        name = _name(owner, template, number)
        if view.get("persistentvolumeclaims", f"{namespace}/{name}") is not None:
            continue
        labels = {**(template["metadata"].get("labels") or {}), **(owner["spec"]["selector"].get("matchLabels") or {})}
        metadata = {**template["metadata"], "name": name, "namespace": namespace, "labels": labels}
        kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        pod_name = f"{set_name}-{number}"
        done = RecordEvent(
            owner, "SuccessfulCreate", f"Create Claim {name} Pod {pod_name} in StatefulSet {set_name} success"
        )
        message = f"Create Claim {name} for Pod {pod_name} in StatefulSet {set_name} failed error: {{error}}"
        failed = RecordEvent(owner, "FailedCreate", message, "Warning")
        yield Create({**kind, "metadata": metadata, "spec": copy.deepcopy(template["spec"])}, done, failed)


def mount(owner: Object, number: int, spec: Object) -> None:
    """Put the claims of an ordinal among a pod's volumes, in the place of others of the same names."""
    templates = owner["spec"].get("volumeClaimTemplates") or ()
    made = {
        one["metadata"]["name"]: {
            "name": one["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": _name(owner, one, number)},
        }
        for one in templates
    }
    if made:
        spec["volumes"] = [*made.values(), *(one for one in spec.get("volumes") or () if one["name"] not in made)]


def is_stale(view: View, owner: Object, number: int) -> bool:
    """Whether a claim is going, or will go with an earlier pod of the ordinal that still owns it."""
    if any(claim["metadata"].get("deletionTimestamp") for claim in _claims(view, owner, number)):
        return True
    if _policy(owner, "whenScaled") != "Delete":
        return False
    pod_name = f"{owner['metadata']['name']}-{number}"
    return any(
        reference["kind"] == "Pod" and reference["name"] == pod_name
        for claim in _claims(view, owner, number)
        for reference in claim["metadata"].get("ownerReferences") or ()
    )


def owners(view: View, owner: Object, pod: Object, number: int) -> Iterator[Action]:
    """Yield the patches that make the claims of a pod go with whom the retention policy says.

    A claim that somebody else controls, or an earlier set or pod of the same name, is left to them.
    """
    scaled_down = not _in_range(owner, number)
    above: Object | None = None
    if scaled_down and _policy(owner, "whenScaled") == "Delete":
        above = {**pod, "apiVersion": "v1", "kind": "Pod"}
    elif _policy(owner, "whenDeleted") == "Delete":
        above = owner
    ours = {owner["metadata"]["uid"], pod["metadata"]["uid"]}
    for claim in _claims(view, owner, number):
        held: list[Object] = claim["metadata"].get("ownerReferences") or []
        if _is_anothers(claim, owner, pod, ours):
            continue
        wanted = [one for one in held if one["uid"] not in ours]
        controller = controller_of(claim)
        if above is not None and (controller is None or controller["uid"] in ours):
            wanted.append(controller_reference(above))
        if wanted != held:
            metadata = {"uid": claim["metadata"]["uid"], "resourceVersion": claim["metadata"]["resourceVersion"]}
            yield Patch(claim, {"metadata": {**metadata, "ownerReferences": wanted or None}})


def _is_anothers(claim: Object, owner: Object, pod: Object, ours: set[str]) -> bool:
    """Whether an earlier set or pod of the same name still stands in the claim's references."""
    names = {("StatefulSet", owner["metadata"]["name"]), ("Pod", pod["metadata"]["name"])}
    references = claim["metadata"].get("ownerReferences") or ()
    return any((one["kind"], one["name"]) in names and one["uid"] not in ours for one in references)


def _claims(view: View, owner: Object, number: int) -> Iterator[Object]:
    namespace = owner["metadata"]["namespace"]
    for template in owner["spec"].get("volumeClaimTemplates") or ():
        claim = view.get("persistentvolumeclaims", f"{namespace}/{_name(owner, template, number)}")
        if claim is not None:
            yield claim


def _name(owner: Object, template: Object, number: int) -> str:
    return f"{template['metadata']['name']}-{owner['metadata']['name']}-{number}"


def _policy(owner: Object, when: str) -> str:
    return str((owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}).get(when, "Retain"))


def _in_range(owner: Object, number: int) -> bool:
    start = int((owner["spec"].get("ordinals") or {}).get("start", 0))
    return start <= number < start + int(owner["spec"].get("replicas", 1))
