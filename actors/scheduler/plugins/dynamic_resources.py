"""Keeps a pod to nodes where its claims have, or can get, the devices that they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oarlock.actors.scheduler.devices.allocator import Given, Unfit, allocate
from oarlock.actors.scheduler.devices.claimed import Claim
from oarlock.actors.scheduler.devices.extended import Wanted, by_devices, wanted
from oarlock.actors.scheduler.devices.matching import Unanswerable
from oarlock.actors.scheduler.devices.releasing import NOTHING, Release, is_unavailable, released
from oarlock.actors.scheduler.devices.state import Devices
from oarlock.actors.scheduler.devices.wanting import Waits, claims_of, unallocated
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import (
    Check,
    Failure,
    FilterDefaults,
    Grades,
    Impossible,
    PluginFailed,
    scaled,
)
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

NAME = "DynamicResources"
_ALTERNATIVES_MAX = 8
_UNAVAILABLE = Failure(("resourceclaim not available on the node",), final=True)
_STALE = Failure(("cannot schedule extended resource claim",), final=True)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A pod's claims: all of them, those without devices, and what its extended resources come to.

    `stale` is a claim for extended resources from an attempt that came to nothing.
    """

    claims: tuple[Claim, ...]
    lacking: tuple[Claim, ...]
    resources: tuple[str, ...]
    stale: Claim | None

    def for_node(self, pod: PodFacts, node: NodeState, devices: Devices) -> tuple[list[Claim], Wanted | None]:
        """Return the claims that need devices on the node, one for extended resources that it lacks included."""
        missing = [name for name in self.resources if not node.allocatable.get(name)]
        more = wanted(pod.key, pod.uid, pod.needs, missing, devices)
        return [*self.lacking, *([more.claim] if more else [])], more


def claimed(pod: PodFacts, devices: Devices) -> Claimed | None:
    """Return what the pod claims; None if that is nothing. Raises Waits."""
    resources = by_devices(pod.needs, devices) if pod.needs else []
    if not pod.device_claims and not resources:
        return None
    claims = claims_of(pod.key, pod.uid, pod.device_claims, devices)
    stale = next((one for one in devices.owned_by(pod.uid) if one.extended), None) if resources else None
    if not claims and not resources:
        return None
    return Claimed(tuple(claims), tuple(unallocated(claims, pod.uid, devices)), tuple(resources), stale)


def gate(pod: PodFacts, snapshot: Snapshot) -> str | None:
    """Return why the pod isn't tried yet: a claim that isn't there, isn't its own or is going."""
    try:
        claims_of(pod.key, pod.uid, pod.device_claims, snapshot.devices)
    except Waits as waits:
        return str(waits)
    return None


class DynamicResources(FilterDefaults):
    """Devices of a node don't depend on its pods, so it is `local`; nobody's leaving makes a device free."""

    name = NAME
    events = frozenset(
        (
            "NodeAdded",
            "NodeLabelChanged",
            "NodeAllocatableChanged",
            "ResourceClaimChanged",
            "ResourceClaimDeallocated",
            "DeviceClassChanged",
            "ResourceSliceChanged",
        )
    )

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:
        devices = snapshot.devices
        try:
            found = claimed(pod, devices)
        except Waits as waits:
            raise Impossible(str(waits)) from None
        if found is None:
            return None

        def check(node: NodeState) -> Failure | None:
            if found.stale is not None:
                return _STALE
            try:
                _given(found, pod, node, devices)
            except Unfit as unfit:
                return Failure((str(unfit),), final=True)
            return _UNAVAILABLE if _lacks(found, node, devices) else None

        return check

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:
        """Prefer nodes where claims get the alternatives that they like best."""
        if not pod.device_claims:
            return None
        try:
            found = claimed(pod, snapshot.devices)
        except Waits:
            return None
        if found is None or not any(request.chooses for claim in found.lacking for request in claim.requests):
            return None
        return scaled({node.name: _points(_given(found, pod, node, snapshot.devices)) for node in nodes})


def _given(found: Claimed, pod: PodFacts, node: NodeState, devices: Devices) -> list[tuple[Claim, list[Given]]]:
    """Return what each claim gets. Raises Unfit and PluginFailed."""
    claims, _ = found.for_node(pod, node, devices)
    if not claims:
        return []
    try:
        return list(zip(claims, allocate(devices, claims, node.name, node.labels), strict=True))
    except Unanswerable as error:
        raise PluginFailed(f'running "{NAME}" filter plugin: {error}') from None


def _lacks(found: Claimed, node: NodeState, devices: Devices) -> bool:
    return any(is_unavailable(claim, node.name, node.labels, devices) for claim in found.claims)


def _points(given: list[tuple[Claim, list[Given]]]) -> int:
    """The first alternative is worth most. Source: upstream's computeScore."""
    points = 0
    for claim, some in given:
        got = {one.ask.name for one in some}
        for request in claim.requests:
            if request.chooses:
                points += sum(_ALTERNATIVES_MAX - index for index, ask in enumerate(request.asks) if ask.name in got)
    return points


def outlook(pod: PodFacts, snapshot: Snapshot, failures: dict[str, Failure]) -> tuple[str, Release | None]:
    """Return what is said after a refusal, and the claim that has to give back what it has."""
    try:
        found = claimed(pod, snapshot.devices)
    except Waits:
        found = None
    if found is None:
        return NOTHING, None
    nodes = [snapshot.nodes[name] for name, failure in failures.items() if failure == _UNAVAILABLE]
    places = [(node.name, node.labels) for node in nodes]
    return released(pod.uid, found.claims, found.stale, places, snapshot.devices)
