"""What updates of Services carry over, and what a change of type lets go.

Addresses and ports themselves are allocated by the API server, in the Service's own transaction.
"""

from __future__ import annotations

import copy
from typing import Any

Obj = dict[str, Any]


def carry_over(wanted: Obj, present: Obj) -> None:
    """Fill in, in place, what an update's spec leaves out of the values that were allocated for the present one.

    Whoever sends the same text again that made the Service means no change. Source: patchAllocatedValues,
    normalizeClusterIPs in `pkg/registry/core/service/storage/storage.go`.
    """
    if "ExternalName" not in (wanted["type"], present["type"]):
        for name in ("clusterIP", "clusterIPs"):
            if not wanted.get(name) and present.get(name):
                wanted[name] = copy.copy(present[name])
    if _has_node_ports(wanted["type"]) and _has_node_ports(present["type"]):
        _carry_node_ports(wanted, present)
    checked = needs_health_check(wanted) and needs_health_check(present)
    if checked and present.get("healthCheckNodePort") and not wanted.get("healthCheckNodePort"):
        wanted["healthCheckNodePort"] = present["healthCheckNodePort"]
    same_address(wanted, present)


def same_address(wanted: Obj, present: Obj | None) -> None:
    """Make `clusterIP` and `clusterIPs` agree where a client knows one of them only. Source: normalizeClusterIPs."""
    one, many = wanted.get("clusterIP", ""), wanted.get("clusterIPs") or []
    if present is None:
        if one and not many:
            wanted["clusterIPs"] = [one]
        return
    had, had_many = present.get("clusterIP", ""), present.get("clusterIPs") or []
    if one == had:
        if had_many and not many:
            wanted["clusterIPs"] = list(had_many)
    elif many == had_many:
        if one:
            wanted["clusterIPs"] = [one]
        else:
            wanted.pop("clusterIPs", None)


def updated_service(new: Obj, old: Obj) -> None:
    """Drop, in place, allocated values that the new type does not use, unless the client has changed them.

    What it changed it must mean. Source: dropTypeDependentFields in `pkg/registry/core/service/strategy.go`.
    """
    wanted, present = new["spec"], old["spec"]
    was, becomes = present["type"], wanted["type"]
    if was != "ExternalName" and becomes == "ExternalName":
        if all(wanted.get(name) == present.get(name) for name in ("clusterIP", "clusterIPs")):
            _drop_same(wanted, present, "clusterIP", "clusterIPs")
        _drop_same(wanted, present, "ipFamilies", "ipFamilyPolicy")
    if _has_node_ports(was) and not _has_node_ports(becomes) and _numbers(wanted) <= _numbers(present):
        for port in wanted.get("ports", ()):
            port.pop("nodePort", None)
    if needs_health_check(present) and not needs_health_check(wanted):
        _drop_same(wanted, present, "healthCheckNodePort")
    if was == "LoadBalancer" != becomes:
        _drop_same(wanted, present, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if _is_external(present) and not _is_external(wanted):
        _drop_same(wanted, present, "externalTrafficPolicy")
    if becomes != "LoadBalancer" and new.get("status", {}).get("loadBalancer"):
        new["status"] = {**new["status"], "loadBalancer": {}}


def needs_health_check(spec: Obj) -> bool:
    """Tell whether a load balancer must be able to ask each node for endpoints of its own."""
    return bool(spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local")


def _has_node_ports(kind: str) -> bool:
    return kind in {"NodePort", "LoadBalancer"}


def _is_external(spec: Obj) -> bool:
    return _has_node_ports(spec["type"]) or bool(spec.get("externalIPs"))


def _drop_same(wanted: Obj, present: Obj, *names: str) -> None:
    for name in names:
        if name in wanted and wanted[name] == present.get(name):
            del wanted[name]


def _numbers(spec: Obj) -> set[int]:
    return {port["nodePort"] for port in spec.get("ports", ()) if port.get("nodePort")}


def _carry_node_ports(wanted: Obj, present: Obj) -> None:
    """A port that had a number keeps it, known by its name, unless another port asks for that number."""
    used = _numbers(present) & _numbers(wanted)
    by_name = {port.get("name", ""): port.get("nodePort") for port in present.get("ports", ())}
    for port in wanted.get("ports", ()):
        had = by_name.get(port.get("name", ""))
        if not port.get("nodePort") and had and had not in used:
            port["nodePort"] = had
