"""Validate HorizontalPodAutoscalers, in both served versions: bounds, target, metrics, behaviour.

Source: upstream's `pkg/apis/autoscaling/validation/validation.go` and the options that
`pkg/registry/autoscaling/horizontalpodautoscaler/strategy.go` gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from oarlock.cluster.objects import autoscaler_forms, names, quantity
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required
from oarlock.cluster.objects.resource_validation import NOT_NEGATIVE, resource_name
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

_METRIC_TYPES: Final = ("ContainerResource", "External", "Object", "Pods", "Resource")
_TARGET_TYPES: Final = ("Utilization", "Value", "AverageValue")
_SELECT_POLICIES: Final = ("Disabled", "Max", "Min")
_POLICY_TYPES: Final = ("Percent", "Pods")
_WINDOW_SECONDS_MAX: Final = 3600
_PERIOD_SECONDS_MAX: Final = 1800
_UNFILLED: Final = "must populate information for the given metric source"
_NO_GROUP: Final = "apiVersion must specify API group"


def autoscaler(obj: Obj) -> list[Cause]:
    """What is wrong with a new HorizontalPodAutoscaler beyond its metadata."""
    return _spec(_newer_spec(obj), replicas_min=1, known_target=None)


def autoscaler_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with one that replaces `old`; what was odd about `old` may stay odd."""
    before = _newer_spec(old)
    low = 0 if before.get("minReplicas") == 0 else 1
    causes = _spec(_newer_spec(new), replicas_min=low, known_target=before.get("scaleTargetRef", {}))
    described = [one["object"].get("describedObject", {}) for one in before.get("metrics") or () if "object" in one]
    if any(_version_error(one.get("apiVersion", ""), needs_group=False) for one in described):
        return [cause for cause in causes if not cause.field.endswith(".describedObject.apiVersion")]
    return causes


def _newer_spec(obj: Obj) -> Obj:
    """The spec in the second version's form, in which upstream tells what is wrong with either."""
    spec: Obj = autoscaler_forms.lifted(obj)["spec"] if obj["apiVersion"] == "autoscaling/v1" else obj["spec"]
    return spec


