"""Validate what containers and pods ask for: limits, requests, claims, overhead.

Source: upstream's `ValidateResourceRequirements` and `validateContainerResourceName`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names, quantity
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_found, not_supported, required
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
NOT_NEGATIVE: Final = "must be greater than or equal to 0"
_CONTAINER: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_POD_LEVEL: Final = frozenset({"cpu", "memory"})
#: Names without a domain that mean something somewhere, if not to a container.
_STANDARD: Final = _CONTAINER | {
    *("requests.cpu", "requests.memory", "requests.ephemeral-storage", "requests.storage"),
    *("limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas", "services", "storage"),
    *("replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims", "services.nodeports"),
    "services.loadbalancers",
}
_HUGE: Final = "hugepages-"


def resource_requirements(
    item: Obj, path: str, claims: Collection[str] = (), *, pod_level: bool = False
) -> list[Cause]:
    """What is wrong with limits, requests and claims; `claims` are the names of the pod's resource claims."""
    limits, requests = item.get("limits", {}), item.get("requests", {})
    causes: list[Cause] = []
    for name, amount in limits.items():
        if not _is_plain(name, amount):
            causes += _amount(name, amount, f"{path}.limits[{name}]", pod_level=pod_level)
    for name, amount in requests.items():
        if not _is_plain(name, amount):
            causes += _amount(name, amount, f"{path}.requests[{name}]", pod_level=pod_level)
        if name in limits:
            causes += _within_limit(name, amount, limits[name], f"{path}.requests")
        elif not _may_overcommit(name):
            causes.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
    if _only_huge_pages(limits, requests):
        causes.append(forbidden(path, "HugePages require cpu or memory"))
    return causes + _claims(item["claims"], f"{path}.claims", claims) if "claims" in item else causes


def _only_huge_pages(limits: Obj, requests: Obj) -> bool:
    if any(name in limits or name in requests for name in _POD_LEVEL):
        return False
    return any(name.startswith(_HUGE) for name in (*limits, *requests))


def _is_plain(name: str, amount: str) -> bool:
    """Whether an amount is of what all containers use and every pod may limit, and not negative."""
    return name in _POD_LEVEL and not amount.startswith("-")


