"""HorizontalPodAutoscalers in the first version's form and the second's.

The first version has one field for a CPU target; whatever else the second knows travels in annotations: metrics as
they looked in the first version's Go types, the behaviour as upstream's own form of it, by its fields' names in Go.
Source: upstream's `pkg/apis/autoscaling/v1/conversion.go`, `pkg/apis/autoscaling/annotations.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from oarlock.cluster.objects.conforming import Conforming, Mismatch
from oarlock.cluster.objects.schemas import schema_of_type

Obj = dict[str, Any]

_PREFIX: Final = "autoscaling.alpha.kubernetes.io/"
_METRICS: Final = f"{_PREFIX}metrics"
_BEHAVIOR: Final = f"{_PREFIX}behavior"
_CURRENT_METRICS: Final = f"{_PREFIX}current-metrics"
_CONDITIONS: Final = f"{_PREFIX}conditions"
_TRAVELLING: Final = frozenset(
    {
        *(_METRICS, _BEHAVIOR, _CURRENT_METRICS, _CONDITIONS),
        *(f"{_PREFIX}scale-down-tolerance", f"{_PREFIX}scale-up-tolerance"),
    }
)
_TYPES: Final = "io.k8s.api.autoscaling.v2."


class _Field(NamedTuple):
    """A source's field in the first version, its place in the second, and what it is where it isn't set."""

    older: str
    newer: tuple[str, ...]
    zero: Any = None


_NAME: Final = _Field("name", ("name",), "")
_CONTAINER: Final = _Field("container", ("container",), "")
_ABOUT: Final = _Field("target", ("describedObject",))
_NAMED: Final = _Field("metricName", ("metric", "name"), "")
_SELECTOR: Final = _Field("selector", ("metric", "selector"))
_OUTER_SELECTOR: Final = _Field("metricSelector", ("metric", "selector"))
_SHARE: Final = _Field("targetAverageUtilization", ("target", "averageUtilization"))
_AMOUNT: Final = _Field("targetAverageValue", ("target", "averageValue"))
_USED_SHARE: Final = _Field("currentAverageUtilization", ("current", "averageUtilization"))
_USED: Final = _Field("currentAverageValue", ("current", "averageValue"), "0")
#: A metric's sources, their fields in the order of the first version's types.
_SPECS: Final[Mapping[str, tuple[_Field, ...]]] = {
    "object": (
        _ABOUT,
        _NAMED,
        _Field("targetValue", ("target", "value"), "0"),
        _SELECTOR,
        _Field("averageValue", ("target", "averageValue")),
    ),
    "pods": (_NAMED, _Field("targetAverageValue", ("target", "averageValue"), "0"), _SELECTOR),
    "resource": (_NAME, _SHARE, _AMOUNT),
    "containerResource": (_NAME, _SHARE, _AMOUNT, _CONTAINER),
    "external": (_NAMED, _OUTER_SELECTOR, _Field("targetValue", ("target", "value")), _AMOUNT),
}
_STATUSES: Final[Mapping[str, tuple[_Field, ...]]] = {
    "object": (
        _ABOUT,
        _NAMED,
        _Field("currentValue", ("current", "value"), "0"),
        _SELECTOR,
        _Field("averageValue", ("current", "averageValue")),
    ),
    "pods": (_NAMED, _USED, _SELECTOR),
    "resource": (_NAME, _USED_SHARE, _USED),
    "containerResource": (_NAME, _USED_SHARE, _USED, _CONTAINER),
    "external": (
        _NAMED,
        _OUTER_SELECTOR,
        _Field("currentValue", ("current", "value"), "0"),
        _Field("currentAverageValue", ("current", "averageValue")),
    ),
}
#: What the first version doesn't say of a target: its type if a field is there, and if it isn't.
_TARGET_TYPES: Final[Mapping[str, tuple[str, str, str]]] = {
    "object": ("averageValue", "AverageValue", "Value"),
    "pods": ("averageValue", "AverageValue", "AverageValue"),
    "resource": ("averageUtilization", "Utilization", "AverageValue"),
    "containerResource": ("averageUtilization", "Utilization", "AverageValue"),
    "external": ("value", "Value", "AverageValue"),
}
_DIRECTIONS: Final = (("ScaleUp", "scaleUp"), ("ScaleDown", "scaleDown"))
_RULES: Final = (
    ("StabilizationWindowSeconds", "stabilizationWindowSeconds"),
    ("SelectPolicy", "selectPolicy"),
    ("Policies", "policies"),
    ("Tolerance", "tolerance"),
)
_CONDITION: Final = ("type", "status", "lastTransitionTime", "reason", "message")
_POLICY: Final = (("Type", "type"), ("Value", "value"), ("PeriodSeconds", "periodSeconds"))


def lowered(obj: Mapping[str, Any]) -> Obj:
    """An autoscaler of the second version in the first one's form."""
    spec, state = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    metrics, present = spec.pop("metrics", None) or [], state.pop("currentMetrics", None) or []
    behavior, conditions = spec.pop("behavior", None), state.pop("conditions", None)
    for metric in metrics:
        if _is_cpu(metric, "target"):
            spec["targetCPUUtilizationPercentage"] = metric["resource"]["target"]["averageUtilization"]
            break
    for metric in present:
        if _is_cpu(metric, "current"):
            state["currentCPUUtilizationPercentage"] = metric["resource"]["current"]["averageUtilization"]
    travelling = {
        _METRICS: [_older(metric, _SPECS) for metric in metrics if not _is_cpu(metric, "target")],
        _CURRENT_METRICS: [_older(metric, _STATUSES) for metric in present],
        _BEHAVIOR: _behavior_in_go(behavior) if behavior is not None else None,
        _CONDITIONS: [{name: one[name] for name in _CONDITION if name in one} for one in conditions or ()],
    }
    annotations = kept(obj) | {name: _json(value) for name, value in travelling.items() if value}
    return _assembled(obj, annotations, spec, {"currentReplicas": 0, "desiredReplicas": 0, **state})


