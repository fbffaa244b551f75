"""Which pods stand behind a Service, as EndpointSlices: one set of slices for each family and each set of ports.

Source: kubernetes.io "EndpointSlices"; upstream's k8s.io/endpointslice reconciler.go for labels and layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from oarlock.actors.controllers import backends, pods
from oarlock.actors.controllers.actions import Action, Create, Delete, Update
from oarlock.actors.controllers.backends import Ports
from oarlock.actors.controllers.hints import hinted
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.ownership import controller_reference
from oarlock.actors.controllers.packing import pack
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

SLICE_ENDPOINTS_MAX = 100
MANAGER = "endpointslice-controller.k8s.io"
_PREFIX_MAX = 63 - 5 - 1


def reconcile(key: str, view: View) -> list[Action]:
    """Return what makes a Service's EndpointSlices name its pods, changing as few slices as may be."""
    service = view.get("services", key)
    if service is None or service["metadata"].get("deletionTimestamp"):
        return []  # the garbage collector removes what the Service owned
    if not backends.is_selecting(service):
        return []
    namespace, _, name = key.partition("/")
    held = [one for one in view.list("endpointslices", namespace) if _is_slice_of(one, name)]
    actions: list[Action] = []
    wanted = backends.families(service)
    for family in wanted:
        mine = [one for one in held if one["addressType"] == family and _is_owned(one, service)]
        actions += _family(view, service, family, mine)
    stray = [one for one in held if one["addressType"] not in wanted or not _is_owned(one, service)]
    return [*actions, *(Delete(one) for one in stray)]


def _family(view: View, service: Object, family: str, held: Sequence[Object]) -> list[Action]:
    """Slices to delete are turned into slices to create where there are any; a Service has at least an empty one."""
    contents: dict[str, tuple[Ports, list[Object]]] = {}
    new: list[tuple[Ports, list[Object]]] = []
    for ports, endpoints in _wanted(view, service, family).values():
        same = {
            one["metadata"]["name"]: one.get("endpoints") or [] for one in held if (one.get("ports") or []) == ports
        }
        kept, more = pack(same, endpoints, _identity, SLICE_ENDPOINTS_MAX)
        contents |= {name: (ports, found) for name, found in kept.items() if found}
        new += [(ports, found) for found in more]
    spare = [one for one in held if one["metadata"]["name"] not in contents]
    if not contents and not new:
        new.append(([], []))
    actions: list[Action] = []
    for one in held:
        if one["metadata"]["name"] in contents:
            actions += _updated(service, one, *contents[one["metadata"]["name"]])
    for ports, endpoints in new:
        if spare:
            actions += _updated(service, spare.pop(0), ports, endpoints)
        else:
            actions.append(_created(view, service, family, ports, endpoints))
    return [*actions, *(Delete(one) for one in spare)]


def _wanted(view: View, service: Object, family: str) -> dict[str, tuple[Ports, list[Object]]]:
    groups: dict[str, tuple[Ports, list[Object]]] = {}
    for pod in backends.members(view, service):
        found = backends.addresses(pod, family)
        node = view.get("nodes", pod["spec"].get("nodeName", ""))
        if not found or (node is None and not service["spec"].get("publishNotReadyAddresses")):
            continue
        ports = backends.ports_of(service, pod)
        groups.setdefault(repr(ports), (ports, []))[1].append(_endpoint(service, pod, node, found))
    return groups


def _endpoint(service: Object, pod: Object, node: Object | None, found: list[str]) -> Object:
    terminating = bool(pod["metadata"].get("deletionTimestamp"))
    serving = pods.is_ready(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    zone = (node["metadata"].get("labels") or {}).get(backends.ZONE) if node is not None else None
    made: Object = {
        "addresses": found,
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "hostname": backends.hostname(service, pod),
        "nodeName": pod["spec"].get("nodeName") or None,
        "targetRef": backends.target(pod),
        "zone": zone or None,
    }
    return hinted({name: value for name, value in made.items() if value is not None}, service)


def _updated(service: Object, held: Object, ports: Ports, endpoints: list[Object]) -> list[Action]:
    labels = _labels(service)
    same = (held.get("endpoints") or []) == endpoints and (held.get("ports") or []) == ports
    if same and held["metadata"].get("labels") == labels:
        return []
    body = {"endpoints": endpoints or None, "ports": ports or None}
    return [Update({**held, "metadata": {**held["metadata"], "labels": labels}, **body})]


def _created(view: View, service: Object, family: str, ports: Ports, endpoints: list[Object]) -> Create:
    name = service["metadata"]["name"]
    metadata = {
        "name": f"{name[:_PREFIX_MAX]}-{view.suffix()}",
        "generateName": f"{name}-",
        "namespace": service["metadata"]["namespace"],
        "labels": _labels(service),
        "ownerReferences": [controller_reference(service)],
    }
    body = {"addressType": family, "endpoints": endpoints or None, "ports": ports or None}
    return Create({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, **body})


def _labels(service: Object) -> dict[str, str]:
    name = service["metadata"]["name"]
    return {**backends.labels(service), backends.SERVICE_NAME: name, backends.MANAGED_BY: MANAGER}


def _identity(endpoint: Mapping[str, Any]) -> tuple[object, ...]:
    return (*endpoint["addresses"], (endpoint.get("targetRef") or {}).get("uid"))


def _is_owned(one: Object, service: Object) -> bool:
    return any(owner["uid"] == service["metadata"]["uid"] for owner in one["metadata"].get("ownerReferences") or ())


def _is_slice_of(one: Object, service: str) -> bool:
    labels = one["metadata"].get("labels") or {}
    return labels.get(backends.MANAGED_BY) == MANAGER and labels.get(backends.SERVICE_NAME) == service


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    if plural == "pods":
        return backends.services_of(view, old, new)
    if plural == "nodes":
        return _of_node(old, new, view)
    present = new if new is not None else old
    assert present is not None
    if plural == "services":
        return [Due(key_of(present))]
    labels = present["metadata"].get("labels") or {}
    name = labels.get(backends.SERVICE_NAME)
    ours = bool(name) and labels.get(backends.MANAGED_BY) == MANAGER
    return [Due(f"{present['metadata']['namespace']}/{name}")] if ours else []


def _of_node(old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    """A node that comes, goes or changes its zone shows in the endpoints of its pods."""
    zones = [(one["metadata"].get("labels") or {}).get(backends.ZONE) if one is not None else "" for one in (old, new)]
    present = new if new is not None else old
    assert present is not None
    if old is not None and new is not None and zones[0] == zones[1]:
        return []
    return [due for pod in view.pods_on(present["metadata"]["name"]) for due in backends.services_of(view, None, pod)]


ENDPOINT_SLICES = Controller(
    name="endpoint_slice",
    source="endpoint-slice-controller",
    reads=("services", "pods", "endpointslices", "nodes"),
    keys=_keys,
    reconcile=reconcile,
)
