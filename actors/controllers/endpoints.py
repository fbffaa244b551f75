"""Which pods stand behind a Service, as Endpoints and as EndpointSlices.

Source: kubernetes.io "EndpointSlices"; upstream's endpoint and endpointslice controllers for labels and layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oarlock.actors.controllers import pods
from oarlock.actors.controllers.actions import Action, Create, Delete, Update
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.ownership import controller_reference
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]
Ports = list[Object]

SLICE_ENDPOINTS_MAX = 100
_ENDPOINTS_BY = ("endpoints.kubernetes.io/managed-by", "endpoint-controller")
_SLICE_BY = ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io")
_SERVICE_NAME = "kubernetes.io/service-name"
_HEADLESS = "service.kubernetes.io/headless"
_ZONE = "topology.kubernetes.io/zone"
_ENDPOINTS_MAX = 1000


def reconcile_endpoints(key: str, view: View) -> list[Action]:
    """Return what makes a Service's Endpoints name its pods."""
    service = view.get("services", key)
    held = view.get("endpoints", key)
    if service is None:
        return [Delete(held)] if held is not None and _is_ours(held, _ENDPOINTS_BY) else []
    if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
        return []
    labels = _labels(service, _ENDPOINTS_BY)
    subsets = list(_subsets(view, service))
    if held is None:
        metadata = {
            "name": service["metadata"]["name"],
            "namespace": service["metadata"]["namespace"],
            "labels": labels,
        }
        made = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
        return [Create({**made, "subsets": subsets} if subsets else made)]
    if (held.get("subsets") or []) == subsets and held["metadata"].get("labels") == labels:
        return []
    changed = {**held, "metadata": {**held["metadata"], "labels": labels}, "subsets": subsets}
    return [Update(changed)]


def reconcile_slices(key: str, view: View) -> list[Action]:
    """Return what makes a Service's EndpointSlices name its pods, changing as few slices as may be."""
    service = view.get("services", key)
    namespace, _, name = key.partition("/")
    held = [one for one in view.list("endpointslices", namespace) if _is_slice_of(one, name)]
    if service is None or service["metadata"].get("deletionTimestamp"):
        return []  # the garbage collector removes what the Service owned
    if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
        return []
    actions: list[Action] = []
    free = {one["metadata"]["name"]: one for one in held}
    for ports, endpoints in _wanted(view, service).values():
        mine = [one for one in held if (one.get("ports") or []) == ports or not one.get("endpoints")]
        for chunk in _chunks(mine, endpoints):
            target = next((one for one in mine if one["metadata"]["name"] in free), None)
            if target is not None:
                del free[target["metadata"]["name"]]
            actions += _slice(view, service, target, ports, chunk)
    kept = len(held) - len(free)
    placeholder = None
    if kept == 0 and not actions:
        placeholder = next(iter(free.values()), None)
        actions += _slice(view, service, placeholder, [], [])
    actions += [Delete(one) for one in free.values() if one is not placeholder]
    return actions


def _chunks(held: Iterable[Object], endpoints: list[Object]) -> list[list[Object]]:
    """Divide endpoints over slices, each staying where it is as far as it fits."""
    left = {_identity(one): one for one in endpoints}
    chunks: list[list[Object]] = []
    for one in held:
        stay = [left.pop(_identity(old)) for old in one.get("endpoints") or () if _identity(old) in left]
        chunks.append(stay)
    for one in left.values():
        room = next((chunk for chunk in chunks if len(chunk) < SLICE_ENDPOINTS_MAX), None)
        if room is None:
            chunks.append(room := [])
        room.append(one)
    return [chunk for chunk in chunks if chunk]


def _identity(endpoint: Mapping[str, Any]) -> str:
    return str((endpoint.get("targetRef") or {}).get("uid"))


def _slice(view: View, service: Object, held: Object | None, ports: Ports, endpoints: list[Object]) -> list[Action]:
    labels = {**_labels(service, _SLICE_BY), _SERVICE_NAME: service["metadata"]["name"]}
    body = {"endpoints": endpoints or None, "ports": ports or None}
    if held is None:
        prefix = f"{service['metadata']['name']}-"
        metadata = {
            "name": prefix + view.suffix(),
            "generateName": prefix,
            "namespace": service["metadata"]["namespace"],
            "labels": labels,
            "ownerReferences": [controller_reference(service)],
        }
        kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}
        family = (service["spec"].get("ipFamilies") or ["IPv4"])[0]
        return [Create({**kind, "metadata": metadata, "addressType": family, **body})]
    same = (held.get("endpoints") or None) == body["endpoints"] and (held.get("ports") or None) == body["ports"]
    if same and held["metadata"].get("labels") == labels:
        return []
    return [Update({**held, "metadata": {**held["metadata"], "labels": labels}, **body})]


def _wanted(view: View, service: Object) -> dict[str, tuple[Ports, list[Object]]]:
    """Return the endpoints by the ports that they have: named ports may differ from pod to pod."""
    groups: dict[str, tuple[Ports, list[Object]]] = {}
    for pod in _pods(view, service):
        ports = _ports(service, pod)
        groups.setdefault(repr(ports), (ports, []))[1].append(_endpoint(view, service, pod))
    return groups