def _claims(items: Sequence[Obj], path: str, known: Collection[str]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, claim in enumerate(items):
        place, name, request = f"{path}[{index}]", claim.get("name", ""), claim.get("request", "")
        if not name:
            causes.append(required(place))
            continue
        causes += [invalid(f"{place}.request", request, why) for why in names.dns_label(request) if request]
        key = f"{name}/{request}" if request else name
        if key in seen:
            causes.append(duplicate(place, key))
        seen.add(key)
        if name not in known:
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            why = f"must be one of the names in pod.spec.resourceClaims{listed}"
            causes.append(not_found(place, name, why))
    return causes


def _within_limit(name: str, amount: str, limit: str, path: str) -> list[Cause]:
    asked, most = quantity.parse(amount), quantity.parse(limit)
    if asked != most and not _may_overcommit(name):
        return [invalid(path, amount, f"must be equal to {name} limit of {most}")]
    if asked > most:
        return [invalid(path, amount, f"must be less than or equal to {name} limit of {most}")]
    return []


def _is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _may_overcommit(name: str) -> bool:
    return _is_native(name) and not name.startswith(_HUGE)


def _is_extended(name: str) -> bool:
    """Whether a name is a vendor's: it must also be one with the quota's `requests.` before it."""
    if _is_native(name) or name.startswith("requests."):
        return False
    return not names.qualified_name(f"requests.{name}")


def _amount(name: str, amount: str, path: str, *, pod_level: bool) -> list[Cause]:
    causes = _pod_name(name, path) if pod_level else resource_name(name, path)
    causes += _value(name, amount, path)
    if name.startswith(_HUGE) and not _is_multiple(name, amount):
        causes.append(invalid(path, amount, f"{quantity.parse(amount)} is not positive integer multiple of {name}"))
    return causes


def _is_multiple(name: str, amount: str) -> bool:
    try:
        page = quantity.parse(name.removeprefix(_HUGE))
    except ValueError:
        return False
    return page.nano > 0 and quantity.parse(amount).nano % page.nano == 0


def resource_amount(name: str, amount: str, path: str) -> list[Cause]:
    """What is wrong with a container's amount of one resource."""
    return resource_name(name, path) + _value(name, amount, path)


def _value(name: str, amount: str, path: str) -> list[Cause]:
    if name in _CONTAINER and not amount.startswith("-"):
        return []
    value = quantity.parse(amount)
    causes = [] if value.nano >= 0 else [invalid(path, amount, NOT_NEGATIVE)]
    if _is_extended(name) and value.nano % quantity.NANO:
        causes.append(invalid(path, amount, "must be an integer"))
    return causes


def resource_name(name: str, path: str) -> list[Cause]:
    """What is wrong with the name of a container's resource."""
    if name in _CONTAINER:
        return []
    causes = _general_name(name, path)
    if "/" not in name:
        if not name.startswith(_HUGE):
            causes.append(invalid(path, name, "must be a standard resource for containers"))
    elif not _is_native(name) and not _is_extended(name):
        causes.append(invalid(path, name, "doesn't follow extended resource name standard"))
    return causes


def _pod_name(name: str, path: str) -> list[Cause]:
    causes = _general_name(name, path)
    if name not in _POD_LEVEL and not name.startswith(_HUGE):
        causes.append(not_supported(path, name, sorted(_POD_LEVEL)))
    return causes


def _general_name(name: str, path: str) -> list[Cause]:
    causes = [invalid(path, name, why) for why in names.qualified_name(name)]
    if not causes and "/" not in name and name not in _STANDARD and not name.startswith(_HUGE):
        causes.append(invalid(path, name, "must be a standard resource type or fully qualified"))
    return causes


def pod_resources(spec: Obj, path: str) -> list[Cause]:
    """What is wrong with the resources of a pod as a whole (of its spec at `path`): no container may exceed them."""
    whole = spec["resources"]
    causes: list[Cause] = []
    if whole.get("claims"):
        causes.append(forbidden(f"{path}.resources.claims", "claims may not be set for Resources at pod-level"))
    own = {name: value for name, value in whole.items() if name != "claims"}
    causes += resource_requirements(own, f"{path}.resources", pod_level=True)
    for name, amount in whole.get("requests", {}).items():
        total = aggregate_requests(spec, name)
        if total > quantity.parse(amount):
            why = f"must be greater than or equal to aggregate container requests of {total}"
            causes.append(invalid(f"{path}.resources.requests[{name}]", amount, why))
    limits = whole.get("limits", {})
    containers: Sequence[Obj] = spec.get("containers") or ()
    for index, container in enumerate(containers):
        for name, amount in container.get("resources", {}).get("limits", {}).items():
            if name in limits and quantity.parse(amount) > quantity.parse(limits[name]):
                why = f"must be less than or equal to pod limits of {quantity.parse(limits[name])}"
                causes.append(invalid(f"{path}.containers[{index}].resources.limits[{name}]", amount, why))
    return causes


def aggregate_requests(spec: Obj, name: str) -> quantity.Quantity:
    """What a pod's containers ask for together: those that run side by side, or the largest of the starting ones.

    Source: component-helpers `resource.AggregateContainerRequests`.
    """
    total = sum((_request(one, name) for one in spec.get("containers") or ()), start=0)
    sidecars = peak = 0
    for one in spec.get("initContainers", ()):
        asked = _request(one, name)
        if one.get("restartPolicy") == "Always":
            sidecars += asked
            peak = max(peak, sidecars)
        else:
            peak = max(peak, sidecars + asked)
    return quantity.Quantity(max(total + sidecars, peak))


def _request(container: Obj, name: str) -> int:
    amount = container.get("resources", {}).get("requests", {}).get(name)
    return quantity.parse(amount).nano if amount is not None else 0
