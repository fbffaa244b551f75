"""A pod's claims: which they are, and why the pod can't have them yet, in upstream's words.

Source: dynamic-resource-allocation `resourceclaim`; kube-scheduler's DynamicResources, PreEnqueue and PreFilter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oarlock.actors.scheduler.devices.claimed import Claim
from oarlock.actors.scheduler.devices.state import Devices

Object = Mapping[str, Any]


class Waits(Exception):
    """The pod can run nowhere before something has changed; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class PodClaim:
    """One entry of `spec.resourceClaims`. `claim` is the claim's name, None while it isn't made, "" if none is needed.

    `template` says that it is made for this pod alone.
    """

    name: str
    claim: str | None
    template: bool


def pod_claims(spec: Object, status: Object) -> tuple[PodClaim, ...]:
    """Read the claims of a Pod object."""
    made = {one["name"]: one.get("resourceClaimName") or "" for one in status.get("resourceClaimStatuses") or ()}
    return tuple(
        PodClaim(
            one["name"],
            one.get("resourceClaimName") or made.get(one["name"]),
            bool(one.get("resourceClaimTemplateName")),
        )
        for one in spec.get("resourceClaims") or ()
    )


def claims_of(key: str, uid: str, wanted: Sequence[PodClaim], devices: Devices) -> list[Claim]:
    """Return the claims of the pod `key`. Raises Waits."""
    return [one for named in wanted if (one := _claim(key, uid, named, devices)) is not None]


def _claim(key: str, uid: str, named: PodClaim, devices: Devices) -> Claim | None:
    namespace = key.partition("/")[0]
    if named.claim is None:
        if not named.template:
            raise Waits(f'pod "{key}", spec.resourceClaim "{named.name}": none of the supported fields are set')
        raise Waits(f'pod "{key}": ResourceClaim not created yet')
    if not named.claim:
        return None
    claim = devices.claim(f"{namespace}/{named.claim}")
    if claim is None:
        raise Waits(f'could not find ResourceClaim "{namespace}/{named.claim}"')
    if claim.terminating:
        raise Waits(f'resourceclaim "{named.claim}" is being deleted')
    if named.template and claim.owner_uid != uid:
        raise Waits(f"ResourceClaim {claim.key} was not created for pod {key} (pod is not owner)")
    return claim


def unallocated(claims: Sequence[Claim], uid: str, devices: Devices) -> list[Claim]:
    """Return the claims that still need devices. Raises Waits if the pod can't use what others have, or will have."""
    for claim in claims:
        if devices.in_flight(claim.key):
            raise Waits(f"resource claim {claim.key} is in the process of being allocated")
        if claim.allocation is not None and not claim.open_to(uid):
            raise Waits("resourceclaim in use")
        if claim.allocation is None:
            _check_classes(claim, devices)
    return [claim for claim in claims if claim.allocation is None]


def _check_classes(claim: Claim, devices: Devices) -> None:
    for request in claim.requests:
        if not request.asks:
            raise Waits(f"resource claim {claim.key}, request {request.name}: unknown request type")
        for ask in request.asks:
            if ask.class_name not in devices.classes:
                raise Waits(f"request {ask.name}: device class {ask.class_name} does not exist")