def _json(value: Any) -> str:
    """JSON as Go writes it, who is careful about HTML."""
    text = orjson.dumps(value).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def lifted(obj: Mapping[str, Any]) -> Obj:
    """An autoscaler of the first version in the second one's form; annotations that can't be read are dropped."""
    spec, state = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = obj["metadata"].get("annotations") or {}
    share, used = spec.pop("targetCPUUtilizationPercentage", None), state.pop("currentCPUUtilizationPercentage", None)
    metrics = _read(annotations, _METRICS, "MetricSpec", lambda one: _newer(one, _SPECS)) or []
    if share is not None:
        metrics.append(_cpu("target", {"type": "Utilization", "averageUtilization": share}))
    if metrics:
        spec["metrics"] = metrics
    behavior = _read_behavior(annotations)
    if behavior:
        spec["behavior"] = behavior
    current = _read(annotations, _CURRENT_METRICS, "MetricStatus", lambda one: _newer(one, _STATUSES))
    state["currentMetrics"] = current or ([_cpu("current", {"averageUtilization": used})] if used is not None else None)
    conditions = _read(annotations, _CONDITIONS, "HorizontalPodAutoscalerCondition", lambda one: one)
    if conditions:
        state["conditions"] = conditions
    return _assembled(obj, kept(obj), spec, state)


def kept(obj: Mapping[str, Any]) -> dict[str, str]:
    """The annotations that aren't parts of an autoscaler on their way through the first version."""
    annotations: dict[str, str] = obj["metadata"].get("annotations") or {}
    return {name: text for name, text in annotations.items() if name not in _TRAVELLING}


def _assembled(obj: Mapping[str, Any], annotations: dict[str, str], spec: Obj, state: Obj) -> Obj:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    return {**obj, "metadata": metadata, "spec": spec, "status": state}


def _is_cpu(metric: Obj, part: str) -> bool:
    """Whether a metric is the one that the first version has a field for."""
    resource = metric.get("resource") or {}
    is_share = "averageUtilization" in (resource.get(part) or {})
    return metric.get("type") == "Resource" and resource.get("name") == "cpu" and is_share


def _cpu(part: str, value: Obj) -> Obj:
    return {"type": "Resource", "resource": {"name": "cpu", part: value}}


def _older(metric: Obj, sources: Mapping[str, tuple[_Field, ...]]) -> Obj:
    made: Obj = {"type": metric.get("type", "")}
    for name, fields in sources.items():
        if name in metric:
            pairs = ((field, _at(metric[name], field.newer)) for field in fields)
            values = ((field.older, field.zero if value is None else value) for field, value in pairs)
            made[name] = {older: value for older, value in values if value is not None}
    return made


def _newer(metric: Obj, sources: Mapping[str, tuple[_Field, ...]]) -> Obj:
    made: Obj = {"type": metric.get("type", "")}
    for name, fields in sources.items():
        if metric.get(name) is None:
            continue
        source: Obj = {}
        for field in fields:
            value = metric[name].get(field.older)
            value = field.zero if value is None else value
            if value is not None:
                _put(source, field.newer, value)
        if sources is _SPECS:
            deciding, there, absent = _TARGET_TYPES[name]
            target = source.setdefault("target", {})
            target["type"] = there if deciding in target else absent
        made[name] = source
    return made


def _at(source: Obj, path: tuple[str, ...]) -> Any:
    node: Any = source
    for step in path:
        node = (node or {}).get(step)
    return node


def _put(source: Obj, path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        source = source.setdefault(step, {})
    source[path[-1]] = value


def _read(annotations: Mapping[str, str], name: str, kind: str, convert: Callable[[Obj], Obj]) -> list[Obj] | None:
    """The things of one kind that an annotation lists; None where it can't be read, as if it weren't there."""
    try:
        items = orjson.loads(annotations.get(name) or "null")
        schema = schema_of_type(_TYPES + kind)
        return [Conforming().object(schema, convert(item)) for item in items or ()]
    except (orjson.JSONDecodeError, Mismatch, AttributeError, TypeError):
        return None


def _behavior_in_go(behavior: Obj) -> Obj:
    return {go: _rules_in_go(behavior[name]) if name in behavior else None for go, name in _DIRECTIONS}


def _rules_in_go(rules: Obj) -> Obj:
    made = {go: rules.get(name) for go, name in _RULES}
    if made["Policies"] is not None:
        made["Policies"] = [{go: one.get(name) for go, name in _POLICY} for one in made["Policies"]]
    return made


def _read_behavior(annotations: Mapping[str, str]) -> Obj | None:
    try:
        told = orjson.loads(annotations.get(_BEHAVIOR) or "{}")
        made = {name: _rules_from_go(told[go]) for go, name in _DIRECTIONS if told.get(go) is not None}
        return Conforming().object(schema_of_type(f"{_TYPES}HorizontalPodAutoscalerBehavior"), made)
    except (orjson.JSONDecodeError, Mismatch, AttributeError, TypeError):
        return None


def _rules_from_go(told: Obj) -> Obj:
    rules = {name: told[go] for go, name in _RULES if told.get(go) is not None}
    if "policies" in rules:
        rules["policies"] = [{name: one.get(go) for go, name in _POLICY} for one in rules["policies"]]
    return rules
