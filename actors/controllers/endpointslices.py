"""Which pods stand behind a Service, as EndpointSlices: one set of slices for each family and each set of ports.

Source: kubernetes.io "EndpointSlices"; upstream's k8s.io/endpointslice reconciler.go for labels and layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oarlock.actors.controllers import backends, pods
from oarlock.actors.controllers.actions import Action, Delete, GiveWay, in_steps
from oarlock.actors.controllers.backends import Numbers, Ports
from oarlock.actors.controllers.hints import Hints, Piece, unhinted
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.packing import pack
from oarlock.actors.controllers.slices import Said, Slices, created, updated
from oarlock.actors.controllers.triggers import TriggerTimes, annotated, turned_at
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

SLICE_ENDPOINTS_MAX = 100
MANAGER = "endpointslice-controller.k8s.io"
_SLICES = Slices(MANAGER)


@dataclass
class EndpointSlices:
    """Keeps the slices of Services that have a selector."""

    triggers: TriggerTimes = field(default_factory=TriggerTimes)
    hints: Hints = field(default_factory=Hints)

    def reconcile(self, key: str, view: View) -> Iterator[Action]:
        """Return what makes a Service's EndpointSlices name its pods, changing as few slices as may be.

        It gives way meanwhile where they are many.
        """
        service = view.get("services", key)
        if service is None or service["metadata"].get("deletionTimestamp"):
            self.triggers.forget(key)
            self.hints.forget(key)
            return  # the garbage collector removes what the Service owned
        if not backends.is_selecting(service):
            return
        found = _Members(view, service)
        yield from in_steps(backends.selected(view, service), found.look)
        since = self.triggers.since(key, service, found.turned)
        held = _SLICES.of(view, key)
        for family in found.families:
            mine = [one for one in held if one["addressType"] == family and _is_owned(one, service)]
            pieces, spare = _planned(service, mine, found.grouped(family))
            yield GiveWay()
            told = self.hints.give(view, key, service, family, pieces)
            for piece in pieces:
                yield from _written(view, service, family, piece, since)
                yield GiveWay()
            yield from map(Delete, spare)
            yield from told
        stray = (one for one in held if one["addressType"] not in found.families or not _is_owned(one, service))
        yield from map(Delete, stray)

    def keys(self, plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
        """Return the Services whose slices a change shows in."""
        if plural == "pods":
            return backends.services_of(view, old, new)
        if plural == "nodes":
            return [*_of_node(old, new, view), *map(Due, self.hints.node_changed(old, new, view))]
        present = new if new is not None else old
        assert present is not None
        return [Due(key_of(present))] if plural == "services" else _SLICES.due(present)


def _planned(
    service: Object, held: Sequence[Object], wanted: Iterable[tuple[Ports, list[Object]]]
) -> tuple[list[Piece], list[Object]]:
    """Return what slices there are to be, and those that aren't needed.

    Slices to delete are turned into slices to create where there are any; a Service has at least an empty one.
    """
    contents: dict[str, tuple[Ports, list[Object]]] = {}
    new: list[tuple[Ports, list[Object]]] = []
    before = {one["metadata"]["name"]: [unhinted(each) for each in one.get("endpoints") or ()] for one in held}
    for ports, endpoints in wanted:
        same = {
            one["metadata"]["name"]: before[one["metadata"]["name"]]
            for one in held
            if (one.get("ports") or []) == ports
        }
        kept, more = pack(same, endpoints, _identity, SLICE_ENDPOINTS_MAX)
        contents |= {name: (ports, found) for name, found in kept.items() if found}
        new += [(ports, found) for found in more]
    spare = [one for one in held if one["metadata"]["name"] not in contents]
    if not contents and not new:
        new.append(([], []))
    pieces = [
        Piece(one, *contents[name], changes=before[name] != contents[name][1] or not _is_labelled(one, service))
        for one in held
        if (name := one["metadata"]["name"]) in contents
    ]
    pieces += [Piece(spare.pop(0) if spare else None, *one, changes=True) for one in new]
    return pieces, spare


class _Members:
    """A Service's pods as endpoints, by family and by name.

    `turned` tells by name when each pod became ready or ceased to be.
    """

    def __init__(self, view: View, service: Object) -> None:
        self.turned: dict[str, str] = {}
        self.families = backends.families(service)
        self._view, self._service = view, service
        self._found: dict[str, dict[str, tuple[Numbers, Object]]] = {family: {} for family in self.families}
        self._ports = backends.PortsOf(service)
        self._unconditional = bool(service["spec"].get("publishNotReadyAddresses"))

    def look(self, pod: Object) -> None:
        """Take in one of the pods that the selector means."""
        name: str = pod["metadata"]["name"]
        self.turned[name] = turned_at(pod)
        node = self._view.get("nodes", pod["spec"].get("nodeName", ""))
        if not backends.is_member(pod) or (node is None and not self._unconditional):
            return
        for family, members in self._found.items():
            found = backends.addresses(pod, family)
            if found:
                members[name] = self._ports.numbers(pod), self._endpoint(pod, node, found)

    def grouped(self, family: str) -> Iterable[tuple[Ports, list[Object]]]:
        """Return the endpoints of a family in the order of their pods, together with those that have the same ports."""
        groups: dict[Numbers, list[Object]] = {}
        for _, (numbers, endpoint) in sorted(self._found[family].items()):
            groups.setdefault(numbers, []).append(endpoint)
        return [(self._ports.shown(numbers), endpoints) for numbers, endpoints in groups.items()]

    def _endpoint(self, pod: Object, node: Object | None, found: list[str]) -> Object:
        terminating = bool(pod["metadata"].get("deletionTimestamp"))
        serving = pods.is_ready(pod)
        ready = self._unconditional or (serving and not terminating)
        made: Object = {
            "addresses": found,
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        }
        hostname, name = backends.hostname(self._service, pod), pod["spec"].get("nodeName")
        if hostname is not None:
            made["hostname"] = hostname
        if name:
            made["nodeName"] = name
        made["targetRef"] = backends.target(pod)
        zone = (node["metadata"].get("labels") or {}).get(backends.ZONE) if node is not None else None
        if zone:
            made["zone"] = zone
        return made


def _written(view: View, service: Object, family: str, piece: Piece, since: str | None) -> list[Action]:
    held = (piece.held or {}).get("metadata") or {}
    annotations = annotated(held.get("annotations"), since)
    said = Said(_labels(service), annotations, piece.ports, piece.endpoints)
    return [created(view, service, family, said)] if piece.held is None else updated(piece.held, said)


def _labels(service: Object) -> dict[str, str]:
    return _SLICES.labels(service["metadata"]["name"], backends.labels(service))


def _is_labelled(one: Object, service: Object) -> bool:
    return bool(one["metadata"].get("labels") == _labels(service))


def _identity(endpoint: Mapping[str, Any]) -> tuple[object, ...]:
    return (*endpoint["addresses"], (endpoint.get("targetRef") or {}).get("uid"))


def _is_owned(one: Object, service: Object) -> bool:
    return any(owner["uid"] == service["metadata"]["uid"] for owner in one["metadata"].get("ownerReferences") or ())


def _of_node(old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    """A node that comes, goes or changes its zone shows in the endpoints of its pods."""
    zones = [(one["metadata"].get("labels") or {}).get(backends.ZONE) if one is not None else "" for one in (old, new)]
    present = new if new is not None else old
    assert present is not None
    if old is not None and new is not None and zones[0] == zones[1]:
        return []
    return [due for pod in view.pods_on(present["metadata"]["name"]) for due in backends.services_of(view, None, pod)]


def endpoint_slices() -> Controller:
    """Return the controller, which has yet to see its first Service."""
    keeper = EndpointSlices()
    return Controller(
        name="endpoint_slice",
        source="endpoint-slice-controller",
        reads=("services", "pods", "endpointslices", "nodes"),
        keys=keeper.keys,
        reconcile=keeper.reconcile,
    )
