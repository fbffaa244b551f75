"""Keeps a pod where its volumes are, or can be had; has them bound or made before the pod is."""

from __future__ import annotations

from oarlock.actors.scheduler.claims import VolumePlan, claims_of, plan
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot


class VolumeBinding(FilterDefaults):
    name = "VolumeBinding"
    events = frozenset(
        (
            "NodeAdded",
            "NodeLabelChanged",
            "PersistentVolumeClaimChanged",
            "PersistentVolumeChanged",
            "StorageClassChanged",
            "CSINodeChanged",
            "CSIDriverChanged",
            "CSIStorageCapacityChanged",
        )
    )

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:
        if not pod.claims:
            return None
        claims = claims_of(pod, snapshot.storage)

        def check(node: NodeState) -> Failure | None:
            outcome = plan(claims, node, snapshot.storage)
            return None if isinstance(outcome, VolumePlan) else Failure(outcome, final=True)

        return check
