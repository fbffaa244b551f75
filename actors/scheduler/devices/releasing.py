"""Idle claims that stand in a pod's way, so that what they have is given back. Source: DynamicResources, PostFilter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from oarlock.actors.scheduler.devices.claimed import Claim
from oarlock.actors.scheduler.devices.state import Devices

NOTHING = "no new claims to deallocate"
_STILL = "still not schedulable"
_DEALLOCATED = "deallocation of ResourceClaim completed"
_DELETED = "deletion of ResourceClaim completed"


@dataclass(frozen=True, slots=True)
class Release:
    """A claim that is to give back what it has, or to go altogether."""

    key: str
    uid: str
    delete: bool = False


def is_unavailable(claim: Claim, node: str, labels: Mapping[str, str], devices: Devices) -> bool:
    """Whether the devices that the claim has can't be used on the node, or don't become ready."""
    if claim.allocation is None:
        return False
    if not claim.reaches(node, labels) or claim.failures:
        return True
    return not claim.ready and claim.uid in devices.late


def released(
    uid: str,
    claims: Sequence[Claim],
    extended: Claim | None,
    nodes: Iterable[tuple[str, Mapping[str, str]]],
    devices: Devices,
) -> tuple[str, Release | None]:
    """Return what is said, and what is given back so that the pod of that uid fits.

    `nodes` are those, with their labels, that could serve the pod if it weren't for its own claims.
    """
    refusing = list(nodes)
    for claim in claims:
        is_idle = not claim.reserved or claim.reserved == {uid}
        if is_idle and any(is_unavailable(claim, name, labels, devices) for name, labels in refusing):
            return _DEALLOCATED, Release(claim.key, claim.uid)
    if extended is not None:
        return _DELETED, Release(extended.key, extended.uid, delete=True)
    return _STILL, None
