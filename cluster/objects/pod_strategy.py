"""What writes to Pods reset and keep: the status of a new Pod, its QoS class, and its partial updates.

Source: upstream's `pkg/registry/core/pod/strategy.go` and `pkg/apis/core/helper/qos`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from oarlock.cluster.objects import quantity

Obj = dict[str, Any]
_COMPUTE: Final = ("cpu", "memory")


def new_pod(obj: Obj) -> None:
    """A new Pod is Pending, of the QoS class that its resources give it; gated ones say that they wait."""
    if obj["spec"].get("terminationGracePeriodSeconds", 0) < 0:
        obj["spec"]["terminationGracePeriodSeconds"] = 1
    status: Obj = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}
    obj["status"] = status
    if obj["spec"].get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": None,
                "lastTransitionTime": obj["metadata"].get("creationTimestamp"),
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]


def qos_class(spec: Mapping[str, Any]) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort`, by the CPU and memory of the pod or of all its containers."""
    if spec.get("resources"):
        holders: list[Mapping[str, Any]] = [spec["resources"]]
    else:
        containers = (*(spec.get("containers") or ()), *spec.get("initContainers", ()))
        holders = [container.get("resources", {}) for container in containers]
    amounts = [(_amounts(one.get("requests", {})), _amounts(one.get("limits", {}))) for one in holders]
    if not any(requests or limits for requests, limits in amounts):
        return "BestEffort"
    if all(set(limits) == {*_COMPUTE} and _equal(requests, limits) for requests, limits in amounts):
        return "Guaranteed"
    return "Burstable"


def _amounts(resources: Mapping[str, str]) -> dict[str, quantity.Quantity]:
    found = {name: quantity.parse(resources[name]) for name in _COMPUTE if name in resources}
    return {name: amount for name, amount in found.items() if amount}


def _equal(requests: Mapping[str, object], limits: Mapping[str, object]) -> bool:
    return all(requests.get(name, limit) == limit for name, limit in limits.items())


def same_addresses(new: Obj, old: Mapping[str, Any]) -> None:
    """Keep `podIP` the first of `podIPs`, and `hostIP` of `hostIPs`: the one that a status update changed leads.

    Source: upstream's normalizePodStatus conversion of the core group.
    """
    for single, several in (("podIP", "podIPs"), ("hostIP", "hostIPs")):
        address, listed = new.get(single), new.get(several) or []
        if address and (not listed or (address != listed[0].get("ip") and listed == (old.get(several) or []))):
            new[several] = [{"ip": address}, *listed[1:]]
        elif listed and not address:
            new[single] = listed[0].get("ip")


def only_ephemeral_containers(new: Obj, old: Obj) -> None:
    """The `ephemeralcontainers` subresource changes those and nothing else of the spec."""
    wanted = new["spec"].get("ephemeralContainers")
    new["spec"] = {name: value for name, value in old["spec"].items() if name != "ephemeralContainers"}
    if wanted:
        new["spec"]["ephemeralContainers"] = wanted
    _count(new, old)


def only_resources(new: Obj, old: Obj) -> None:
    """The `resize` subresource changes resources and resize policies of containers and nothing else of the spec."""
    wanted = new["spec"]
    new["spec"] = dict(old["spec"])
    for group in ("containers", "initContainers"):
        if group in old["spec"]:
            new["spec"][group] = _resized(old["spec"][group], wanted.get(group) or ())
    _count(new, old)


def _resized(containers: Iterable[Obj], wanted: Iterable[Obj]) -> list[Obj]:
    by_name = {container.get("name"): container for container in wanted}
    out = []
    for container in containers:
        source = by_name.get(container.get("name"), container)
        changed: Obj = {name: source[name] for name in ("resources", "resizePolicy") if name in source}
        out.append({**container, **changed})
    return out


def _count(new: Obj, old: Obj) -> None:
    if new["spec"] != old["spec"]:
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
