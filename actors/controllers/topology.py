"""Endpoints shared out among zones in proportion to the CPU of their nodes, where a Service's annotation asks for it.

Every client of a zone then uses the endpoints that are meant for it; no endpoint gets more than a fifth above its part
of the load, else there are no hints at all.
Source: kubernetes.io "Topology Aware Routing"; KEP-2433; upstream's k8s.io/endpointslice/topologycache.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oarlock.actors.controllers import conditions
from oarlock.actors.controllers.backends import ZONE
from oarlock.cluster.objects import quantity

Object = dict[str, Any]
Ratios = Mapping[str, float]

_OVERLOAD_MAX = 0.2
_ANNOTATIONS = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


class Unfit(Exception):
    """Endpoints can't be shared out; the text is upstream's."""


@dataclass(frozen=True)
class Share:
    """How many endpoints a zone gets: at least, at most, and by its part of the CPU."""

    least: int
    most: int
    wanted: float


def is_asked(service: Mapping[str, Any]) -> bool:
    """Whether the Service's annotation, the older one first, asks for hints by CPU."""
    held = service["metadata"].get("annotations") or {}
    return next((held[name] for name in _ANNOTATIONS if name in held), "") in ("Auto", "auto")


def weight(node: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return a node's zone and its CPU in thousandths, either empty if unknown; None for a node that doesn't count."""
    labels, status = node["metadata"].get("labels") or {}, node.get("status") or {}
    if any(name in labels for name in _CONTROL_PLANE) or not conditions.is_true(status.get("conditions"), "Ready"):
        return None
    return labels.get(ZONE, ""), quantity.milli((status.get("allocatable") or {}).get("cpu") or "0")


def ratios(nodes: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return each zone's part of the CPU; nothing if a node's is unknown, or if there aren't two zones."""
    found: Counter[str] = Counter()
    for one in map(weight, nodes):
        if one is None:
            continue
        zone, cpu = one
        if not zone or not cpu:
            return {}
        found[zone] += cpu
    return {zone: cpu / found.total() for zone, cpu in found.items()} if len(found) > 1 else {}


def is_overloaded(given: Mapping[str, int], parts: Ratios) -> bool:
    """Whether a zone has come to have too few of the endpoints `given` to the zones."""
    if not given:
        return False
    total = sum(given.values())
    return not parts or any(given.get(zone, 0) < _least(total * part) for zone, part in parts.items())


def shared_out(
    standing: Sequence[Sequence[Object]], changing: Sequence[Sequence[Object]], parts: Ratios
) -> tuple[list[list[Object] | None], list[list[Object]], dict[str, int]]:
    """Return the endpoints of slices with their hints, and how many each zone got.

    `standing` are slices that needn't change; those among them whose hints will do come back as None. Raises Unfit.
    """
    shares = _shares(parts, sum(_is_ready(one) for endpoints in [*standing, *changing] for one in endpoints))
    given: Counter[str] = Counter()
    kept: list[bool] = []
    for endpoints in standing:
        zones = _zones(endpoints, given, shares)
        kept.append(zones is not None)
        given.update(zones or {})
    free = [*changing, *(one for one, stays in zip(standing, kept, strict=True) if not stays)]
    for one in (one for endpoints in free for one in endpoints if _is_ready(one)):
        if not one.get("zone"):
            raise Unfit("One or more endpoints do not have a zone specified")
        given[one["zone"]] += 1
    giving, receiving = _moves(shares, given)
    hinted = [[_hinted(one, giving, receiving, given) for one in endpoints] for endpoints in free]
    if not given:
        raise Unfit("No hints allocated for zones")
    late = iter(hinted[len(changing) :])
    return [None if stays else next(late) for stays in kept], hinted[: len(changing)], dict(given)


def _shares(parts: Ratios, count: int) -> dict[str, Share]:
    if not parts:
        what = "allocatable CPU or zone not specified on one or more nodes"
        raise Unfit(f"Insufficient Node information: {what}")
    numbers = f"({count} endpoints, {len(parts)} zones)"
    if len(parts) > count:
        raise Unfit(f"Insufficient number of endpoints {numbers}")
    least = {zone: _least(part * count) for zone, part in parts.items()}
    spare = count - sum(least.values())
    if spare < 0:
        what = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
        raise Unfit(f"{what} {numbers}")
    return {zone: Share(one, one + spare, max(parts[zone] * count, one)) for zone, one in least.items()}


def _least(wanted: float) -> int:
    return math.ceil(wanted * (1 / (1 + _OVERLOAD_MAX)))


def _zones(endpoints: Sequence[Object], given: Mapping[str, int], shares: Mapping[str, Share]) -> Counter[str] | None:
    """Return how often the hints of a slice name each zone, None if they won't do."""
    found: Counter[str] = Counter()
    for one in filter(_is_ready, endpoints):
        zones = [zone["name"] for zone in (one.get("hints") or {}).get("forZones") or ()]
        if not zones or any(zone not in shares for zone in zones):
            return None
        found.update(zones)
    fits = all(given.get(zone, 0) + number <= shares[zone].most for zone, number in found.items())
    return found if fits else None


def _moves(shares: Mapping[str, Share], given: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """Return how many endpoints each zone gives away, and how many each receives, to come near what is wanted."""
    beyond = {zone: given.get(zone, 0) - share.wanted for zone, share in sorted(shares.items())}
    surplus = {zone: one for zone, one in beyond.items() if one > 0}
    lack = {zone: -one for zone, one in beyond.items() if one < 0}
    giving: Counter[str] = Counter()
    receiving: Counter[str] = Counter()
    while surplus and lack:
        source, target = max(surplus, key=surplus.__getitem__), max(lack, key=lack.__getitem__)
        least, most = sorted((surplus[source], lack[target]))
        if least < 0.5 or most < 1.0:
            break
        giving[source] += 1
        receiving[target] += 1
        surplus[source] -= 1
        lack[target] -= 1
    return giving, receiving


def _hinted(endpoint: Object, giving: Counter[str], receiving: Counter[str], given: Counter[str]) -> Object:
    """Return an endpoint meant for its own zone, or for another that is to receive one; counts it there."""
    bare = {name: value for name, value in endpoint.items() if name != "hints"}
    if not _is_ready(endpoint):
        return bare
    zone = endpoint["zone"]
    target = next((name for name, number in receiving.items() if number > 0), None) if giving[zone] > 0 else None
    if target is not None:
        giving[zone] -= 1
        receiving[target] -= 1
        given[zone] -= 1
        given[target] += 1
        zone = target
    return {**bare, "hints": {"forZones": [{"name": zone}]}}


def _is_ready(endpoint: Mapping[str, Any]) -> bool:
    return bool((endpoint.get("conditions") or {}).get("ready"))
