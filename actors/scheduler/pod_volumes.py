"""What a pod's volumes ask of scheduling: claims, and disks that it names itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Disk:
    """A volume in the pod itself that two pods can't always use at once; two are the same if any name is."""

    kind: str
    names: frozenset[str]
    read_only: bool
    shareable: bool


def claims(pod_name: str, volumes: Iterable[Object]) -> Iterable[tuple[str, bool]]:
    for volume in volumes:
        if (claim := volume.get("persistentVolumeClaim")) is not None:
            yield claim.get("claimName") or "", False
        elif volume.get("ephemeral") is not None:
            yield f"{pod_name}-{volume['name']}", True


def disk_of(volume: Object) -> Disk | None:
    """Source: upstream's volumerestrictions, isVolumeConflict."""
    if disk := volume.get("gcePersistentDisk"):
        return Disk("gce", frozenset((disk["pdName"],)), bool(disk.get("readOnly")), shareable=True)
    if disk := volume.get("awsElasticBlockStore"):
        return Disk("aws", frozenset((disk["volumeID"],)), bool(disk.get("readOnly")), shareable=False)
    if disk := volume.get("iscsi"):
        return Disk("iscsi", frozenset((disk["iqn"],)), bool(disk.get("readOnly")), shareable=True)
    if disk := volume.get("rbd"):
        image = f"{disk.get('pool') or 'rbd'}/{disk['image']}"
        names = frozenset(f"{monitor}/{image}" for monitor in disk.get("monitors") or ())
        return Disk("rbd", names, bool(disk.get("readOnly")), shareable=True)
    return None
