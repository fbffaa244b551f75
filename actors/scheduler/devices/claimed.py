"""What claims and classes of devices ask for, and what a claim has got."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from oarlock.actors.scheduler.devices.published import DeviceId
from oarlock.actors.scheduler.selection import NodeTerm, node_term
from oarlock.cluster.objects.quantity import Quantity, parse

Object = Mapping[str, Any]
FINALIZER = "resource.kubernetes.io/delete-protection"
CONSUMERS_MAX = 256
EXTENDED = "resource.kubernetes.io/extended-resource-claim"
"""Annotation of the claim that stands for a pod's extended resources."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, or one of its alternatives. `name` is what results are called: `request` or `request/alternative`."""

    name: str
    request: str
    class_name: str
    expressions: tuple[str, ...]
    every: bool
    """All devices that match, instead of `count`."""
    count: int
    admin: bool
    tolerations: tuple[Object, ...]
    capacity: tuple[tuple[str, Quantity], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """`asks` are alternatives, the best first; only one unless `chooses`."""

    name: str
    asks: tuple[Ask, ...]
    chooses: bool


@dataclass(frozen=True, slots=True)
class Constraint:
    """Devices of these requests (of all, if none are named) must have the same value of an attribute, or all others."""

    requests: frozenset[str]
    attribute: str
    distinct: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """One ResourceClaim. `reserved` are uids of those who use it; `version` is its resourceVersion."""

    key: str
    uid: str
    requests: tuple[Request, ...]
    version: int = 0
    terminating: bool = False
    owner_uid: str = ""
    extended: bool = False
    """Whether it stands for its owner's extended resources."""
    constraints: tuple[Constraint, ...] = ()
    config: tuple[Object, ...] = ()
    allocation: Object | None = None
    reserved: frozenset[str] = frozenset()
    failures: tuple[str, ...] = ()
    """What keeps allocated devices from becoming ready."""
    ready: bool = True
    """Whether every allocated device that must be made ready is."""

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]

    @property
    def name(self) -> str:
        return self.key.partition("/")[2]

    @property
    def results(self) -> tuple[Object, ...]:
        return tuple(((self.allocation or {}).get("devices") or {}).get("results") or ())

    @property
    def places(self) -> tuple[NodeTerm, ...] | None:
        """Where what it has can be used; None: everywhere."""
        selector = (self.allocation or {}).get("nodeSelector")
        return None if selector is None else tuple(map(node_term, selector.get("nodeSelectorTerms") or ()))

    def reaches(self, node: str, labels: Mapping[str, str]) -> bool:
        places = self.places
        return places is None or any(term.matches(node, labels) for term in places)

    def open_to(self, uid: str) -> bool:
        """Whether that consumer uses it, or may."""
        return uid in self.reserved or len(self.reserved) < CONSUMERS_MAX


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """One DeviceClass; `extended` is the resource name that means it, beside the one made of its own name."""

    name: str
    expressions: tuple[str, ...]
    config: tuple[Object, ...]
    extended: str
    created: str


def claim_of(obj: Object) -> Claim:
    """Read a ResourceClaim object."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    devices = (obj.get("spec") or {}).get("devices") or {}
    owner: Object = next((one for one in metadata.get("ownerReferences") or () if one.get("controller")), {})
    allocation = status.get("allocation")
    failures, ready = _readiness(allocation or {}, status.get("devices") or (), metadata["name"])
    return Claim(
        f"{metadata.get('namespace') or 'default'}/{metadata['name']}",
        metadata.get("uid") or "",
        tuple(map(request_of, devices.get("requests") or ())),
        version=int(metadata.get("resourceVersion") or 0),
        terminating=bool(metadata.get("deletionTimestamp")),
        owner_uid=owner.get("uid") or "",
        extended=(metadata.get("annotations") or {}).get(EXTENDED) == "true",
        constraints=tuple(map(_constraint, devices.get("constraints") or ())),
        config=tuple(devices.get("config") or ()),
        allocation=allocation,
        reserved=frozenset(one["uid"] for one in status.get("reservedFor") or ()),
        failures=failures,
        ready=ready,
    )


def request_of(given: Object) -> Request:
    """Read one request of a claim."""
    name, exactly = given["name"], given.get("exactly")
    if exactly is not None:
        return Request(name, (_ask(name, name, exactly),), chooses=False)
    asks = tuple(_ask(f"{name}/{one['name']}", name, one) for one in given.get("firstAvailable") or ())
    return Request(name, asks, chooses=True)


def _ask(name: str, request: str, given: Object) -> Ask:
    capacity = ((given.get("capacity") or {}).get("requests") or {}).items()
    return Ask(
        name,
        request,
        given.get("deviceClassName") or "",
        expressions(given),
        given.get("allocationMode") == "All",
        given.get("count") or 1,
        bool(given.get("adminAccess")),
        tuple(given.get("tolerations") or ()),
        tuple((key, parse(value)) for key, value in capacity),
    )


def expressions(given: Object) -> tuple[str, ...]:
    return tuple((one.get("cel") or {}).get("expression") or "" for one in given.get("selectors") or ())


def _constraint(given: Object) -> Constraint:
    distinct = given.get("distinctAttribute")
    return Constraint(
        frozenset(given.get("requests") or ()), distinct or given.get("matchAttribute") or "", distinct is not None
    )


def class_of(obj: Object) -> DeviceClass:
    """Read a DeviceClass object."""
    spec = obj.get("spec") or {}
    return DeviceClass(
        obj["metadata"]["name"],
        expressions(spec),
        tuple(spec.get("config") or ()),
        spec.get("extendedResourceName") or "",
        obj["metadata"].get("creationTimestamp") or "",
    )


def result_id(result: Object) -> DeviceId:
    return DeviceId(result["driver"], result["pool"], result["device"])


def _readiness(allocation: Object, told: tuple[Object, ...], name: str) -> tuple[tuple[str, ...], bool]:
    """Return what failed, and whether all is ready. Source: upstream's isClaimReadyForBinding."""
    states = {result_id(one): one.get("conditions") or () for one in told}
    failures: list[str] = []
    ready = True
    for result in (allocation.get("devices") or {}).get("results") or ():
        wanted = result.get("bindingConditions") or ()
        if not wanted:
            continue
        true = {one["type"]: one for one in states.get(result_id(result), ()) if one.get("status") == "True"}
        failures.extend(_failed(true, result.get("bindingFailureConditions") or (), name))
        ready = ready and all(one in true for one in wanted)
    return tuple(failures), ready


def _failed(true: Mapping[str, Object], failing: tuple[str, ...], name: str) -> Iterator[str]:
    for kind in failing:
        if (one := true.get(kind)) is not None:
            reason, message = one.get("reason") or "", one.get("message") or ""
            yield f'claim {name} binding failed: reason={reason}, message="{message}"'
