"""What to listen on and whom to relay to, out of Services and their EndpointSlices: pure.

Source: Kubernetes "Virtual IPs and Service Proxies".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Address = tuple[str, int]
Object = Mapping[str, Any]

AFFINITY_S = 10800
SERVICE_NAME = "kubernetes.io/service-name"
PROXY_NAME = "service.kubernetes.io/service-proxy-name"


@dataclass(frozen=True, slots=True)
class Frontend:
    """An address that a Service is reached at; `cluster` tells a ClusterIP, of which a machine has one listener."""

    protocol: str
    host: str
    port: int
    cluster: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a frontend's connections go. `affinity_s` 0 means that any endpoint may serve any client."""

    service: str
    backends: tuple[Address, ...]
    affinity_s: int = 0


def build(service: Object, slices: Sequence[Object], node_name: str, node_ip: str) -> dict[Frontend, Rule]:
    """Return the rules of one Service. A frontend without endpoints has none: connections to it are refused."""
    spec, metadata = service["spec"], service["metadata"]
    if spec.get("type") == "ExternalName" or PROXY_NAME in (metadata.get("labels") or {}):
        return {}
    addresses = [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip and ip != "None"]
    name = f"{metadata['namespace']}/{metadata['name']}"
    affinity_s = _affinity_s(spec)
    rules: dict[Frontend, Rule] = {}
    for port in spec.get("ports") or []:
        protocol = port.get("protocol") or "TCP"
        if protocol not in ("TCP", "UDP"):
            continue
        local = spec.get("internalTrafficPolicy") == "Local"
        backends = _backends(slices, port, node_name if local else None)
        for address in addresses:
            if backends:
                rules[Frontend(protocol, address, port["port"], True)] = Rule(name, backends, affinity_s)  # noqa: FBT003
        if port.get("nodePort"):
            local = spec.get("externalTrafficPolicy") == "Local"
            backends = _backends(slices, port, node_name if local else None)
            if backends:
                rules[Frontend(protocol, node_ip, port["nodePort"], False)] = Rule(name, backends, affinity_s)  # noqa: FBT003
    return rules


def _affinity_s(spec: Object) -> int:
    if spec.get("sessionAffinity") != "ClientIP":
        return 0
    config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
    return int(config.get("timeoutSeconds") or AFFINITY_S)


def _backends(slices: Iterable[Object], port: Object, only_node: str | None) -> tuple[Address, ...]:
    """Return ready endpoints; if there are none, those that still serve while they terminate (KEP-1669)."""
    ready: set[Address] = set()
    serving: set[Address] = set()
    for endpoint_slice in slices:
        numbers = [
            entry["port"]
            for entry in endpoint_slice.get("ports") or []
            if (entry.get("name") or "") == (port.get("name") or "")
            and (entry.get("protocol") or "TCP") == (port.get("protocol") or "TCP")
            and entry.get("port")
        ]
        for endpoint in endpoint_slice.get("endpoints") or []:
            if only_node is not None and endpoint.get("nodeName") != only_node:
                continue
            conditions = endpoint.get("conditions") or {}
            found = {(address, number) for address in endpoint.get("addresses") or [] for number in numbers}
            if conditions.get("ready") is not False:
                ready |= found
            elif conditions.get("serving") and conditions.get("terminating"):
                serving |= found
    return tuple(sorted(ready or serving))
