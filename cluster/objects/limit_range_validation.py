"""Validate LimitRanges: bounds and defaults that agree with each other.

Source: upstream's `ValidateLimitRange` (pkg/apis/core/validation).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import container_validation, names, pod_resources
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, required
from oarlock.cluster.objects.pod_resources import Amounts
from oarlock.cluster.objects.quantity import NANO, Quantity
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

_TYPES: Final = frozenset({"Pod", "Container", "PersistentVolumeClaim"})
_PARTS: Final = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
_DEFAULTS: Final = ("default", "defaultRequest")
_STANDARD: Final = frozenset(
    {
        *("cpu", "memory", "ephemeral-storage", "storage", "pods", "services", "replicationcontrollers"),
        *("resourcequotas", "secrets", "configmaps", "persistentvolumeclaims", "services.nodeports"),
        *("services.loadbalancers", "requests.cpu", "requests.memory", "requests.ephemeral-storage"),
        *("requests.storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage"),
    }
)
_ORDERED: Final = (
    ("min", "max", "min", "min", "min value {} is greater than max value {}"),
    (
        "min",
        "defaultRequest",
        "defaultRequest",
        "defaultRequest",
        "min value {} is greater than default request value {}",
    ),
    (
        "defaultRequest",
        "max",
        "defaultRequest",
        "defaultRequest",
        "default request value {} is greater than max value {}",
    ),
    (
        *("defaultRequest", "default", "defaultRequest", "defaultRequest"),
        "default request value {} is greater than default limit value {}",
    ),
    ("min", "default", "default", "min", "min value {} is greater than default value {}"),
    ("default", "max", "default", "max", "default value {} is greater than max value {}"),
)
"""Pairs of which the first may not be greater: with the part that is blamed, whose value is shown, and the words."""


def limit_range(obj: Obj) -> list[Cause]:
    """What is wrong with a LimitRange beyond its metadata."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{index}]", item.get("type") or ""
        causes += _type(kind, f"{path}.type")
        if kind in seen:
            causes.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
        causes += _item(item, kind, path)
    return causes


def _type(kind: str, path: str) -> list[Cause]:
    causes = [invalid(path, kind, why) for why in names.qualified_name(kind)]
    if not causes and "/" not in kind and kind not in _TYPES:
        causes.append(invalid(path, kind, "must be a standard limit type or fully qualified"))
    return causes


def _item(item: Obj, kind: str, path: str) -> list[Cause]:
    causes: list[Cause] = []
    amounts: dict[str, Amounts] = {}
    for part in _PARTS:
        given: Obj = item.get(part) or {}
        if kind == "Pod" and part in _DEFAULTS:
            if given:
                causes.append(forbidden(f"{path}.{part}", "may not be specified when `type` is 'Pod'"))
            continue
        if part == "maxLimitRequestRatio":
            causes += _storage(item, kind, path)
        for name in given:
            causes += _resource_name(name, kind, f"{path}.{part}[{name}]")
        amounts[part] = pod_resources.parsed(given)
    for name in sorted({name for part in amounts.values() for name in part}):
        causes += _agreement({part: held[name] for part, held in amounts.items() if name in held}, name, path)
    return causes


def _storage(item: Obj, kind: str, path: str) -> list[Cause]:
    if kind != "PersistentVolumeClaim" or any("storage" in (item.get(part) or {}) for part in ("min", "max")):
        return []
    why = "either minimum or maximum storage value is required, but neither was provided"
    return [required(f"{path}.limits", why)]


def _resource_name(name: str, kind: str, path: str) -> list[Cause]:
    if kind in ("Pod", "Container"):
        return container_validation.resource_name(name, path)
    causes = [invalid(path, name, why) for why in names.qualified_name(name)]
    huge = name.startswith(("hugepages-", "requests.hugepages-"))
    if not causes and "/" not in name and name not in _STANDARD and not huge:
        causes.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    return causes


def _agreement(values: Mapping[str, Quantity], name: str, path: str) -> list[Cause]:
    """What of one resource's bounds and defaults contradicts the rest."""
    causes: list[Cause] = []
    for lower, upper, blamed, shown, words in _ORDERED:
        if lower in values and upper in values and values[lower] > values[upper]:
            why = words.format(values[lower], values[upper])
            causes.append(invalid(f"{path}.{blamed}[{name}]", str(values[shown]), why))
    causes += _ratio(values, f"{path}.maxLimitRequestRatio[{name}]")
    limit, request = values.get("default"), values.get("defaultRequest")
    if not _may_overcommit(name) and limit is not None and request is not None and limit != request:
        why = f"default value {limit} must equal to defaultRequest value {request} in {name}"
        causes.append(invalid(f"{path}.defaultRequest[{name}]", str(request), why))
    return causes


def _ratio(values: Mapping[str, Quantity], path: str) -> list[Cause]:
    ratio = values.get("maxLimitRequestRatio")
    if ratio is None:
        return []
    causes = []
    if ratio.nano < NANO:
        causes.append(invalid(path, str(ratio), f"ratio {ratio} is less than 1"))
    if "min" in values and "max" in values:
        least, most = values["min"].value, values["max"].value
        possible = float(most / least) if least else float("inf") if most else float("nan")
        if float(ratio.value) > possible:
            causes.append(invalid(path, str(ratio), f"ratio {ratio} is greater than max/min = {possible:f}"))
    return causes


def _may_overcommit(name: str) -> bool:
    return ("/" not in name or "kubernetes.io/" in name) and not name.startswith("hugepages-")
