"""What drivers publish: slices of devices, where each can be used, and the counters that devices share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from oarlock.actors.scheduler.selection import NodeTerm, node_term
from oarlock.cluster.objects import quantity

Object = Mapping[str, Any]


class DeviceId(NamedTuple):
    driver: str
    pool: str
    name: str

    def __str__(self) -> str:
        return "/".join(self)


class PoolId(NamedTuple):
    driver: str
    name: str

    def __str__(self) -> str:
        return "/".join(self)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something can be used: on one node, everywhere, or where a selector says. Without any of them nowhere."""

    node: str
    everywhere: bool
    selector: Object | None
    terms: tuple[NodeTerm, ...]

    def reaches(self, node: str, labels: Mapping[str, str]) -> bool:
        if self.node:
            return self.node == node
        return self.everywhere or any(term.matches(node, labels) for term in self.terms)


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    """One device, itself its identity. `consumes` lists (counter set, counter, nano-units); `given` is as published."""

    id: DeviceId
    given: Object
    place: Place
    consumes: tuple[tuple[str, str, int], ...]
    shared: bool
    """Whether several claims may have it at once."""

    @property
    def binds(self) -> bool:
        """Whether the driver has to make it ready before the pod is bound."""
        return bool(self.given.get("bindingConditions"))


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One ResourceSlice: part of a pool in one generation, `count` slices in all. `counters` by set and name."""

    name: str
    pool: PoolId
    generation: int
    count: int
    place: Place | None
    """None: each device has its own."""
    devices: tuple[Device, ...]
    counters: tuple[tuple[str, Mapping[str, int]], ...]

    def on(self, node: str, labels: Mapping[str, str]) -> tuple[Device, ...]:
        """Return the devices that can be used on the node."""
        if self.place is not None:
            return self.devices if self.place.reaches(node, labels) else ()
        return tuple(one for one in self.devices if one.place.reaches(node, labels))


def slice_of(obj: Object) -> Slice:
    """Read a ResourceSlice object."""
    spec = obj["spec"]
    pool = PoolId(spec["driver"], spec["pool"]["name"])
    place = None if spec.get("perDeviceNodeSelection") else _place(spec)
    return Slice(
        obj["metadata"]["name"],
        pool,
        spec["pool"].get("generation") or 0,
        spec["pool"].get("resourceSliceCount") or 0,
        place,
        tuple(_device(pool, one, place) for one in spec.get("devices") or ()),
        tuple((one["name"], _amounts(one.get("counters") or {})) for one in spec.get("sharedCounters") or ()),
    )


def _place(given: Object) -> Place:
    selector = given.get("nodeSelector")
    terms = tuple(map(node_term, (selector or {}).get("nodeSelectorTerms") or ()))
    return Place(given.get("nodeName") or "", bool(given.get("allNodes")), selector, terms)


def _device(pool: PoolId, given: Object, place: Place | None) -> Device:
    consumes = tuple(
        (one["counterSet"], name, amount)
        for one in given.get("consumesCounters") or ()
        for name, amount in _amounts(one.get("counters") or {}).items()
    )
    return Device(
        DeviceId(*pool, given["name"]),
        given,
        place if place is not None else _place(given),
        consumes,
        bool(given.get("allowMultipleAllocations")),
    )


def _amounts(counters: Object) -> dict[str, int]:
    return {name: quantity.parse(one["value"]).nano for name, one in counters.items()}
