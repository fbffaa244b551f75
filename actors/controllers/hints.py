"""Which zones and nodes endpoints are meant for: by the Service's annotation, its trafficDistribution, or not at all.

Source: kubernetes.io "Traffic distribution"; KEP-4444, KEP-3015; upstream's k8s.io/endpointslice reconciler.go and
trafficdist.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oarlock.actors.controllers import topology
from oarlock.actors.controllers.actions import RecordEvent
from oarlock.actors.controllers.backends import Ports
from oarlock.actors.controllers.view import View

Object = dict[str, Any]

_SAME_ZONE = ("PreferClose", "PreferSameZone", "PreferSameNode")
_SAME_NODE = "PreferSameNode"


@dataclass
class Piece:
    """What one slice is to hold: a held one, or None for a new one. `changes` tells whether it differs, hints apart."""

    held: Object | None
    ports: Ports
    endpoints: list[Object]
    changes: bool


@dataclass
class Hints:
    """Gives endpoints their hints, and remembers how many each zone has been given of every Service.

    So that a change of the nodes makes only those Services due that have got too few for a zone.
    """

    _given: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    _populated: set[str] = field(default_factory=set)
    _parts: dict[str, float] | None = None

    def give(self, view: View, key: str, service: Object, family: str, pieces: list[Piece]) -> list[RecordEvent]:
        """Put hints into the pieces; returns what is to be told of it."""
        if topology.is_asked(service):
            return self._share_out(view, key, service, family, pieces)
        told = [_event(service, family, "Topology Aware Hints has been disabled")] if key in self._populated else []
        self._take_back(key, family)
        for piece in pieces:
            piece.endpoints = [hinted(one, service) for one in piece.endpoints]
        return told

    def node_changed(self, old: Object | None, new: Object | None, view: View) -> Iterable[str]:
        """Return the keys of the Services that this change of a node leaves with too few endpoints in a zone."""
        if (topology.weight(old) if old else None) == (topology.weight(new) if new else None):
            return []
        self._parts = None
        parts = self._parts_of(view) if self._given else {}
        return [
            key
            for key, families in self._given.items()
            if any(topology.is_overloaded(given, parts) for given in families.values())
        ]

    def forget(self, key: str) -> None:
        """Let go of a Service."""
        self._given.pop(key, None)
        self._populated.discard(key)

    def _share_out(self, view: View, key: str, service: Object, family: str, pieces: list[Piece]) -> list[RecordEvent]:
        standing = [one for one in pieces if not one.changes]
        changing = sorted((one for one in pieces if one.changes), key=lambda one: one.held is not None)
        held = [(one.held or {}).get("endpoints") or [] for one in standing]
        try:
            kept, made, given = topology.shared_out(held, [one.endpoints for one in changing], self._parts_of(view))
        except topology.Unfit as why:
            self._take_back(key, family)
            return [_event(service, family, str(why))]
        for piece, before, endpoints in zip(standing, held, kept, strict=True):
            piece.endpoints = before if endpoints is None else endpoints
        for piece, endpoints in zip(changing, made, strict=True):
            piece.endpoints = endpoints
        enabled = _event(service, family, "Topology Aware Hints has been enabled", good=True)
        told = [] if key in self._populated else [enabled]
        self._given.setdefault(key, {})[family] = given
        self._populated.add(key)
        return told

    def _take_back(self, key: str, family: str) -> None:
        families = self._given.get(key, {})
        families.pop(family, None)
        if not families:
            self._given.pop(key, None)
        self._populated.discard(key)

    def _parts_of(self, view: View) -> dict[str, float]:
        if self._parts is None:
            self._parts = topology.ratios(view.list("nodes"))
        return self._parts


def hinted(endpoint: Object, service: Mapping[str, Any]) -> Object:
    """Return an endpoint with the hints that trafficDistribution asks for; one that isn't ready gets none."""
    wanted = service["spec"].get("trafficDistribution")
    if wanted not in _SAME_ZONE or not endpoint["conditions"]["ready"]:
        return endpoint
    hints: Object = {}
    if endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    if wanted == _SAME_NODE and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    return {**endpoint, "hints": hints} if hints else endpoint


def unhinted(endpoint: Object) -> Object:
    """Return an endpoint without hints."""
    return {name: one for name, one in endpoint.items() if name != "hints"} if "hints" in endpoint else endpoint


def _event(service: Object, family: str, message: str, *, good: bool = False) -> RecordEvent:
    reason = "TopologyAwareHintsEnabled" if good else "TopologyAwareHintsDisabled"
    return RecordEvent(service, reason, f"{message}, addressType: {family}", "Normal" if good else "Warning")
