"""Keeps pods off nodes to which a driver can attach no more volumes."""

from __future__ import annotations

from collections import Counter

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot
from oarlock.actors.scheduler.storage import Storage

_FULL = Failure(("node(s) exceed max volume count",), final=False)
Attachable = set[tuple[str, str]]
"""(driver, handle): the same volume used twice is attached once."""


class NodeVolumeLimits(FilterDefaults):
    """Source: upstream's nodevolumelimits CSILimits."""

    name = "NodeVolumeLimits"
    events = frozenset(
        ("NodeAdded", "AssignedPodDeleted", "CSINodeChanged", "PersistentVolumeClaimChanged", "VolumeAttachmentDeleted")
    )

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:
        storage = snapshot.storage
        wanted = attachable(pod, storage)
        if not wanted or not storage.limits:
            return None

        def check(node: NodeState) -> Failure | None:
            limits = storage.limits.get(node.name)
            if not limits:
                return None
            present: Attachable = set().union(*(attachable(other, storage) for other in node.pods.values()))
            present.update((one.driver, one.handle) for one in storage.attached_to(node.name) if one.driver)
            added = Counter(driver for driver, _ in wanted - present)
            held = Counter(driver for driver, _ in present)
            over = any(held[driver] + count > limits[driver] for driver, count in added.items() if driver in limits)
            return _FULL if over else None

        return check


def attachable(pod: PodFacts, storage: Storage) -> Attachable:
    """Return the volumes of CSI drivers that the pod's claims stand for; one still to be made counts as its class's."""
    found: Attachable = set()
    for name, _ in pod.claims:
        claim = storage.claim(f"{pod.namespace}/{name}")
        if claim is None:
            continue
        volume = storage.volume(claim.volume_name) if claim.volume_name else None
        if volume is not None:
            if volume.driver:
                found.add((volume.driver, volume.handle))
        elif (made_by := storage.classes.get(claim.class_name)) is not None and made_by.provisioner:
            found.add((made_by.provisioner, f"unbound/{claim.key}"))
    return found
