"""Pods that the NoExecute taints of their devices drive away, each when its claim's toleration ends.

Source: KEP-5055; upstream's devicetainteviction controller. Taints come from ResourceSlices; DeviceTaintRules are of an
API that isn't served by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from oarlock.actors.controllers.actions import Action, Delete, RecordEvent, Requeue
from oarlock.actors.controllers.evictions import target_of_disruption
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.ownership import is_controlled_by
from oarlock.actors.controllers.taints import tolerates
from oarlock.actors.controllers.view import View, parse_time
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

_EFFECT = "NoExecute"
_REASON, _WHY = "DeletionByDeviceTaintManager", "Device Taint manager: deleting due to NoExecute taint"


def reconcile(key: str, view: View) -> list[Action]:
    """Return a pod's eviction if a device of its own has driven it away, or when that will be."""
    pod = view.get("pods", key)
    if pod is None or not pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
        return []
    ends = [at for claim in _claims(view, pod) for at in _ends(view, claim)]
    if not ends:
        return []
    left_s = (min(ends) - view.now).total_seconds()
    if left_s > 0:
        return [Requeue(left_s)]
    told = RecordEvent(pod, "DeviceTaintManagerEviction", "Marking for deletion")
    return [told, target_of_disruption(view, pod, _REASON, _WHY), Delete(pod)]


def _claims(view: View, pod: Object) -> Iterator[Object]:
    """Yield the claims that are allocated and reserved for this very pod."""
    namespace, uid = pod["metadata"]["namespace"], pod["metadata"]["uid"]
    made = {
        one["name"]: one.get("resourceClaimName")
        for one in (pod.get("status") or {}).get("resourceClaimStatuses") or ()
    }
    for one in pod["spec"].get("resourceClaims") or ():
        name = one.get("resourceClaimName") or made.get(one["name"])
        claim = view.get("resourceclaims", f"{namespace}/{name}") if name else None
        if claim is None or not (one.get("resourceClaimName") or is_controlled_by(claim, pod)):
            continue
        if any(user.get("uid") == uid for user in (claim.get("status") or {}).get("reservedFor") or ()):
            yield claim


def _ends(view: View, claim: Object) -> Iterator[datetime]:
    """Yield when each taint of the claim's devices drives its pods away; one that is tolerated for ever never does."""
    for result in _results(claim):
        tolerations = [one for one in result.get("tolerations") or () if one.get("effect") == _EFFECT]
        for taint in _taints(view, result):
            limits = [one.get("tolerationSeconds") for one in tolerations if tolerates(one, taint)]
            if None in limits:
                continue
            since = parse_time(taint["timeAdded"]) if taint.get("timeAdded") else view.now
            yield since + timedelta(seconds=max(0, min(limits, default=0)))


def _results(claim: Mapping[str, Any]) -> list[Object]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    found: list[Object] = (allocation.get("devices") or {}).get("results") or []
    return found


def _taints(view: View, result: Mapping[str, Any]) -> list[Object]:
    """Return the driving taints of an allocated device, as the newest generation of its pool tells them."""
    slices = list(view.slices_of(result["driver"], result["pool"]))
    newest = max((_generation(one) for one in slices), default=0)
    return [
        taint
        for one in slices
        if _generation(one) == newest
        for device, taints in _driving(one).items()
        if device == result["device"]
        for taint in taints
    ]


def _generation(resource_slice: Mapping[str, Any]) -> int:
    return int(resource_slice["spec"]["pool"].get("generation") or 0)


def _driving(resource_slice: Mapping[str, Any] | None) -> dict[str, list[Object]]:
    """Return the driving taints of a slice's devices, by device."""
    found = {
        device["name"]: [one for one in device.get("taints") or () if one["effect"] == _EFFECT]
        for device in ((resource_slice or {}).get("spec") or {}).get("devices") or ()
    }
    return {name: taints for name, taints in found.items() if taints}


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    if plural == "pods":
        mine = bool(present["spec"].get("resourceClaims")) and (old is None or new is None or _use(old) != _use(new))
        return [Due(key_of(present))] if mine else []
    if plural == "resourceclaims":
        return [due for claim in (old, new) if claim is not None and _results(claim) for due in _users(claim)]
    if _driving(old) == _driving(new):
        return []
    pool = (present["spec"]["driver"], present["spec"]["pool"]["name"])
    claims = view.list("resourceclaims")
    affected = [one for one in claims if any((each["driver"], each["pool"]) == pool for each in _results(one))]
    return [due for claim in affected for due in _users(claim)]


def _use(pod: Object) -> tuple[object, ...]:
    return pod["spec"].get("nodeName"), (pod.get("status") or {}).get("resourceClaimStatuses")


def _users(claim: Object) -> Iterator[Due]:
    for one in claim["status"].get("reservedFor") or ():
        if one.get("resource") == "pods" and not one.get("apiGroup"):
            yield Due(f"{claim['metadata']['namespace']}/{one['name']}")


DEVICE_TAINTS = Controller(
    name="device-taint-eviction",
    source="device-taint-eviction-controller",
    reads=("pods", "resourceclaims", "resourceslices"),
    keys=_keys,
    reconcile=reconcile,
    workers=4,
)
