"""Validate LimitRanges: what is limited by which amounts, and that the amounts agree with each other.

Source: upstream's `ValidateLimitRange` in pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import names, quantity
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, required
from oarlock.cluster.objects.quota_validation import STANDARD
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
Amounts = Mapping[str, quantity.Quantity]
_TYPES: Final = ("Pod", "Container", "PersistentVolumeClaim")
_OF_CONTAINERS: Final = ("Pod", "Container")
_IN_CONTAINERS: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_MILLI_MAX: Final = (2**63 - 1) // 1000
_NEITHER: Final = "either minimum or maximum storage value is required, but neither was provided"
_ONE: Final = quantity.Quantity(quantity.NANO)


def limit_range(obj: Obj) -> list[Cause]:
    """What is wrong with a LimitRange beyond its metadata."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        place, kind = f"spec.limits[{index}]", item.get("type", "")
        causes += _type(kind, f"{place}.type")
        if kind in seen:
            causes.append(duplicate(f"{place}.type", kind))
        seen.add(kind)
        causes += _item(item, kind, place)
    return causes


def _type(kind: str, path: str) -> list[Cause]:
    causes = [invalid(path, kind, why) for why in names.qualified_name(kind)]
    if not causes and "/" not in kind and kind not in _TYPES:
        causes.append(invalid(path, kind, "must be a standard limit type or fully qualified"))
    return causes


def _item(item: Obj, kind: str, path: str) -> list[Cause]:
    causes = _named(item, kind, path, "max") + _named(item, kind, path, "min")
    for name in ("default", "defaultRequest"):
        if kind != "Pod":
            causes += _named(item, kind, path, name)
        elif item.get(name):
            causes.append(forbidden(f"{path}.{name}", "may not be specified when `type` is 'Pod'"))
    if kind == "PersistentVolumeClaim" and not any("storage" in (item.get(name) or {}) for name in ("min", "max")):
        causes.append(required(f"{path}.limits", _NEITHER))
    causes += _named(item, kind, path, "maxLimitRequestRatio")
    amounts = {name: _amounts(item, name) for name in ("max", "min", "maxLimitRequestRatio")}
    amounts |= {name: {} if kind == "Pod" else _amounts(item, name) for name in ("default", "defaultRequest")}
    for resource in dict.fromkeys(key for group in amounts.values() for key in group):
        causes += _agreeing(
            {name: group[resource] for name, group in amounts.items() if resource in group}, resource, path
        )
    return causes


def _named(item: Obj, kind: str, path: str, group: str) -> list[Cause]:
    rule = _container_resource if kind in _OF_CONTAINERS else _resource
    return [cause for name in item.get(group) or {} for cause in rule(name, f"{path}.{group}[{name}]")]


def _resource(name: str, path: str) -> list[Cause]:
    causes = [invalid(path, name, why) for why in names.qualified_name(name)]
    known = name in STANDARD or name == "storage" or name.startswith("hugepages-")
    if not causes and "/" not in name and not known:
        causes.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    return causes


def _container_resource(name: str, path: str) -> list[Cause]:
    causes = _resource(name, path)
    if "/" not in name:
        if name not in _IN_CONTAINERS and not name.startswith("hugepages-"):
            causes.append(invalid(path, name, "must be a standard resource for containers"))
    elif not _is_native(name) and (name.startswith("requests.") or names.qualified_name(f"requests.{name}")):
        causes.append(invalid(path, name, "doesn't follow extended resource name standard"))
    return causes


def _is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _amounts(item: Obj, group: str) -> Amounts:
    return {name: quantity.parse(amount) for name, amount in (item.get(group) or {}).items()}


#: Which amount may not be greater than which: the two, how a message calls them, where it tells it and of which.
_ORDERED: Final = (
    ("min", "max", "min value", "max value", "min", "min"),
    ("min", "defaultRequest", "min value", "default request value", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "max", "default request value", "max value", "defaultRequest", "defaultRequest"),
    ("defaultRequest", "default", "default request value", "default limit value", "defaultRequest", "defaultRequest"),
    ("min", "default", "min value", "default value", "default", "min"),
    ("default", "max", "default value", "max value", "default", "max"),
)


def _agreeing(amounts: Amounts, resource: str, path: str) -> list[Cause]:
    causes = [
        invalid(
            f"{path}.{place}[{resource}]",
            str(amounts[shown]),
            f"{less_called} {amounts[less]} is greater than {more_called} {amounts[more]}",
        )
        for less, more, less_called, more_called, place, shown in _ORDERED
        if less in amounts and more in amounts and amounts[less] > amounts[more]
    ]
    causes += _ratio(amounts, f"{path}.maxLimitRequestRatio[{resource}]")
    usual, asked = amounts.get("default"), amounts.get("defaultRequest")
    if _never_shared(resource) and usual is not None and asked is not None and usual != asked:
        why = f"default value {usual} must equal to defaultRequest value {asked} in {resource}"
        causes.append(invalid(f"{path}.defaultRequest[{resource}]", str(asked), why))
    return causes


def _never_shared(resource: str) -> bool:
    """Whether a resource can't be promised more often than it is there: huge pages, and what isn't Kubernetes' own."""
    return not _is_native(resource) or resource.startswith("hugepages-")


def _ratio(amounts: Amounts, path: str) -> list[Cause]:
    ratio, low, high = (amounts.get(name) for name in ("maxLimitRequestRatio", "min", "max"))
    if ratio is None:
        return []
    causes = [invalid(path, str(ratio), f"ratio {ratio} is less than 1")] if ratio < _ONE else []
    if low is None or high is None:
        return causes
    given = (ratio.whole(), low.whole(), high.whole())
    if all(one < _MILLI_MAX for one in given):
        most, least = high.milli(), low.milli()
        wanted = ratio.milli() / 1000
    else:
        most, least, wanted = high.whole(), low.whole(), float(ratio.whole())
    bound = most / least if least else float("inf")
    if wanted > bound:
        causes.append(invalid(path, str(ratio), f"ratio {ratio} is greater than max/min = {bound:f}"))
    return causes