def _endpoint(view: View, service: Object, pod: Object) -> Object:
    terminating = bool(pod["metadata"].get("deletionTimestamp"))
    serving = pods.is_ready(pod)
    unconditional = bool(service["spec"].get("publishNotReadyAddresses"))
    node = view.get("nodes", pod["spec"].get("nodeName", ""))
    zone = (node["metadata"].get("labels") or {}).get(_ZONE) if node is not None else None
    made: Object = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": unconditional or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "hostname": _hostname(service, pod),
        "nodeName": pod["spec"].get("nodeName"),
        "targetRef": _target(pod),
        "zone": zone,
    }
    return {name: value for name, value in made.items() if value is not None}


def _subsets(view: View, service: Object) -> Iterator[Object]:
    groups: dict[str, tuple[Ports, list[Object], list[Object]]] = {}
    unconditional = bool(service["spec"].get("publishNotReadyAddresses"))
    for pod in _pods(view, service):
        if pod["metadata"].get("deletionTimestamp") and not unconditional:
            continue
        ports = _ports(service, pod)
        _, ready, unready = groups.setdefault(repr(ports), (ports, [], []))
        made = {
            "ip": pod["status"]["podIP"],
            "hostname": _hostname(service, pod),
            "nodeName": pod["spec"].get("nodeName"),
            "targetRef": _target(pod),
        }
        address = {name: value for name, value in made.items() if value is not None}
        (ready if unconditional or pods.is_ready(pod) else unready).append(address)
    for ports, ready, unready in groups.values():
        subset: Object = {}
        if ready:
            subset["addresses"] = sorted(ready, key=_address)[:_ENDPOINTS_MAX]
        if unready:
            subset["notReadyAddresses"] = sorted(unready, key=_address)[:_ENDPOINTS_MAX]
        yield {**subset, "ports": ports} if ports else subset


def _address(one: Object) -> tuple[int, ...] | tuple[str]:
    parts = one["ip"].split(".")
    return tuple(int(part) for part in parts) if len(parts) == 4 else (one["ip"],)


def _pods(view: View, service: Object) -> list[Object]:
    """Return the pods behind a Service that have an address and haven't ended, by name."""
    wanted = service["spec"]["selector"].items()
    found = [
        pod
        for pod in view.list("pods", service["metadata"]["namespace"])
        if wanted <= (pod["metadata"].get("labels") or {}).items()
        and (pod.get("status") or {}).get("podIP")
        and not pods.is_ended(pod)
    ]
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


def _ports(service: Object, pod: Object) -> Ports:
    made: Ports = []
    for port in service["spec"].get("ports") or ():
        number = _number(port.get("targetPort", port["port"]), port.get("protocol", "TCP"), pod)
        if number:
            entry = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
            if port.get("appProtocol"):
                entry["appProtocol"] = port["appProtocol"]
            made.append(entry)
    return made


def _number(target: int | str, protocol: str, pod: Object) -> int | None:
    """Return the port number that a target port means in this pod, None when the pod has no such name."""
    if isinstance(target, int):
        return target
    for container in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]:
        for port in container.get("ports") or ():
            if port.get("name") == target and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _target(pod: Object) -> Object:
    metadata = pod["metadata"]
    return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


def _hostname(service: Object, pod: Object) -> str | None:
    spec = pod["spec"]
    return spec.get("hostname") if spec.get("subdomain") == service["metadata"]["name"] else None


def _labels(service: Object, managed_by: tuple[str, str]) -> dict[str, str]:
    labels = dict(service["metadata"].get("labels") or {})
    if service["spec"].get("clusterIP") == "None":
        labels[_HEADLESS] = ""
    return {**labels, managed_by[0]: managed_by[1]}


def _is_ours(obj: Object, managed_by: tuple[str, str]) -> bool:
    return (obj["metadata"].get("labels") or {}).get(managed_by[0]) == managed_by[1]


def _is_slice_of(one: Object, service: str) -> bool:
    return _is_ours(one, _SLICE_BY) and one["metadata"]["labels"].get(_SERVICE_NAME) == service


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    if plural == "services" or plural == "endpoints":
        return [Due(key_of(present))]
    if plural == "endpointslices":
        name = (present["metadata"].get("labels") or {}).get(_SERVICE_NAME)
        return [Due(f"{present['metadata']['namespace']}/{name}")] if name and _is_ours(present, _SLICE_BY) else []
    if old is not None and new is not None and _said(old) == _said(new):
        return []
    labels = [(one["metadata"].get("labels") or {}).items() for one in (old, new) if one is not None]
    return [
        Due(key_of(service))
        for service in view.list("services", present["metadata"]["namespace"])
        if (selector := service["spec"].get("selector")) and any(selector.items() <= held for held in labels)
    ]


def _said(pod: Object) -> tuple[object, ...]:
    """What of a pod can show in an endpoint."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    ready, ended = pods.is_ready(pod), pods.is_ended(pod)
    return (metadata.get("labels"), bool(metadata.get("deletionTimestamp")), status.get("podIP"), ready, ended)


ENDPOINTS = Controller(
    name="endpoint",
    source="endpoint-controller",
    reads=("services", "pods", "endpoints"),
    keys=_keys,
    reconcile=reconcile_endpoints,
)
ENDPOINT_SLICES = Controller(
    name="endpoint_slice",
    source="endpoint-slice-controller",
    reads=("services", "pods", "endpointslices"),
    keys=_keys,
    reconcile=reconcile_slices,
    looks_at=("nodes",),
)
