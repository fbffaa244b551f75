"""Keeps pods apart that would use one disk, or one claim that says ReadWriteOncePod."""

from __future__ import annotations

from oarlock.actors.scheduler.claims import existing
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults
from oarlock.actors.scheduler.pod_volumes import Disk
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot
from oarlock.actors.scheduler.storage import SINGLE_POD

_DISK = Failure(("node(s) had no available disk",), final=False)
_CLAIM = Failure(
    ("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",), final=False
)


class VolumeRestrictions(FilterDefaults):
    name = "VolumeRestrictions"
    local = False
    events = frozenset(("NodeAdded", "AssignedPodDeleted", "PersistentVolumeClaimChanged"))

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:
        named = [existing(pod, name, snapshot.storage) for name, ephemeral in pod.claims if not ephemeral]
        alone = {claim.name for claim in named if SINGLE_POD in claim.access_modes}
        # Anywhere in the cluster: the claim's volume may be attached to several nodes, the claim still is one pod's.
        is_taken = bool(alone) and any(_uses(other, pod, alone) for node in snapshot for other in node.pods.values())
        if not pod.disks and not is_taken:
            return None

        def check(node: NodeState) -> Failure | None:
            if any(
                _collide(mine, theirs) for other in node.pods.values() for theirs in other.disks for mine in pod.disks
            ):
                return _DISK
            return _CLAIM if is_taken else None

        return check


def _uses(other: PodFacts, pod: PodFacts, claims: set[str]) -> bool:
    """A claim that was made along with a pod is that pod's anyway."""
    return other.namespace == pod.namespace and any(name in claims for name, own in other.claims if not own)


def _collide(one: Disk, other: Disk) -> bool:
    """The same disk collides unless both only read it and its kind lets readers share."""
    is_same = one.kind == other.kind and not one.names.isdisjoint(other.names)
    return is_same and not (one.shareable and one.read_only and other.read_only)
