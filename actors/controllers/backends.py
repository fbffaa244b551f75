"""The pods behind a Service, and how endpoints of every form name them.

Source: kubernetes.io "EndpointSlices"; upstream's k8s.io/endpointslice utils.go and util/controller_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from oarlock.actors.controllers import pods
from oarlock.actors.controllers.loop import Due
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]
Ports = list[Object]
Numbers = tuple[int | None, ...]

SERVICE_NAME = "kubernetes.io/service-name"
HEADLESS = "service.kubernetes.io/headless"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
ZONE = "topology.kubernetes.io/zone"
_RESERVED = (SERVICE_NAME, HEADLESS, MANAGED_BY)


def is_selecting(service: Mapping[str, Any]) -> bool:
    """Whether the Service's endpoints follow from its selector; else they are made by hand, or there are none."""
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def is_headless(service: Mapping[str, Any]) -> bool:
    """Whether the Service has no address of its own."""
    return service["spec"].get("clusterIP", "") in ("", "None")


def families(service: Mapping[str, Any]) -> list[str]:
    """Return the Service's IP families; one of an older form has that of its address, a headless one both."""
    named = service["spec"].get("ipFamilies")
    if named:
        return list(named)
    return ["IPv4", "IPv6"] if is_headless(service) else [family(service["spec"]["clusterIP"])]


def family(address: str) -> str:
    """Return `IPv4` or `IPv6`; what is no address counts as IPv4."""
    return "IPv6" if ":" in address else "IPv4"


def addresses(pod: Mapping[str, Any], wanted: str) -> list[str]:
    """Return a pod's addresses of a family, in the usual spelling."""
    status = pod.get("status") or {}
    found = [one.get("ip", "") for one in status.get("podIPs") or ()] or [status.get("podIP", "")]
    return [_usual(one) for one in found if one and family(one) == wanted]


@lru_cache(maxsize=65536)
def _usual(address: str) -> str:
    return str(ip_address(address))


def selected(view: View, service: Mapping[str, Any]) -> list[Object]:
    """Return the pods that the Service's selector means."""
    return view.labelled("pods", service["metadata"]["namespace"], service["spec"]["selector"])


def is_member(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has an address and hasn't ended."""
    status = pod.get("status") or {}
    return bool(status.get("podIP") or status.get("podIPs")) and not pods.is_ended(pod)


class PortsOf:
    """A Service's ports as they are in its pods: a named target port may differ from pod to pod."""

    def __init__(self, service: Mapping[str, Any]) -> None:
        self._ports = service["spec"].get("ports") or ()
        wanted = [(one.get("targetPort", one["port"]), one.get("protocol", "TCP")) for one in self._ports]
        self._named = any(not isinstance(target, int) for target, _ in wanted)
        self._wanted = wanted
        self._same: Numbers = () if self._named else tuple(target for target, _ in wanted)

    def numbers(self, pod: Mapping[str, Any]) -> Numbers:
        """Return the number of each port in this pod, None for one that it doesn't have."""
        return tuple(_number(*one, pod) for one in self._wanted) if self._named else self._same

    def shown(self, numbers: Numbers) -> Ports:
        """Return the ports that have a number, as endpoints name them."""
        made: Ports = []
        for port, number in zip(self._ports, numbers, strict=True):
            if number is not None:
                entry = {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
                made.append({**entry, "appProtocol": port["appProtocol"]} if "appProtocol" in port else entry)
        return made


def target(pod: Mapping[str, Any]) -> Object:
    """Return the reference by which an endpoint names its pod."""
    metadata = pod["metadata"]
    return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


def hostname(service: Mapping[str, Any], pod: Mapping[str, Any]) -> str | None:
    """Return the name under which DNS finds the pod below the Service, if the pod asks for one."""
    spec = pod["spec"]
    return spec.get("hostname") or None if spec.get("subdomain") == service["metadata"]["name"] else None


def labels(service: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels that endpoints take over from their Service."""
    held = service["metadata"].get("labels") or {}
    kept = {name: value for name, value in held.items() if name not in _RESERVED}
    return {**kept, HEADLESS: ""} if is_headless(service) else kept


def services_of(view: View, old: Object | None, new: Object | None) -> Iterable[Due]:
    """Return the Services whose endpoints a pod's change can show in."""
    if old is not None and new is not None and _said(old) == _said(new):
        return []
    present = new if new is not None else old
    assert present is not None
    held = [one["metadata"].get("labels") or {} for one in (old, new) if one is not None]
    if len(held) > 1 and held[0] == held[1]:
        del held[0]
    namespace = present["metadata"]["namespace"]
    return [Due(key_of(service)) for labels in held for service in view.services_for(namespace, labels)]


def _said(pod: Object) -> tuple[object, ...]:
    """What of a pod can show in an endpoint."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    ready, ended = pods.is_ready(pod), pods.is_ended(pod)
    places = (spec.get("nodeName"), status.get("podIP"), status.get("podIPs"))
    return (metadata.get("labels"), bool(metadata.get("deletionTimestamp")), places, ready, ended)


def _number(wanted: int | str, protocol: str, pod: Mapping[str, Any]) -> int | None:
    """Return the port number that a target port means in this pod, None when the pod has no such name."""
    if isinstance(wanted, int):
        return wanted
    sidecars = [one for one in pod["spec"].get("initContainers") or () if one.get("restartPolicy") == "Always"]
    for container in [*pod["spec"]["containers"], *sidecars]:
        for port in container.get("ports") or ():
            if port.get("name") == wanted and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None
