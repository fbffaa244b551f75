"""The scale subresource (autoscaling/v1 Scale) of the workloads that have one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oarlock.cluster.objects import selectors
from oarlock.cluster.objects.custom import scale as custom_scale
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import Cause, bad_request, conflict, internal, invalid

_IDENTITY = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def to_scale(resource: Resource, obj: Mapping[str, Any]) -> dict[str, Any]:
    """The Scale of a Deployment, ReplicaSet, StatefulSet, ReplicationController or custom object.

    Raises ApiError 500 for a custom object without the field that holds its replicas.
    """
    metadata = obj["metadata"]
    replicas, present, selector = _counts(resource, obj)
    status: dict[str, Any] = {"replicas": present}
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in _IDENTITY if key in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def from_scale(resource: Resource, obj: Mapping[str, Any], scale: Mapping[str, Any]) -> dict[str, Any]:
    """Return `obj` with the replicas that `scale` asks for.

    Raises ApiError: 400 for another object's name, 409 for a stale resourceVersion or another uid, 422 for a negative
    count.
    """
    metadata, asked = obj["metadata"], scale.get("metadata") or {}
    name = asked.get("name") or ""
    if name and name != metadata["name"]:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({metadata['name']})")
    for key in ("resourceVersion", "uid"):
        if asked.get(key) and asked[key] != metadata.get(key):
            raise conflict(resource.qualified, metadata["name"])
    replicas = (scale.get("spec") or {}).get("replicas") or 0
    if replicas < 0:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise invalid("Scale", "autoscaling", name, [Cause("FieldValueInvalid", message, "spec.replicas")])
    if resource.custom is not None:
        assert resource.custom.scale is not None
        return custom_scale.with_replicas(resource.custom.scale, obj, replicas)
    return {**obj, "spec": {**obj.get("spec", {}), "replicas": replicas}}


def _counts(resource: Resource, obj: Mapping[str, Any]) -> tuple[int, int, str]:
    if resource.custom is None:
        wanted = obj.get("spec", {}).get("replicas", 1)
        return wanted, obj.get("status", {}).get("replicas", 0), _selector_text(resource, obj)
    paths = resource.custom.scale
    assert paths is not None
    found, present, selector = custom_scale.counts(paths, obj)
    if found is None:
        path = "." + ".".join(str(step) for step in paths.spec_replicas)
        raise internal(f'the spec replicas field "{path}" does not exist')
    return found, present, selector


def _selector_text(resource: Resource, obj: Mapping[str, Any]) -> str:
    selector = obj.get("spec", {}).get("selector")
    if resource.kind == "ReplicationController":
        return str(selectors.from_labels(selector))
    return str(selectors.from_object(selector))
