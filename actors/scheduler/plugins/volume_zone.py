"""Keeps a pod in the zones and regions that its volumes' labels name."""

from __future__ import annotations

from oarlock.actors.scheduler.claims import existing
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults, Impossible
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot
from oarlock.actors.scheduler.storage import DELAYED, ClaimFacts

_ELSEWHERE = Failure(("node(s) had no available volume zone",), final=True)
_GA = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
_LABELS = (*_GA, *_GA.values())
_SEPARATOR = "__"
"""Between the zones of a volume that is in several."""


class VolumeZone(FilterDefaults):
    name = "VolumeZone"
    events = frozenset(
        (
            "NodeAdded",
            "NodeLabelChanged",
            "PersistentVolumeClaimChanged",
            "PersistentVolumeChanged",
            "StorageClassChanged",
        )
    )

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:
        wanted = [
            one
            for name, ephemeral in pod.claims
            if not ephemeral
            for one in _zones(existing(pod, name, snapshot.storage), snapshot)
        ]
        if not wanted:
            return None

        def check(node: NodeState) -> Failure | None:
            labels = node.labels
            if not any(label in labels for label in _LABELS):
                return None
            # A node that only has the newer label answers for the older one too.
            here = (labels.get(key, labels.get(_GA.get(key, key))) in values for key, values in wanted)
            return None if all(here) else _ELSEWHERE

        return check


def _zones(claim: ClaimFacts, snapshot: Snapshot) -> list[tuple[str, frozenset[str]]]:
    """Return (label, values) of the claim's volume; none if it is bound once the pod has a node. Raises Impossible."""
    storage = snapshot.storage
    if not claim.volume_name:
        return _later(claim, snapshot)
    volume = storage.volume(claim.volume_name)
    if volume is None:
        raise Impossible(f'persistentvolume "{claim.volume_name}" not found')
    named = ((label, frozenset(map(str.strip, volume.labels.get(label, "").split(_SEPARATOR)))) for label in _LABELS)
    # A list with an empty name in it says nothing, as upstream reads it.
    return [(label, zones) for label, zones in named if "" not in zones]


def _later(claim: ClaimFacts, snapshot: Snapshot) -> list[tuple[str, frozenset[str]]]:
    if not claim.class_name:
        raise Impossible("PersistentVolumeClaim had no pv name and storageClass name")
    found = snapshot.storage.classes.get(claim.class_name)
    if found is None:
        raise Impossible(f'storageclass.storage.k8s.io "{claim.class_name}" not found')
    if found.mode != DELAYED:
        raise Impossible("PersistentVolume had no name")
    return []
