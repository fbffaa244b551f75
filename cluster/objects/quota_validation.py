"""Validate ResourceQuotas: which amounts may be limited, and in which scopes.

Source: upstream's `ValidateResourceQuota` and pkg/apis/core/helper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names, quantity
from oarlock.cluster.objects.causes import invalid, required
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

_COUNTED: Final = frozenset(
    {
        *("pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps"),
        *("persistentvolumeclaims", "services.nodeports", "services.loadbalancers"),
    }
)
_COMPUTE: Final = frozenset({"cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"})
_STORAGE: Final = frozenset(
    {"ephemeral-storage", "requests.ephemeral-storage", "limits.ephemeral-storage", "requests.storage"}
)
STANDARD: Final = _COUNTED | _COMPUTE | _STORAGE
_OF_PODS: Final = _COMPUTE | {"pods"}
_SCOPES: Final[Mapping[str, frozenset[str]]] = {
    "Terminating": _OF_PODS,
    "NotTerminating": _OF_PODS,
    "BestEffort": frozenset({"pods"}),
    "NotBestEffort": _OF_PODS,
    "PriorityClass": _OF_PODS,
    "CrossNamespacePodAffinity": _OF_PODS,
    "VolumeAttributesClass": frozenset({"persistentvolumeclaims", "requests.storage"}),
}
"""What may be limited in each scope."""
_CONFLICTING: Final = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_WITH_VALUES: Final = frozenset({"PriorityClass", "VolumeAttributesClass"})
_WRONG_RESOURCE: Final = "unsupported scope applied to resource"
_EXISTS_ONLY: Final = (
    "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def quota(obj: Obj) -> list[Cause]:
    """What is wrong with a new ResourceQuota beyond its metadata."""
    spec: Obj = obj.get("spec") or {}
    hard: Mapping[str, Any] = spec.get("hard") or {}
    causes: list[Cause] = []
    for name, amount in hard.items():
        causes += _amount(name, amount, f"spec.hard[{name}]")
    return causes + _scopes(spec, hard) + _selector(spec.get("scopeSelector"), hard)


def quota_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a ResourceQuota that replaces `old`: its scopes stay."""
    causes = quota(new)
    scopes, had = (set((one.get("spec") or {}).get("scopes") or ()) for one in (new, old))
    if scopes != had:
        causes.append(invalid("spec.scopes", (new.get("spec") or {}).get("scopes"), "field is immutable"))
    return causes


def _amount(name: str, amount: Any, path: str) -> list[Cause]:
    causes = [invalid(path, name, why) for why in names.qualified_name(name)]
    huge = name.startswith(("hugepages-", "requests.hugepages-"))
    if not causes and "/" not in name and name not in STANDARD and not huge:
        causes.append(invalid(path, name, "must be a standard resource for quota"))
    value = quantity.parse(amount)
    if value < quantity.ZERO:
        causes.append(invalid(path, str(value), "must be greater than or equal to 0"))
    if name in _COUNTED and value.milli() % 1000:
        causes.append(invalid(path, str(value), "must be an integer"))
    return causes


def _scopes(spec: Obj, hard: Iterable[str]) -> list[Cause]:
    scopes: Sequence[str] = spec.get("scopes") or ()
    causes: list[Cause] = []
    for scope in scopes:
        if scope not in _SCOPES:
            causes.append(invalid("spec.scopes", list(scopes), "unsupported scope"))
        causes += [invalid("spec.scopes", list(scopes), _WRONG_RESOURCE)] * _misplaced(scope, hard)
    for pair in _CONFLICTING:
        if pair <= set(scopes):
            causes.append(invalid("spec.scopes", list(scopes), "conflicting scopes"))
    return causes


def _misplaced(scope: str, hard: Iterable[str]) -> int:
    """Return how many of the standard resources can't be limited in a scope."""
    return sum(name in STANDARD and name not in _SCOPES.get(scope, STANDARD) for name in hard)


def _selector(selector: Obj | None, hard: Iterable[str]) -> list[Cause]:
    path = "spec.scopeSelector.matchExpressions"
    causes: list[Cause] = []
    for one in (selector or {}).get("matchExpressions") or ():
        scope, operator, values = one.get("scopeName", ""), one.get("operator", ""), one.get("values") or []
        if scope not in _SCOPES:
            causes.append(invalid(f"{path}.scopeName", scope, "unsupported scope"))
        causes += [invalid(path, selector, _WRONG_RESOURCE)] * _misplaced(scope, hard)
        if scope in _SCOPES and scope not in _WITH_VALUES and operator != "Exists":
            causes.append(invalid(f"{path}.operator", operator, _EXISTS_ONLY))
        causes += _values(operator, values, path)
    return causes


def _values(operator: str, values: Sequence[str], path: str) -> list[Cause]:
    if operator in ("In", "NotIn"):
        why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        return [] if values else [required(f"{path}.values", why)]
    if operator in ("Exists", "DoesNotExist"):
        why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
        return [invalid(f"{path}.values", values, why)] if values else []
    return [invalid(f"{path}.operator", operator, "not a valid selector operator")]