def _spec(spec: Obj, *, replicas_min: int, known_target: Obj | None) -> list[Cause]:
    causes: list[Cause] = []
    low, high = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if low is not None and low < replicas_min:
        causes.append(invalid("spec.minReplicas", low, f"must be greater than or equal to {replicas_min}"))
    if high < 1:
        causes.append(required("spec.maxReplicas", "must be set and greater than 0"))
    if low is not None and high < low:
        causes.append(invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    causes += _target(spec.get("scaleTargetRef", {}), known_target)
    metrics = spec.get("metrics") or ()
    for index, metric in enumerate(metrics):
        causes += _metric(metric, f"spec.metrics[{index}]")
    if low == 0 and not {"Object", "External"} & {metric.get("type") for metric in metrics}:
        why = "must specify at least one Object or External metric to support scaling to zero replicas"
        causes.append(forbidden("spec.metrics", why))
    behavior = spec.get("behavior") or {}
    for direction in ("scaleUp", "scaleDown"):
        if direction in behavior:
            causes += _scaling_rules(behavior[direction], f"spec.behavior.{direction}")
    return causes


def _target(target: Obj, known: Obj | None) -> list[Cause]:
    """A target whose kind stays keeps its version, whatever that says; only core's one scalable kind has no group."""
    causes = _reference(target, "spec.scaleTargetRef")
    if known is not None and all(target.get(name, "") == known.get(name, "") for name in ("apiVersion", "kind")):
        return causes
    needs_group = target.get("kind") != "ReplicationController"
    return causes + _version(target, "spec.scaleTargetRef", needs_group=needs_group)


def _reference(target: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("kind", "name"):
        value = target.get(name, "")
        if not value:
            causes.append(required(f"{path}.{name}"))
        else:
            causes += [invalid(f"{path}.{name}", value, why) for why in names.path_segment(value)]
    return causes


def _version(target: Obj, path: str, *, needs_group: bool) -> list[Cause]:
    text = target.get("apiVersion", "")
    why = _version_error(text, needs_group=needs_group)
    return [invalid(f"{path}.apiVersion", text, why)] if why else []


def _version_error(text: str, *, needs_group: bool) -> str:
    if text.count("/") > 1:
        return f"unexpected GroupVersion string: {text}"
    group = text.rpartition("/")[0]
    return _NO_GROUP if needs_group and not group else ""


def _metric(metric: Obj, path: str) -> list[Cause]:
    """Exactly one source, the one that the type names, is described; only the first one is looked into."""
    kind = metric.get("type", "")
    unknown = not_supported(f"{path}.type", kind, _METRIC_TYPES)
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{path}.type", "must specify a metric source type"))
    if kind not in _METRIC_TYPES:
        causes.append(unknown)
    present = [name for name in _SOURCES if name in metric]
    for name in present[:1]:
        causes += _SOURCES[name](metric[name], f"{path}.{name}")
    expected = kind[:1].lower() + kind[1:]
    if kind not in _METRIC_TYPES:
        causes.append(unknown)  # upstream says it twice
    elif expected not in metric:
        causes.append(required(f"{path}.{expected}", _UNFILLED))
    if len(present) > 1:
        only = "must populate the given metric source only"
        causes += [forbidden(f"{path}.{name}", only) for name in present if name != expected]
    return causes


def _object(source: Obj, path: str) -> list[Cause]:
    described = source.get("describedObject", {})
    causes = _reference(described, f"{path}.describedObject")
    causes += _version(described, f"{path}.describedObject", needs_group=False)
    causes += _identified(source, path)
    if not _has(source, "value") and not _has(source, "averageValue"):
        causes.append(required(f"{path}.target.averageValue", "must set either a target value or averageValue"))
    return causes


def _external(source: Obj, path: str) -> list[Cause]:
    causes = _identified(source, path)
    if not _has(source, "value") and not _has(source, "averageValue"):
        why = "must set either a target value for metric or a per-pod target"
        causes.append(required(f"{path}.target.averageValue", why))
    if _has(source, "value") and _has(source, "averageValue"):
        why = "may not set both a target value for metric and a per-pod target"
        causes.append(forbidden(f"{path}.target.value", why))
    return causes


def _pods(source: Obj, path: str) -> list[Cause]:
    causes = _identified(source, path)
    if not _has(source, "averageValue"):
        causes.append(required(f"{path}.target.averageValue", "must specify a positive target averageValue"))
    return causes


def _resource(source: Obj, path: str) -> list[Cause]:
    causes = [] if source.get("name") else [required(f"{path}.name", "must specify a resource name")]
    return causes + _used(source, path)


def _container_resource(source: Obj, path: str) -> list[Cause]:
    name, container = source.get("name", ""), source.get("container", "")
    causes = resource_name(name, f"{path}.name") if name else [required(f"{path}.name", "must specify a resource name")]
    if not container:
        causes.append(required(f"{path}.container", "must specify a container"))
    else:
        causes += [invalid(f"{path}.container", container, why) for why in names.dns_label(container)]
    return causes + _used(source, path)


#: The sources of a metric in the order in which upstream looks at them.
_SOURCES: Final[Mapping[str, Callable[[Obj, str], list[Cause]]]] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "containerResource": _container_resource,
}


def _has(source: Obj, name: str) -> bool:
    return name in source.get("target", {})


def _identified(source: Obj, path: str) -> list[Cause]:
    """A metric by its name, and its target."""
    name, place = source.get("metric", {}).get("name", ""), f"{path}.metric.name"
    causes = [invalid(place, name, why) for why in names.path_segment(name)]
    if not name:
        causes = [required(place, "must specify a metric name")]
    return causes + _metric_target(source.get("target", {}), f"{path}.target")


def _used(source: Obj, path: str) -> list[Cause]:
    """The target of a resource's use: a share of what was asked for, or an amount."""
    causes = _metric_target(source.get("target", {}), f"{path}.target")
    if not _has(source, "averageUtilization") and not _has(source, "averageValue"):
        why = "must set either a target raw value or a target utilization"
        causes.append(required(f"{path}.target.averageUtilization", why))
    if _has(source, "averageUtilization") and _has(source, "averageValue"):
        why = "may not set both a target raw value and a target utilization"
        causes.append(forbidden(f"{path}.target.averageValue", why))
    return causes


def _metric_target(target: Obj, path: str) -> list[Cause]:
    kind, share = target.get("type", ""), target.get("averageUtilization")
    causes: list[Cause] = []
    if not kind:
        causes.append(required(f"{path}.type", "must specify a metric target type"))
    if kind not in _TARGET_TYPES:
        causes.append(invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue"))
    causes += [
        invalid(f"{path}.{name}", target[name], "must be positive")
        for name in ("value", "averageValue")
        if name in target and quantity.parse(target[name]) <= quantity.ZERO
    ]
    if share is not None and share < 1:
        causes.append(invalid(f"{path}.averageUtilization", share, "must be greater than 0"))
    return causes


def _scaling_rules(rules: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    window, policy = rules.get("stabilizationWindowSeconds"), rules.get("selectPolicy")
    if window is not None and window < 0:
        causes.append(invalid(f"{path}.stabilizationWindowSeconds", window, "must be greater than or equal to zero"))
    if window is not None and window > _WINDOW_SECONDS_MAX:
        why = f"must be less than or equal to {_WINDOW_SECONDS_MAX}"
        causes.append(invalid(f"{path}.stabilizationWindowSeconds", window, why))
    if policy is not None and policy not in _SELECT_POLICIES:
        causes.append(not_supported(f"{path}.selectPolicy", policy, _SELECT_POLICIES))
    policies = rules.get("policies") or ()
    if not policies:
        causes.append(required(f"{path}.policies", "must specify at least one Policy"))
    for index, one in enumerate(policies):
        causes += _scaling_policy(one, f"{path}.policies[{index}]")
    if "tolerance" in rules and quantity.parse(rules["tolerance"]) < quantity.ZERO:
        causes.append(invalid(f"{path}.tolerance", rules["tolerance"], NOT_NEGATIVE))
    return causes


def _scaling_policy(policy: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    kind, period = policy.get("type", ""), policy.get("periodSeconds", 0)
    if kind not in _POLICY_TYPES:
        causes.append(not_supported(f"{path}.type", kind, _POLICY_TYPES))
    if policy.get("value", 0) <= 0:
        causes.append(invalid(f"{path}.value", policy.get("value", 0), "must be greater than zero"))
    if period <= 0:
        causes.append(invalid(f"{path}.periodSeconds", period, "must be greater than zero"))
    if period > _PERIOD_SECONDS_MAX:
        causes.append(invalid(f"{path}.periodSeconds", period, f"must be less than or equal to {_PERIOD_SECONDS_MAX}"))
    return causes
