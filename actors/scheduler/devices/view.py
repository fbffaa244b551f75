"""Follows the API server's kinds of devices: keeps `Devices` as the cluster is and tells the queue what may help."""

from __future__ import annotations

from collections.abc import Callable

from oarlock.actors.scheduler.devices.claimed import Claim, claim_of, class_of
from oarlock.actors.scheduler.devices.published import slice_of
from oarlock.actors.scheduler.devices.state import Devices
from oarlock.cluster.client.cache import Change, Object, key_of
from oarlock.cluster.client.informers import Informers

GROUP = "resource.k8s.io"
KINDS = ("resourceslices", "deviceclasses", "resourceclaims")
Note = Callable[[str], None]
About = Callable[[str, str], None]
"""Tells of an event that helps only pods that use the claim of that key."""


class DevicesView:
    """Feeds one `Devices`."""

    def __init__(self, devices: Devices, note: Note, about: About) -> None:
        self._devices, self._note, self._about = devices, note, about
        devices.on_forgotten = self._on_forgotten

    def follow(self, informers: Informers) -> None:
        """Take every change from now on, beginning with what the caches hold."""
        informers.cache(GROUP, "v1", "resourceslices").add_handler(self._on_slice)
        informers.cache(GROUP, "v1", "deviceclasses").add_handler(self._on_class)
        informers.cache(GROUP, "v1", "resourceclaims").add_handler(self._on_claim)

    def put(self, kind: str, key: str, obj: Object | None) -> None:
        """Take one object of one of KINDS as it is now; None if it is gone."""
        match kind:
            case "resourceslices":
                self._devices.put_slice(key, None if obj is None else slice_of(obj))
            case "deviceclasses":
                self._devices.put_class(key, None if obj is None else class_of(obj))
            case _:
                self._devices.put_claim(key, None if obj is None else claim_of(obj))

    def _on_forgotten(self, key: str, written: bool) -> None:
        """Pods that use the claim waited for it to be written; if it isn't, others may have its devices."""
        if written:
            self._about("ResourceClaimChanged", key)
        else:
            self._note("ResourceClaimDeallocated")

    def _on_slice(self, change: Change, old: Object | None, new: Object | None) -> None:  # noqa: ARG002
        self.put("resourceslices", key_of(new or old or {}), new)
        if new is not None:
            self._note("ResourceSliceChanged")

    def _on_class(self, change: Change, old: Object | None, new: Object | None) -> None:  # noqa: ARG002
        self.put("deviceclasses", key_of(new or old or {}), new)
        if new is not None:
            self._note("DeviceClassChanged")

    def _on_claim(self, change: Change, old: Object | None, new: Object | None) -> None:  # noqa: ARG002
        key = key_of(new or old or {})
        before = self._devices.claims.get(key)
        self.put("resourceclaims", key, new)
        after = self._devices.claims.get(key)
        if before is not None and before.allocation is not None and (after is None or after.allocation is None):
            self._note("ResourceClaimDeallocated")
        elif after is not None and _differs(before, after):
            self._about("ResourceClaimChanged", key)


def _differs(before: Claim | None, after: Claim) -> bool:
    """Whether a pod that uses the claim may see a difference. Source: upstream's isSchedulableAfterClaimChange."""
    if before is None or before.uid != after.uid or before.terminating != after.terminating:
        return True
    return (before.allocation, before.reserved, before.failures, before.ready) != (
        after.allocation,
        after.reserved,
        after.failures,
        after.ready,
    )
