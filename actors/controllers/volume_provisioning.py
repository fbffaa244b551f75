"""What a claim without a volume waits for, and whom it asks for one.

Source: kubernetes.io "Dynamic Volume Provisioning", "Storage Classes"; upstream's pv_controller.go, provisionClaim and
assignDefaultStorageClass.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oarlock.actors.controllers import pods
from oarlock.actors.controllers.actions import Action, RecordEvent, Update
from oarlock.actors.controllers.migrated_volumes import BUILT_IN, DRIVERS
from oarlock.actors.controllers.storage_protection import claims_of
from oarlock.actors.controllers.view import View
from oarlock.actors.controllers.volume_matching import class_of, has_class
from oarlock.cluster.objects.default_classes import STORAGE_DEFAULT, newest_default

Object = dict[str, Any]

_SELECTED_NODE = "volume.kubernetes.io/selected-node"
_ASKED = ("volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner")


def is_delayed(view: View, claim: Object) -> bool:
    """Whether the claim's class waits for the first pod, which the scheduler finds a node and a volume for."""
    found = view.get("storageclasses", class_of(claim))
    return found is not None and found.get("volumeBindingMode") == "WaitForFirstConsumer"


def classified(view: View, claim: Object) -> list[Action]:
    """Return what gives the default class to a claim that was made before there was any."""
    name = None if has_class(claim) else newest_default(view.list("storageclasses"), STORAGE_DEFAULT)
    return [Update({**claim, "spec": {**claim["spec"], "storageClassName": name}})] if name else []


def waited_for(view: View, claim: Object, *, delayed: bool) -> list[Action]:
    """Tell what an unbound claim waits for, and ask its class's provisioner for a volume."""
    name = class_of(claim)
    if delayed and _SELECTED_NODE not in (claim["metadata"].get("annotations") or {}):
        return [_consumer(view, claim)]
    if not name:
        message = "no persistent volumes available for this claim and no storage class is set"
        return [RecordEvent(claim, "FailedBinding", message)]
    storage_class = view.get("storageclasses", name)
    if storage_class is None:
        message = f'storageclass.storage.k8s.io "{name}" not found'
        return [RecordEvent(claim, "ProvisioningFailed", message, "Warning")]
    provisioner = str(storage_class["provisioner"])
    if provisioner.startswith(BUILT_IN) and provisioner not in DRIVERS:
        message = f"no volume plugin matched name: {provisioner}"
        return [RecordEvent(claim, "ProvisioningFailed", message, "Warning")]
    return _asked(claim, DRIVERS.get(provisioner, provisioner))


def _asked(claim: Object, provisioner: str) -> list[Action]:
    message = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    told = RecordEvent(claim, "ExternalProvisioning", message)
    held = claim["metadata"].get("annotations") or {}
    if all(held.get(name) == provisioner for name in _ASKED):
        return [told]
    metadata = {**claim["metadata"], "annotations": {**held, **dict.fromkeys(_ASKED, provisioner)}}
    return [Update({**claim, "metadata": metadata}), told]


def _consumer(view: View, claim: Object) -> RecordEvent:
    """Name the pods that use the claim and have no node yet."""
    names = sorted(_unscheduled(view, claim))
    if not names:
        message = "waiting for first consumer to be created before binding"
        return RecordEvent(claim, "WaitForFirstConsumer", message)
    who = f"pod {names[0]}" if len(names) == 1 else f"pods {','.join(names)}"
    return RecordEvent(claim, "WaitForPodScheduled", f"waiting for {who} to be scheduled")


def _unscheduled(view: View, claim: Object) -> Iterable[str]:
    for pod in view.list("pods", claim["metadata"]["namespace"]):
        waits = not pod["spec"].get("nodeName") and not pods.is_ended(pod)
        if waits and claim["metadata"]["name"] in claims_of(pod):
            yield pod["metadata"]["name"]
