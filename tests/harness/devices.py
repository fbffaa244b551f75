"""Devices, classes and claims with a few words, as objects."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
DRIVER = "gpu.example.com"


def device_object(name: str, **more: Any) -> Object:
    """A device; `model` and `memory` are an attribute and a capacity of it."""
    device: Object = {"name": name}
    if "model" in more:
        device["attributes"] = {"model": {"string": more.pop("model")}}
    if "memory" in more:
        device["capacity"] = {"memory": {"value": more.pop("memory")}}
    return {**device, **more}


def slice_object(node: str, *devices: Object, pool: str = "", name: str = "", **more: Any) -> Object:
    """A slice of the devices of a node, or with `place` of those that can be used elsewhere; whole unless `count`."""
    pool = pool or node
    place = more.pop("place", {"nodeName": node})
    spec: Object = {
        "driver": more.pop("driver", DRIVER),
        "pool": {
            "name": pool,
            "generation": more.pop("generation", 1),
            "resourceSliceCount": more.pop("count", 1),
        },
        **place,
        **more,
    }
    if devices:
        spec["devices"] = list(devices)
    return {"metadata": {"name": name or f"{pool}-slice"}, "spec": spec}


def class_object(name: str = "gpu", *expressions: str, **more: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"selectors": [_cel(one) for one in expressions], **more}}


def ask(class_name: str = "gpu", *expressions: str, **more: Any) -> Object:
    """What a request asks for exactly, or as one of its alternatives."""
    asked: Object = {"deviceClassName": class_name, "allocationMode": "ExactCount", "count": 1, **more}
    if asked["allocationMode"] == "All":
        del asked["count"]
    if expressions:
        asked["selectors"] = [_cel(one) for one in expressions]
    return asked


def request(name: str = "r", **asked: Any) -> Object:
    """A request of one kind of device; `first` names alternatives, as (name, what is asked for) pairs."""
    if "first" in asked:
        return {"name": name, "firstAvailable": [{"name": one, **what} for one, what in asked["first"]]}
    return {"name": name, "exactly": asked.get("exactly") or ask()}


def device_claim(name: str = "c", *requests: Object, status: Object | None = None, **devices: Any) -> Object:
    """A ResourceClaim; `owner` is the uid of the pod that it was made for."""
    metadata: Object = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    if "owner" in devices:
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": devices.pop("owner"), "controller": True}
        metadata["ownerReferences"] = [owner]
    spec = {"devices": {"requests": list(requests or (request(),)), **devices}}
    return {"metadata": metadata, "spec": spec, "status": status or {}}


def got(*devices: str, node: str = "n0", pool: str = "", **more: Any) -> Object:
    """The status of a claim that has these devices of a node's pool."""
    results = [{"request": "r", "driver": DRIVER, "pool": pool or node, "device": one} for one in devices]
    named = {"key": "metadata.name", "operator": "In", "values": [node]}
    selector = {"nodeSelectorTerms": [{"matchFields": [named]}]}
    return {"allocation": {"devices": {"results": results}, "nodeSelector": selector}, **more}


def used_by(*uids: str) -> list[Object]:
    return [{"resource": "pods", "name": one, "uid": one} for one in uids]


def using(*claims: str) -> list[Object]:
    """A pod's entries for claims of these names."""
    return [{"name": name, "resourceClaimName": name} for name in claims]


def _cel(expression: str) -> Object:
    return {"cel": {"expression": expression}}
