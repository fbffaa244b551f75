"""Claims, volumes and what drivers can do, as volume plugins see them: what the API server says and what is assumed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oarlock.actors.scheduler.selection import NodeTerm, node_term
from oarlock.cluster.objects import quantity
from oarlock.cluster.objects.selectors import LabelSelector, from_object

Object = Mapping[str, Any]

SELECTED_NODE = "volume.kubernetes.io/selected-node"
_BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
DELAYED = "WaitForFirstConsumer"
SINGLE_POD = "ReadWriteOncePod"


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    """One PersistentVolumeClaim. `bound` says that the volume controller has finished with it; sizes in bytes."""

    key: str
    name: str
    uid: str
    owner_uid: str
    terminating: bool
    lost: bool
    class_name: str
    volume_name: str
    bound: bool
    selected_node: str
    size: int | None
    access_modes: frozenset[str]
    mode: str
    attributes_class: str
    selector: LabelSelector | None


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """One PersistentVolume. `claim` is the key of the claim it is kept for, `claim_uid` says which of that name."""

    name: str
    labels: Mapping[str, str]
    class_name: str
    available: bool
    terminating: bool
    claim: str
    claim_uid: str
    size: int
    access_modes: frozenset[str]
    mode: str
    attributes_class: str
    required: tuple[NodeTerm, ...] | None
    driver: str
    handle: str

    def reaches(self, node: str, labels: Mapping[str, str]) -> bool:
        """Whether the volume's node affinity lets the node use it."""
        return self.required is None or any(term.matches(node, labels) for term in self.required)

    def is_for(self, claim: ClaimFacts) -> bool:
        return self.claim == claim.key and self.claim_uid in ("", claim.uid)


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """One StorageClass; `topologies` are alternatives of (label, values) that must all hold."""

    name: str
    provisioner: str
    mode: str | None
    topologies: tuple[tuple[tuple[str, frozenset[str]], ...], ...]

    def allows(self, labels: Mapping[str, str]) -> bool:
        return not self.topologies or any(
            all(labels.get(key) in values for key, values in one) for one in self.topologies
        )


@dataclass(frozen=True, slots=True)
class CapacityFacts:
    """One CSIStorageCapacity: how large a volume of a class may be on the nodes that `nodes` chooses."""

    class_name: str
    nodes: LabelSelector
    limit: int | None


class Storage:
    """What is known of storage, by key or name. `assume` puts a decision before the API server has heard of it."""

    def __init__(self) -> None:
        self.claims: dict[str, ClaimFacts] = {}
        self.volumes: dict[str, VolumeFacts] = {}
        self.classes: dict[str, ClassFacts] = {}
        self.capacities: dict[str, CapacityFacts] = {}
        self.limits: dict[str, Mapping[str, int]] = {}
        """How many volumes of a driver each node takes, by node and driver."""
        self.counting_drivers: set[str] = set()
        """Drivers that publish their capacity."""
        self._attachments: dict[str, tuple[str, str]] = {}
        """(Node, volume) by the attachment's name."""
        self._attached: dict[str, Counter[str]] = defaultdict(Counter)
        """Volumes by node, with how many attachments say so; also such as aren't known yet."""
        self._by_class: dict[str, dict[str, None]] = defaultdict(dict)
        self._assumed_claims: dict[str, ClaimFacts] = {}
        self._assumed_volumes: dict[str, VolumeFacts] = {}

    def claim(self, key: str) -> ClaimFacts | None:
        return self._assumed_claims.get(key) or self.claims.get(key)

    def volume(self, name: str) -> VolumeFacts | None:
        return self._assumed_volumes.get(name) or self.volumes.get(name)

    def volumes_of(self, class_name: str) -> Iterable[VolumeFacts]:
        """Return the volumes of a class, in the order in which they came."""
        return (self._assumed_volumes.get(name) or self.volumes[name] for name in self._by_class.get(class_name, ()))

    def attached_to(self, node: str) -> Iterator[VolumeFacts]:
        """Yield the known volumes that are attached to the node."""
        return (volume for name in self._attached.get(node, ()) if (volume := self.volume(name)) is not None)

    def put_attachment(self, name: str, node: str, volume: str) -> None:
        """Take what the API server says; no volume if it is gone, or isn't about one."""
        before = self._attachments.pop(name, None)
        if before is not None:
            there = self._attached[before[0]]
            there[before[1]] -= 1
            if not there[before[1]]:
                del there[before[1]]
            if not there:
                del self._attached[before[0]]
        if volume:
            self._attachments[name] = node, volume
            self._attached[node][volume] += 1

    def put_claim(self, key: str, claim: ClaimFacts | None) -> None:
        """Take what the API server says; None if it is gone."""
        self._assumed_claims.pop(key, None)
        _put(self.claims, key, claim)

    def put_volume(self, name: str, volume: VolumeFacts | None) -> None:
        """Take what the API server says; None if it is gone."""
        self._assumed_volumes.pop(name, None)
        before = self.volumes.get(name)
        if before is not None and (volume is None or volume.class_name != before.class_name):
            self._by_class[before.class_name].pop(name, None)
        _put(self.volumes, name, volume)
        if volume is not None:
            self._by_class[volume.class_name].setdefault(name)

    def assume(self, bindings: Iterable[tuple[str, str]], provisions: Iterable[str], node: str) -> None:
        """Keep (volume, claim) pairs for each other, and have claims provisioned for the node."""
        for volume_name, key in bindings:
            claim = self.claims[key]
            self._assumed_volumes[volume_name] = replace(
                self.volumes[volume_name], claim=key, claim_uid=claim.uid, available=False
            )
        for key in provisions:
            self._assumed_claims[key] = replace(self.claims[key], selected_node=node)

    def forget(self, bindings: Iterable[tuple[str, str]], provisions: Iterable[str]) -> None:
        """Take an assumption back."""
        for volume_name, _ in bindings:
            self._assumed_volumes.pop(volume_name, None)
        for key in provisions:
            self._assumed_claims.pop(key, None)


