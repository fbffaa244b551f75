"""Objects that are served in two forms: Events of two groups, autoscalers of two versions.

Source: upstream's pkg/apis/core/v1/conversion.go, pkg/apis/events/v1/conversion.go, pkg/apis/autoscaling/v1.
"""

from __future__ import annotations

from typing import Any

import orjson

from oarlock.cluster.objects import status
from oarlock.cluster.objects.resources import Resource, storage_of

Obj = dict[str, Any]

#: An Event's fields: in core, in events.k8s.io.
_EVENT_FIELDS = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)
#: What core's Event always shows and events.k8s.io's leaves out when it is empty.
_SHOWN_EMPTY = ("reportingComponent", "reportingInstance")
_METRICS = "autoscaling.alpha.kubernetes.io/metrics"
_BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_CURRENT_METRICS = "autoscaling.alpha.kubernetes.io/current-metrics"
_CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"


def from_storage(resource: Resource, obj: Obj) -> Obj:
    """Return a stored object in `resource`'s form."""
    shown = _newer_event(obj) if resource.kind == "Event" else _to_v1(obj)
    return {**shown, "kind": resource.kind, "apiVersion": resource.api_version}


def to_storage(resource: Resource, obj: Obj) -> Obj:
    """Return an object given in `resource`'s form as it is stored."""
    kept = _older_event(obj) if resource.kind == "Event" else _to_v2(obj)
    return {**kept, "kind": resource.kind, "apiVersion": storage_of(resource).api_version}


def of_custom(resource: Resource, obj: Obj, api_version: str) -> Obj:
    """Return a custom object in the form of another version.

    Raises ApiError 500 where that needs a webhook.
    """
    custom = resource.custom
    assert custom is not None
    if obj["apiVersion"] != api_version:
        if custom.conversion != "None":
            raise status.internal(
                f"conversion webhook for {obj['apiVersion']}, Kind={resource.kind} failed: webhooks can't be called yet"
            )
        obj = {**obj, "apiVersion": api_version}
    return obj


def _newer_event(obj: Obj) -> Obj:
    return _renamed({k: v for k, v in obj.items() if v or k not in _SHOWN_EMPTY}, dict(_EVENT_FIELDS))


def _older_event(obj: Obj) -> Obj:
    older = _renamed(obj, {other: core for core, other in _EVENT_FIELDS})
    return {**dict.fromkeys(_SHOWN_EMPTY, ""), **older}


def _renamed(obj: Obj, names: dict[str, str]) -> Obj:
    return {names.get(key, key): value for key, value in obj.items()}


def _to_v1(obj: Obj) -> Obj:
    """Autoscaler v2 → v1: the CPU target stands in a field, everything else in annotations."""
    spec, state = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = dict(obj["metadata"].get("annotations") or {})
    metrics = spec.pop("metrics", None) or []
    others = [metric for metric in metrics if not _is_cpu(metric)]
    for metric in metrics:
        if _is_cpu(metric):
            spec["targetCPUUtilizationPercentage"] = metric["resource"]["target"]["averageUtilization"]
    present = state.pop("currentMetrics", None) or []
    for metric in present:
        current = metric.get("resource", {}).get("current", {})
        if (
            metric.get("type") == "Resource"
            and metric["resource"].get("name") == "cpu"
            and "averageUtilization" in current
        ):
            state["currentCPUUtilizationPercentage"] = current["averageUtilization"]
    extra = {
        _METRICS: others,
        _BEHAVIOR: spec.pop("behavior", None),
        _CURRENT_METRICS: present,
        _CONDITIONS: state.pop("conditions", None),
    }
    annotations |= {name: orjson.dumps(value).decode() for name, value in extra.items() if value}
    state = {"currentReplicas": 0, "desiredReplicas": 0, **state}
    return _assembled(obj, annotations, spec, state)


def _to_v2(obj: Obj) -> Obj:
    """Autoscaler v1 → v2."""
    spec, state = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = dict(obj["metadata"].get("annotations") or {})
    metrics = _taken(annotations, _METRICS) or []
    target = spec.pop("targetCPUUtilizationPercentage", None)
    if target is not None:
        cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}
        metrics = [*metrics, {"type": "Resource", "resource": cpu}]
    if metrics:
        spec["metrics"] = metrics
    for name, key, holder in ((_BEHAVIOR, "behavior", spec), (_CONDITIONS, "conditions", state)):
        value = _taken(annotations, name)
        if value is not None:
            holder[key] = value
    current = _taken(annotations, _CURRENT_METRICS)
    state.pop("currentCPUUtilizationPercentage", None)
    state["currentMetrics"] = current
    return _assembled(obj, annotations, spec, state)


def _assembled(obj: Obj, annotations: dict[str, str], spec: Obj, state: Obj) -> Obj:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    return {**obj, "metadata": metadata, "spec": spec, "status": state}


def _is_cpu(metric: Obj) -> bool:
    resource = metric.get("resource") or {}
    return (
        metric.get("type") == "Resource"
        and resource.get("name") == "cpu"
        and "averageUtilization" in (resource.get("target") or {})
    )


def _taken(annotations: dict[str, str], name: str) -> Any:
    text = annotations.pop(name, None)
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
