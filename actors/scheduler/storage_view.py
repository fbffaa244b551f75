"""Follows the API server's storage kinds: keeps `Storage` as the cluster is and tells the queue what may help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oarlock.actors.scheduler.storage import (
    Storage,
    capacity_facts,
    claim_facts,
    class_facts,
    driver_limits,
    volume_facts,
)
from oarlock.cluster.client.cache import Change, Object, key_of
from oarlock.cluster.client.informers import Informers

Note = Callable[[str], None]
Put = Callable[[str, "Object | None"], None]


class StorageView:
    """Feeds one `Storage`."""

    def __init__(self, storage: Storage, note: Note) -> None:
        self._storage, self._note = storage, note

    def follow(self, informers: Informers) -> None:
        """Take every change from now on, beginning with what the caches hold."""
        for (group, plural), (event, put) in self._kinds().items():
            informers.cache(group, "v1", plural).add_handler(self._handler(event, put))

    def put(self, kind: tuple[str, str], key: str, obj: Object | None) -> None:
        """Take one object of a storage kind as it is now; None if it is gone."""
        self._kinds()[kind][1](key, obj)

    def _kinds(self) -> dict[tuple[str, str], tuple[str, Put]]:
        storage = self._storage
        return {
            ("", "persistentvolumeclaims"): (
                "PersistentVolumeClaimChanged",
                lambda key, obj: storage.put_claim(key, claim_facts(obj) if obj else None),
            ),
            ("", "persistentvolumes"): (
                "PersistentVolumeChanged",
                lambda key, obj: storage.put_volume(key, volume_facts(obj) if obj else None),
            ),
            ("storage.k8s.io", "storageclasses"): ("StorageClassChanged", _into(storage.classes, class_facts)),
            ("storage.k8s.io", "csistoragecapacities"): (
                "CSIStorageCapacityChanged",
                _into(storage.capacities, capacity_facts),
            ),
            ("storage.k8s.io", "csinodes"): ("CSINodeChanged", _into(storage.limits, driver_limits)),
            ("storage.k8s.io", "csidrivers"): ("CSIDriverChanged", self._put_driver),
            ("storage.k8s.io", "volumeattachments"): ("VolumeAttachmentDeleted", self._put_attachment),
        }

    def _handler(self, event: str, put: Put) -> Callable[[Change, Object | None, Object | None], None]:
        def handle(change: Change, old: Object | None, new: Object | None) -> None:  # noqa: ARG001
            put(key_of(new or old or {}), new)
            self._note(event)

        return handle

    def _put_driver(self, name: str, obj: Object | None) -> None:
        self._storage.counting_drivers.discard(name)
        if obj is not None and (obj.get("spec") or {}).get("storageCapacity"):
            self._storage.counting_drivers.add(name)

    def _put_attachment(self, name: str, obj: Object | None) -> None:
        spec = (obj or {}).get("spec") or {}
        volume = (spec.get("source") or {}).get("persistentVolumeName") or ""
        self._storage.put_attachment(name, spec.get("nodeName") or "", volume)


def _into(known: dict[str, Any], read: Callable[[Object], object]) -> Put:
    def put(key: str, obj: Object | None) -> None:
        if obj is None:
            known.pop(key, None)
        else:
            known[key] = read(obj)

    return put
