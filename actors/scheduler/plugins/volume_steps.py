"""Has a pod's volumes bound or made before the pod itself is bound. Source: upstream's volumebinding binder."""

from __future__ import annotations

import asyncio
from typing import cast

from oarlock.actors.scheduler.claims import VolumePlan, claims_of, plan
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Handle, StepDefaults, StepFailed
from oarlock.actors.scheduler.snapshot import Snapshot
from oarlock.actors.scheduler.storage import SELECTED_NODE
from oarlock.cluster.client.http import ApiClient

BIND_TIMEOUT_S = 600.0
_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"


class VolumeSteps(StepDefaults):
    """Handles what happens after the decision; `volume_binding` judges nodes."""

    name = "VolumeBinding"

    def __init__(self, timeout_s: float = BIND_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    def reserve(self, pod: PodFacts, node: str, snapshot: Snapshot) -> object | None:
        if not pod.claims:
            return None
        found = plan(claims_of(pod, snapshot.storage), snapshot.nodes[node], snapshot.storage)
        assert isinstance(found, VolumePlan), "the filter let the node pass"
        snapshot.storage.assume(found.bindings, found.provisions, node)
        return found or None

    def unreserve(self, pod: PodFacts, node: str, reserved: object, snapshot: Snapshot) -> None:  # noqa: ARG002
        found = cast(VolumePlan, reserved)
        snapshot.storage.forget(found.bindings, found.provisions)

    async def pre_bind(self, pod: PodFacts, node: str, reserved: object, handle: Handle) -> None:  # noqa: ARG002
        """Say what is wanted and wait until the volume controller and the provisioners have done it."""
        found = cast(VolumePlan, reserved)
        for volume, claim in found.bindings:
            await _bind(handle.client, volume, claim)
        for claim in found.provisions:
            await _select(handle.client, claim, node)
        try:
            async with asyncio.timeout(self._timeout_s):
                while not _is_done(found, node, handle.snapshot):
                    await handle.changed()
        except TimeoutError:
            raise StepFailed("binding volumes: context deadline exceeded") from None


async def _bind(client: ApiClient, volume: str, claim_key: str) -> None:
    """Keep the volume for the claim; the volume controller does the rest."""
    path, claim_path = f"/api/v1/persistentvolumes/{volume}", _claim_path(claim_key)
    obj, claim = await client.get(path), await client.get(claim_path)
    reference = obj["spec"].get("claimRef")
    namespace, name = claim_key.split("/")
    if reference and (reference.get("namespace"), reference.get("name")) != (namespace, name):
        raise StepFailed(f'persistentvolume "{volume}" was taken by another claim')
    metadata = claim["metadata"]
    obj["spec"]["claimRef"] = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": namespace,
        "name": name,
        "uid": metadata["uid"],
        "resourceVersion": metadata["resourceVersion"],
    }
    if not reference:
        obj["metadata"].setdefault("annotations", {})[_BY_CONTROLLER] = "yes"
    await client.update(path, obj)


async def _select(client: ApiClient, claim_key: str, node: str) -> None:
    """Tell the provisioner for which node the claim's volume is wanted."""
    claim = await client.get(_claim_path(claim_key))
    claim["metadata"].setdefault("annotations", {})[SELECTED_NODE] = node
    await client.update(_claim_path(claim_key), claim)


def _claim_path(key: str) -> str:
    namespace, name = key.split("/")
    return f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"


def _is_done(found: VolumePlan, node: str, snapshot: Snapshot) -> bool:
    """Raises StepFailed if it can't come to that any more."""
    storage = snapshot.storage
    for key in (*(claim for _, claim in found.bindings), *found.provisions):
        claim = storage.claim(key)
        if claim is None:
            raise StepFailed(f'binding volumes: persistentvolumeclaim "{key}" not found')
        if key in found.provisions and claim.selected_node != node:
            # A provisioner that fails takes the annotation back.
            raise StepFailed(f'binding volumes: provisioning failed for PVC "{claim.name}"')
        if not claim.bound:
            return False
        volume = storage.volume(claim.volume_name)
        if volume is None:
            return False
        there = snapshot.nodes.get(node)
        if there is None or not volume.reaches(node, there.labels):
            raise StepFailed(f'binding volumes: pv "{volume.name}" node affinity doesn\'t match node "{node}"')
    return True