def _put(known: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        known.pop(key, None)
    else:
        known[key] = value


def claim_facts(obj: Object) -> ClaimFacts:
    """Read a PersistentVolumeClaim object."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    annotations = metadata.get("annotations") or {}
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    owner: Object = next((one for one in metadata.get("ownerReferences") or () if one.get("controller")), {})
    return ClaimFacts(
        f"{metadata.get('namespace') or 'default'}/{metadata['name']}",
        metadata["name"],
        metadata.get("uid") or "",
        owner.get("uid") or "",
        bool(metadata.get("deletionTimestamp")),
        status.get("phase") == "Lost",
        annotations.get(_BETA_CLASS) or spec.get("storageClassName") or "",
        spec.get("volumeName") or "",
        bool(spec.get("volumeName")) and _BIND_COMPLETED in annotations,
        annotations.get(SELECTED_NODE) or "",
        None if size is None else quantity.whole(size),
        frozenset(spec.get("accessModes") or ()),
        spec.get("volumeMode") or "Filesystem",
        spec.get("volumeAttributesClassName") or "",
        from_object(spec["selector"]) if spec.get("selector") is not None else None,
    )


def volume_facts(obj: Object) -> VolumeFacts:
    """Read a PersistentVolume object."""
    metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    claim, required = spec.get("claimRef") or {}, (spec.get("nodeAffinity") or {}).get("required")
    driver = spec.get("csi") or {}
    return VolumeFacts(
        metadata["name"],
        metadata.get("labels") or {},
        (metadata.get("annotations") or {}).get(_BETA_CLASS) or spec.get("storageClassName") or "",
        status.get("phase") == "Available",
        bool(metadata.get("deletionTimestamp")),
        f"{claim.get('namespace')}/{claim['name']}" if claim else "",
        claim.get("uid") or "",
        quantity.whole((spec.get("capacity") or {}).get("storage") or 0),
        frozenset(spec.get("accessModes") or ()),
        spec.get("volumeMode") or "Filesystem",
        spec.get("volumeAttributesClassName") or "",
        tuple(map(node_term, required["nodeSelectorTerms"])) if required else None,
        driver.get("driver") or "",
        driver.get("volumeHandle") or "",
    )


def class_facts(obj: Object) -> ClassFacts:
    """Read a StorageClass object."""
    topologies = tuple(
        tuple((one["key"], frozenset(one.get("values") or ())) for one in term.get("matchLabelExpressions") or ())
        for term in obj.get("allowedTopologies") or ()
    )
    return ClassFacts(
        obj["metadata"]["name"], obj.get("provisioner") or "", obj.get("volumeBindingMode") or "Immediate", topologies
    )


def capacity_facts(obj: Object) -> CapacityFacts:
    """Read a CSIStorageCapacity object; the largest volume counts where it is given, the free space else."""
    limit = obj.get("maximumVolumeSize", obj.get("capacity"))
    return CapacityFacts(
        obj.get("storageClassName") or "",
        from_object(obj.get("nodeTopology")),
        None if limit is None else quantity.whole(limit),
    )


def driver_limits(obj: Object) -> dict[str, int]:
    """Read a CSINode object: how many volumes each driver attaches at most; drivers without a limit are left out."""
    drivers = (obj.get("spec") or {}).get("drivers") or ()
    counts = {one["name"]: (one.get("allocatable") or {}).get("count") for one in drivers}
    return {name: count for name, count in counts.items() if count is not None}
