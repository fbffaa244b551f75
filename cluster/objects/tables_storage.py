"""How volumes, claims, storage classes and CSI objects are printed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from oarlock.cluster.objects.cells import (
    AGE,
    NAME,
    NONE,
    UNSET,
    Cells,
    Column,
    Object,
    Printer,
    Printers,
    age_of,
    amount,
    at,
    boolean,
    integer,
    name_of,
    wide,
)
from oarlock.cluster.objects.default_classes import STORAGE_DEFAULT

_MODES: Final = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_ATTRIBUTES: Final = ("volumeattributesclass.alpha.kubernetes.io/is-default-class",)


def _modes(given: Iterable[str]) -> str:
    present = set(given)
    return ",".join(short for mode, short in _MODES.items() if mode in present)


def _class(obj: Object) -> str:
    annotated: str | None = at(obj, "metadata", "annotations", _CLASS_ANNOTATION)
    return annotated if annotated is not None else at(obj, "spec", "storageClassName", default="")


def _phase(obj: Object) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else at(obj, "status", "phase", default="")


def _volume(obj: Object, now: float) -> Cells:
    claim = at(obj, "spec", "claimRef")
    return [
        name_of(obj),
        amount(at(obj, "spec", "capacity", "storage")),
        _modes(at(obj, "spec", "accessModes", default=())),
        at(obj, "spec", "persistentVolumeReclaimPolicy", default=""),
        _phase(obj),
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim is not None else "",
        _class(obj),
        at(obj, "spec", "volumeAttributesClassName", default=UNSET),
        at(obj, "status", "reason", default=""),
        age_of(obj, now),
        at(obj, "spec", "volumeMode", default=UNSET),
    ]


def _claim(obj: Object, now: float) -> Cells:
    volume = at(obj, "spec", "volumeName", default="")
    return [
        name_of(obj),
        _phase(obj),
        volume,
        amount(at(obj, "status", "capacity", "storage")) if volume else "",
        _modes(at(obj, "status", "accessModes", default=())) if volume else "",
        _class(obj),
        at(obj, "spec", "volumeAttributesClassName", default=UNSET),
        age_of(obj, now),
        at(obj, "spec", "volumeMode", default=UNSET),
    ]


def _marked_name(obj: Object, annotations: Iterable[str]) -> str:
    default = any(at(obj, "metadata", "annotations", name) == "true" for name in annotations)
    return f"{name_of(obj)} (default)" if default else name_of(obj)


def _storage_class(obj: Object, now: float) -> Cells:
    return [
        _marked_name(obj, STORAGE_DEFAULT),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "Immediate"),
        obj.get("allowVolumeExpansion", False),
        age_of(obj, now),
    ]


def _attributes_class(obj: Object, now: float) -> Cells:
    return [_marked_name(obj, _DEFAULT_ATTRIBUTES), obj.get("driverName", ""), age_of(obj, now)]


def _attachment(obj: Object, now: float) -> Cells:
    return [
        name_of(obj),
        at(obj, "spec", "attacher", default=""),
        at(obj, "spec", "source", "persistentVolumeName", default=""),
        at(obj, "spec", "nodeName", default=""),
        at(obj, "status", "attached", default=False),
        age_of(obj, now),
    ]


def _csi_node(obj: Object, now: float) -> Cells:
    return [name_of(obj), len(at(obj, "spec", "drivers", default=())), age_of(obj, now)]


def _csi_driver(obj: Object, now: float) -> Cells:
    spec = obj.get("spec", {})
    requests = spec.get("tokenRequests")
    return [
        name_of(obj),
        spec.get("attachRequired", True),
        spec.get("podInfoOnMount", False),
        spec.get("storageCapacity", False),
        UNSET if requests is None else ",".join(one.get("audience", "") for one in requests),
        spec.get("requiresRepublish", False),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        age_of(obj, now),
    ]


def _csi_capacity(obj: Object, _: float) -> Cells:
    capacity = obj.get("capacity")
    return [name_of(obj), obj.get("storageClassName", ""), UNSET if capacity is None else amount(capacity)]


PRINTERS: Final[Printers] = {
    ("", "PersistentVolume"): Printer(
        (
            NAME,
            Column("Capacity", "=core.v1.PersistentVolumeSpec.capacity"),
            Column("Access Modes", "=core.v1.PersistentVolumeSpec.accessModes"),
            Column("Reclaim Policy", "=core.v1.PersistentVolumeSpec.persistentVolumeReclaimPolicy"),
            Column("Status", "=core.v1.PersistentVolumeStatus.phase"),
            Column("Claim", "=core.v1.PersistentVolumeSpec.claimRef"),
            Column("StorageClass", "StorageClass of the pv"),
            Column("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
            Column("Reason", "=core.v1.PersistentVolumeStatus.reason"),
            AGE,
            wide("VolumeMode", "=core.v1.PersistentVolumeSpec.volumeMode"),
        ),
        _volume,
    ),
    ("", "PersistentVolumeClaim"): Printer(
        (
            NAME,
            Column("Status", "=core.v1.PersistentVolumeClaimStatus.phase"),
            Column("Volume", "=core.v1.PersistentVolumeClaimSpec.volumeName"),
            Column("Capacity", "=core.v1.PersistentVolumeClaimStatus.capacity"),
            Column("Access Modes", "=core.v1.PersistentVolumeClaimStatus.accessModes"),
            Column("StorageClass", "StorageClass of the pvc"),
            Column("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
            AGE,
            wide("VolumeMode", "=core.v1.PersistentVolumeClaimSpec.volumeMode"),
        ),
        _claim,
    ),
    ("storage.k8s.io", "StorageClass"): Printer(
        (
            NAME,
            Column("Provisioner", "=storage.v1.StorageClass.provisioner"),
            Column("ReclaimPolicy", "=storage.v1.StorageClass.reclaimPolicy"),
            Column("VolumeBindingMode", "=storage.v1.StorageClass.volumeBindingMode"),
            Column("AllowVolumeExpansion", "=storage.v1.StorageClass.allowVolumeExpansion"),
            AGE,
        ),
        _storage_class,
    ),
    ("storage.k8s.io", "VolumeAttributesClass"): Printer(
        (NAME, Column("DriverName", "=storage.v1.VolumeAttributesClass.driverName"), AGE), _attributes_class
    ),
    ("storage.k8s.io", "VolumeAttachment"): Printer(
        (
            NAME,
            Column("Attacher", "=storage.v1.VolumeAttachmentSpec.attacher", format="name"),
            Column("PV", "=storage.v1.VolumeAttachmentSource.persistentVolumeName"),
            Column("Node", "=storage.v1.VolumeAttachmentSpec.nodeName"),
            boolean("Attached", "=storage.v1.VolumeAttachmentStatus.attached"),
            AGE,
        ),
        _attachment,
    ),
    ("storage.k8s.io", "CSINode"): Printer(
        (NAME, integer("Drivers", "Drivers indicates the number of CSI drivers registered on the node"), AGE),
        _csi_node,
    ),
    ("storage.k8s.io", "CSIDriver"): Printer(
        (
            NAME,
            boolean("AttachRequired", "=storage.v1.CSIDriverSpec.attachRequired"),
            boolean("PodInfoOnMount", "=storage.v1.CSIDriverSpec.podInfoOnMount"),
            boolean("StorageCapacity", "=storage.v1.CSIDriverSpec.storageCapacity"),
            Column("TokenRequests", "=storage.v1.CSIDriverSpec.tokenRequests"),
            boolean("RequiresRepublish", "=storage.v1.CSIDriverSpec.requiresRepublish"),
            Column("Modes", "=storage.v1.CSIDriverSpec.volumeLifecycleModes"),
            AGE,
        ),
        _csi_driver,
    ),
    ("storage.k8s.io", "CSIStorageCapacity"): Printer(
        (
            NAME,
            Column("StorageClassName", "=storage.v1.CSIStorageCapacity.storageClassName"),
            Column("Capacity", "=storage.v1.CSIStorageCapacity.capacity"),
        ),
        _csi_capacity,
    ),
}
