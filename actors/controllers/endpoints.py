"""The older form of endpoints: one Endpoints object a Service, with at most 1,000 addresses.

Source: upstream's endpoint controller and its api/v1/endpoints package, for labels, order and truncation.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from oarlock.actors.controllers import backends, pods
from oarlock.actors.controllers.actions import Action, Create, Delete, RecordEvent, Update, in_steps
from oarlock.actors.controllers.backends import Numbers, Ports
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.triggers import TriggerTimes, annotated, turned_at
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

MANAGED_BY = ("endpoints.kubernetes.io/managed-by", "endpoint-controller")
_OVER = "endpoints.kubernetes.io/over-capacity"
_ADDRESSES_MAX = 1000
EITHER = ("addresses", "notReadyAddresses")


@dataclass
class EndpointsOfServices:
    """Keeps the Endpoints of Services that have a selector."""

    triggers: TriggerTimes = field(default_factory=TriggerTimes)

    def reconcile(self, key: str, view: View) -> Iterator[Action]:
        """Return what makes a Service's Endpoints name its pods, giving way meanwhile where they are many."""
        service = view.get("services", key)
        held = view.get("endpoints", key)
        if service is None:
            self.triggers.forget(key)
            if held is not None and is_ours(held):
                yield Delete(held)
        elif backends.is_selecting(service):
            found = _Subsets(service)
            yield from in_steps(backends.selected(view, service), found.look)
            since = self.triggers.since(key, service, found.turned)
            yield from _written(service, held, found.shown(), since)


def _written(service: Object, held: Object | None, whole: list[Object], since: str | None) -> list[Action]:
    """Return the one write that shows `whole`; the time of a change alone is no reason for it."""
    shown = truncated(whole)
    before = (held or {}).get("metadata") or {}
    annotations = {name: one for name, one in annotated(before.get("annotations"), None).items() if name != _OVER}
    if shown is not whole:
        annotations[_OVER] = "truncated"
    labels = {**backends.labels(service), MANAGED_BY[0]: MANAGED_BY[1]}
    metadata = before or {"name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"]}
    metadata = {**metadata, "labels": labels, "annotations": annotated(annotations, since)}
    made = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, **({"subsets": shown} if shown else {})}
    name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
    if held is None:
        message = f"Failed to create endpoint for service {name}: {{error}}"
        return [Create(made, failed=RecordEvent(made, "FailedToCreateEndpoint", message, "Warning"))]
    said = (labels, annotations, shown)
    if said == (before.get("labels") or {}, annotated(before.get("annotations"), None), held.get("subsets") or []):
        return []
    message = f"Failed to update endpoint {name}: {{error}}"
    return [Update(made, failed=RecordEvent(held, "FailedToUpdateEndpoint", message, "Warning"))]


class _Subsets:
    """The addresses of a Service's pods, together with those that have the same ports, ready ones apart.

    `turned` tells by name when each pod became ready or ceased to be.
    """

    def __init__(self, service: Object) -> None:
        self.turned: dict[str, str] = {}
        self._service = service
        self._groups: dict[Numbers, tuple[list[Object], list[Object]]] = {}
        self._ports = backends.PortsOf(service)
        self._unconditional = bool(service["spec"].get("publishNotReadyAddresses"))
        self._family = backends.families(service)[0]

    def look(self, pod: Object) -> None:
        """Take in one of the pods that the selector means."""
        metadata = pod["metadata"]
        self.turned[metadata["name"]] = turned_at(pod)
        if not backends.is_member(pod) or (metadata.get("deletionTimestamp") and not self._unconditional):
            return
        found = backends.addresses(pod, self._family)
        if not found:
            return
        address = {"ip": found[0]}
        hostname, node = backends.hostname(self._service, pod), pod["spec"].get("nodeName")
        if hostname is not None:
            address["hostname"] = hostname
        if node is not None:
            address["nodeName"] = node
        ready, unready = self._groups.setdefault(self._ports.numbers(pod), ([], []))
        shown: Object = {**address, "targetRef": backends.target(pod)}
        (ready if self._unconditional or pods.is_ready(pod) else unready).append(shown)

    def shown(self) -> list[Object]:
        """Return the subsets in upstream's order; without ports there is one only where the Service has none."""
        portless = backends.is_headless(self._service) and not self._service["spec"].get("ports")
        found = []
        for numbers, addresses in self._groups.items():
            ports = [_named(one) for one in sorted(self._ports.shown(numbers), key=_order_of_port)]
            if ports or portless:
                found.append((repr(ports), _subset(ports, *addresses)))
        return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def truncated(whole: list[Object]) -> list[Object]:
    """Return subsets cut to 1,000 addresses in proportion to their sizes, ready ones first; else the same list."""
    ready, unready = (sum(len(one.get(name) or ()) for one in whole) for name in EITHER)
    if ready + unready <= _ADDRESSES_MAX:
        return whole
    cut = "addresses" if ready > _ADDRESSES_MAX else "notReadyAddresses"
    room, total = (_ADDRESSES_MAX, ready) if cut == "addresses" else (_ADDRESSES_MAX - ready, unready)
    left, made = room, []
    for one in whole:
        share = min(left, math.ceil(len(one.get(cut) or ()) / total * room))
        kept = (one.get(cut) or [])[:share]
        left -= len(kept)
        rest = {name: value for name, value in one.items() if name not in EITHER}
        both = {"addresses": kept} if cut == "addresses" else {"addresses": one.get("addresses"), cut: kept}
        made.append({**{name: value for name, value in both.items() if value}, **rest})
    return made


def is_ours(obj: Object) -> bool:
    """Whether the endpoints controller made an Endpoints object, rather than a user."""
    return (obj["metadata"].get("labels") or {}).get(MANAGED_BY[0]) == MANAGED_BY[1]


def _subset(ports: Ports, ready: list[Object], unready: list[Object]) -> Object:
    made = {"addresses": sorted(ready, key=_order), "notReadyAddresses": sorted(unready, key=_order), "ports": ports}
    return {name: value for name, value in made.items() if value}


def _named(port: Object) -> Object:
    """Leave out an empty name: other than in a slice it isn't shown."""
    return port if port["name"] else {name: value for name, value in port.items() if name != "name"}


def _order(address: Object) -> tuple[str, str]:
    """By the text of the address, as upstream has it."""
    return address["ip"], address["targetRef"]["uid"]


def _order_of_port(port: Object) -> bytes:
    """Upstream orders ports by the MD5 of a dump of Go's struct; clients see that order."""
    application = port.get("appProtocol")
    text = (
        f"(v1.EndpointPort){{Name:(string){port['name']} Port:(int32){port['port']} "
        f"Protocol:(v1.Protocol){port['protocol']} AppProtocol:(*string){application or '<nil>'}}}"
    )
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    if plural == "pods":
        return backends.services_of(view, old, new)
    present = new if new is not None else old
    assert present is not None
    return [Due(key_of(present))]


def endpoints_of_services() -> Controller:
    """Return the controller, which has yet to see its first Service."""
    return Controller(
        name="endpoint",
        source="endpoint-controller",
        reads=("services", "pods", "endpoints"),
        keys=_keys,
        reconcile=EndpointsOfServices().reconcile,
    )
