"""The variables that tell a container where the Services are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Object = Mapping[str, Any]

MASTER = ("default", "kubernetes")
"""The API server's own Service: every container is told of it."""


def variables(services: Iterable[Object], pod: Object) -> dict[str, str]:
    """Return the variables of the Services of the pod's namespace, and of the API server's whatever the namespace.

    A pod that sets `enableServiceLinks` to false learns of the latter only. Headless Services have none.
    Source: pkg/kubelet/kubelet_pods.go (getServiceEnvVarMap), pkg/kubelet/envvars/envvars.go.
    """
    found: dict[str, str] = {}
    for service in _seen_by(pod, services).values():
        found |= _of(service)
    return found


def _seen_by(pod: Object, services: Iterable[Object]) -> dict[str, Object]:
    """Return the Services by name; one of the pod's own namespace stands before the API server's."""
    namespace = pod["metadata"]["namespace"]
    links = pod["spec"].get("enableServiceLinks", True)
    seen: dict[str, Object] = {}
    for service in services:
        place = (service["metadata"]["namespace"], service["metadata"]["name"])
        if service["spec"].get("clusterIP") in (None, "", "None"):
            continue
        if links and place[0] == namespace:
            seen[place[1]] = service
        elif place == MASTER:
            seen.setdefault(place[1], service)
    return seen


def _of(service: Object) -> dict[str, str]:
    """Return NAME_SERVICE_… and, as Docker's links had them, NAME_PORT_…"""
    prefix = _variable_name(service["metadata"]["name"])
    address, ports = service["spec"]["clusterIP"], service["spec"].get("ports") or []
    if not ports:
        return {f"{prefix}_SERVICE_HOST": address}
    found = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            found[f"{prefix}_SERVICE_PORT_{_variable_name(port['name'])}"] = str(port["port"])
    for number, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        host = f"[{address}]" if ":" in address else address
        url = f"{protocol.lower()}://{host}:{port['port']}"
        link = f"{prefix}_PORT_{port['port']}_{protocol.upper()}"
        if number == 0:
            found[f"{prefix}_PORT"] = url
        found |= {
            link: url,
            f"{link}_PROTO": protocol.lower(),
            f"{link}_PORT": str(port["port"]),
            f"{link}_ADDR": address,
        }
    return found


def _variable_name(name: str) -> str:
    return name.upper().replace("-", "_")
