"""What writes to Services reset and carry over: address families, and what a change of type releases.

Source: upstream's `pkg/registry/core/service/{strategy,storage/alloc}.go`. Addresses and ports themselves are
allocated by the API server, in the Service's own transaction.
"""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]


def new_service(obj: Obj) -> None:
    """Single-stack families unless the client asks otherwise; a headless service's address is `None` in both fields."""
    spec = obj["spec"]
    if spec["type"] == "ExternalName":
        return
    _same_address(spec)
    if "ipFamilyPolicy" not in spec:
        spec["ipFamilyPolicy"] = "SingleStack"
        if spec.get("clusterIP") == "None" and not spec.get("selector"):
            spec["ipFamilyPolicy"] = "RequireDualStack"
    if not spec.get("ipFamilies"):
        spec["ipFamilies"] = ["IPv6" if ":" in spec.get("clusterIP", "") else "IPv4"]
    if spec["ipFamilyPolicy"] == "RequireDualStack" and spec.get("clusterIP") == "None":
        spec["ipFamilies"] = list(dict.fromkeys([*spec["ipFamilies"], "IPv4", "IPv6"]))


def _same_address(spec: Obj) -> None:
    """`clusterIP` is the first of `clusterIPs`."""
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def updated_service(new: Obj, old: Obj) -> None:
    """Carry allocated values over where the client left them out, and drop those that the new type does not use.

    Only values that the client sent back unchanged are dropped: what it changed it must mean.
    """
    wanted, present = new["spec"], old["spec"]
    _release(wanted, present)
    if wanted["type"] == "ExternalName":
        return
    if present["type"] != "ExternalName":
        if not wanted.get("clusterIP") and not wanted.get("clusterIPs"):
            for name in ("clusterIP", "clusterIPs"):
                if name in present:
                    wanted[name] = present[name]
        for name in ("ipFamilies", "ipFamilyPolicy"):
            if name not in wanted and name in present:
                wanted[name] = present[name]
    _same_address(wanted)
    _carry_node_ports(wanted, present)


def _release(wanted: Obj, present: Obj) -> None:
    was, becomes = present["type"], wanted["type"]
    if was != "ExternalName" and becomes == "ExternalName":
        _drop_same(wanted, present, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
    if _has_node_ports(was) and not _has_node_ports(becomes):
        numbers = [[port.get("nodePort") for port in spec.get("ports", ())] for spec in (wanted, present)]
        if numbers[0] == numbers[1]:
            for port in wanted.get("ports", ()):
                port.pop("nodePort", None)
    if was == "LoadBalancer" != becomes:
        _drop_same(wanted, present, "allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort")
    if _is_external(present) and not _is_external(wanted):
        _drop_same(wanted, present, "externalTrafficPolicy")


def _has_node_ports(kind: str) -> bool:
    return kind in {"NodePort", "LoadBalancer"}


def _is_external(spec: Obj) -> bool:
    return _has_node_ports(spec["type"]) or bool(spec.get("externalIPs"))


def _drop_same(wanted: Obj, present: Obj, *names: str) -> None:
    for name in names:
        if name in wanted and wanted[name] == present.get(name):
            del wanted[name]


def _carry_node_ports(wanted: Obj, present: Obj) -> None:
    if not (_has_node_ports(wanted["type"]) and _has_node_ports(present["type"])):
        return
    taken = {port["nodePort"] for port in wanted.get("ports", ()) if port.get("nodePort")}
    by_port = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in present.get("ports", ())}
    for port in wanted.get("ports", ()):
        had = by_port.get((port.get("protocol"), port.get("port")))
        if not port.get("nodePort") and had and had not in taken:
            port["nodePort"] = had
            taken.add(had)
    if present.get("healthCheckNodePort") and wanted.get("externalTrafficPolicy") == "Local":
        wanted.setdefault("healthCheckNodePort", present["healthCheckNodePort"])
