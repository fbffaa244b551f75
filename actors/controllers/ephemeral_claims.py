"""A claim for every ephemeral volume of a pod, owned by the pod.

Source: kubernetes.io "Generic ephemeral volumes"; upstream's ephemeral volume controller.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from oarlock.actors.controllers.actions import Action, Create, RecordEvent
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.ownership import controller_reference, is_controlled_by
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]


def reconcile(key: str, view: View) -> list[Action]:
    """Return the creation of the claims that a pod still lacks; one of another owner is told of, and left."""
    pod = view.get("pods", key)
    if pod is None or pod["metadata"].get("deletionTimestamp"):
        return []
    actions: list[Action] = []
    for volume in pod["spec"].get("volumes") or ():
        if not volume.get("ephemeral"):
            continue
        name = f"{pod['metadata']['name']}-{volume['name']}"
        held = view.get("persistentvolumeclaims", f"{pod['metadata']['namespace']}/{name}")
        failed = f'ephemeral volume {volume["name"]}: create PVC "{name}": '
        if held is None:
            told = RecordEvent(pod, "EphemeralVolumeCreateFailed", failed.replace("{", "{{") + "{error}", "Warning")
            actions.append(Create(_claim(pod, name, volume["ephemeral"]["volumeClaimTemplate"]), failed=told))
        elif not is_controlled_by(held, pod):
            words = f'PVC "{name}" was not created for pod "{pod["metadata"]["name"]}" (pod is not owner)'
            actions.append(RecordEvent(pod, "EphemeralVolumeCreateFailed", failed + words, "Warning"))
    return actions


def _claim(pod: Object, name: str, template: Object) -> Object:
    metadata: Object = {
        "name": name,
        "namespace": pod["metadata"]["namespace"],
        "ownerReferences": [controller_reference(pod)],
    }
    held = template.get("metadata") or {}
    metadata |= {part: copy.copy(held[part]) for part in ("labels", "annotations") if held.get(part)}
    kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    return {**kind, "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


def _keys(plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    if plural == "pods":
        mine = new is not None and old is None and any(one.get("ephemeral") for one in new["spec"].get("volumes") or ())
        return [Due(key_of(new))] if mine and new is not None else []
    owners = (old or {}).get("metadata", {}).get("ownerReferences") or () if new is None else ()
    namespace = (old or {}).get("metadata", {}).get("namespace", "")
    return [Due(f"{namespace}/{one['name']}") for one in owners if one["kind"] == "Pod" and one.get("controller")]


EPHEMERAL_CLAIMS = Controller(
    name="ephemeral_volume",
    source="ephemeral_volume",
    reads=("pods", "persistentvolumeclaims"),
    keys=_keys,
    reconcile=reconcile,
    workers=4,
)
