"""What an object uses of what quotas limit, and which quotas count it.

Source: upstream's pkg/quota/v1/evaluator/core (pods, services, persistent volume claims) and apiserver's
pkg/quota/v1/generic (counts of objects).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from oarlock.cluster.objects import pod_resources, pod_strategy, quantity
from oarlock.cluster.objects.pod_resources import Amounts
from oarlock.cluster.objects.quantity import NANO, Quantity

Obj = Mapping[str, Any]
Kind = tuple[str, str]
"""A group and a plural name."""

PODS: Final = ("", "pods")
SERVICES: Final = ("", "services")
CLAIMS: Final = ("", "persistentvolumeclaims")
IGNORED: Final = frozenset({("", "events"), ("events.k8s.io", "events"), ("", "bindings")})
"""Kinds that no quota counts."""
_ONE: Final = Quantity(NANO)
_COUNTED_BY_NAME: Final = frozenset({"configmaps", "replicationcontrollers", "resourcequotas", "secrets"})
"""Kinds of the core group that have a name in quotas from before `count/…`."""
_MEASURED: Final = ("cpu", "memory", "ephemeral-storage")
_DEMANDED: Final = frozenset({"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"})
_OF_PODS: Final = frozenset({"pods", *(head + name for head in ("", "requests.", "limits.") for name in _MEASURED)})
_OF_SERVICES: Final = frozenset({"services", "services.nodeports", "services.loadbalancers"})
_OF_CLAIMS: Final = frozenset({"persistentvolumeclaims", "requests.storage"})
_BY_CLASS: Final = ".storageclass.storage.k8s.io/"
_HUGE: Final = ("hugepages-", "requests.hugepages-")


def count_name(kind: Kind) -> str:
    """Return the name under which a quota counts all objects of a kind."""
    group, plural = kind
    return f"count/{plural}.{group}" if group else f"count/{plural}"


def counted(names: Iterable[str], kind: Kind) -> set[str]:
    """Return those of a quota's resource names that objects of the kind use."""
    return {name for name in names if name == count_name(kind) or _is_of(name, kind)}


def _is_of(name: str, kind: Kind) -> bool:
    if kind == PODS:
        return name in _OF_PODS or name.startswith(_HUGE) or (name.startswith("requests.") and _is_extended(name))
    if kind == SERVICES:
        return name in _OF_SERVICES
    if kind == CLAIMS:
        return name in _OF_CLAIMS or (_BY_CLASS in name and name.partition(_BY_CLASS)[2] in _OF_CLAIMS)
    return not kind[0] and kind[1] in _COUNTED_BY_NAME and name == kind[1]


def _is_extended(name: str) -> bool:
    return "/" in name and "kubernetes.io/" not in name


def usage(kind: Kind, obj: Obj, now: datetime | None = None) -> Amounts:
    """Return what an object uses, by the names of quotas. `now` lets pods go whose grace period is over."""
    used = {count_name(kind): _ONE}
    if kind == PODS:
        return used if _is_over(obj, now) else {**used, **_pod_usage(obj)}
    if kind == SERVICES:
        return {**used, **_service_usage(obj.get("spec") or {})}
    if kind == CLAIMS:
        return {**used, **_claim_usage(obj)}
    if _is_of(kind[1], kind):
        used[kind[1]] = _ONE
    return used


def _is_over(pod: Obj, now: datetime | None) -> bool:
    """Whether a pod has ended, so that only its object is left."""
    metadata = pod["metadata"]
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    deleted, grace_s = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    if now is None or not deleted or grace_s is None:
        return False
    return now > datetime.fromisoformat(deleted) + timedelta(seconds=grace_s)


def _pod_usage(pod: Obj) -> Amounts:
    requests, limits = pod_resources.requests(pod, resized=True), pod_resources.limits(pod, resized=True)
    return _named(requests, limits)


def _named(requests: Amounts, limits: Amounts) -> Amounts:
    """Return a pod's or a container's amounts under the names of quotas."""
    used = {"pods": _ONE}
    for name, amount in requests.items():
        if name in _MEASURED or name.startswith("hugepages-"):
            used[name] = used["requests." + name] = amount
        elif _is_extended(name):
            used["requests." + name] = amount
    used.update({f"limits.{name}": limits[name] for name in _MEASURED if name in limits})
    return used


def _service_usage(spec: Obj) -> Amounts:
    ports, kind = spec.get("ports") or (), spec.get("type")
    used = {"services": _ONE, "services.nodeports": quantity.ZERO, "services.loadbalancers": quantity.ZERO}
    if kind == "LoadBalancer":
        used["services.loadbalancers"] = _ONE
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
        ports = [port for port in ports if port.get("nodePort")]
    if kind in ("NodePort", "LoadBalancer"):
        used["services.nodeports"] = Quantity(len(ports) * NANO)
    return used


def _claim_usage(claim: Obj) -> Amounts:
    spec: Obj = claim.get("spec") or {}
    used = {"persistentvolumeclaims": _ONE}
    asked = pod_resources.of_container(spec, "requests")
    given = pod_resources.parsed((claim.get("status") or {}).get("allocatedResources"))
    if "storage" in asked:
        amount = max(asked["storage"], given.get("storage", quantity.ZERO))
        used["requests.storage"] = Quantity(amount.whole() * NANO, amount.format)
    name = storage_class(claim)
    return {**used, **{f"{name}{_BY_CLASS}{of}": amount for of, amount in used.items()}} if name else used


def storage_class(claim: Obj) -> str:
    """Return the name of a claim's class, "" if it has none."""
    annotations: Obj = claim["metadata"].get("annotations") or {}
    beta = annotations.get("volume.beta.kubernetes.io/storage-class")
    return beta if beta is not None else (claim.get("spec") or {}).get("storageClassName") or ""


def unspecified(names: Iterable[str], pod: Obj) -> str:
    """Return what a quota on `names` demands of a pod's containers and doesn't find, or "".

    A container must say what it uses of everything in processor and memory that is limited.
    """
    spec = pod["spec"]
    demanded = _DEMANDED.intersection(names)
    demanded -= _specified(spec)
    missing: dict[str, set[str]] = {}
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        for name in demanded - _specified(container):
            missing.setdefault(name, set()).add(container["name"])
    if not missing:
        return ""
    return "must specify " + "; ".join(f"{name} for: {','.join(sorted(missing[name]))}" for name in sorted(missing))


def _specified(holder: Obj) -> set[str]:
    parts = (pod_resources.of_container(holder, part) for part in ("requests", "limits"))
    return set(_named(*parts))


def is_matched(quota: Obj, kind: Kind, obj: Obj) -> bool:
    """Tell whether a quota counts an object: it limits something that the object uses, in all of its scopes."""
    hard = (quota.get("status") or {}).get("hard") or {}
    return bool(counted(hard, kind)) and in_scopes(quota, kind, obj)


def in_scopes(quota: Obj, kind: Kind, obj: Obj) -> bool:
    """Tell whether an object is in all scopes of a quota."""
    return all(_in_scope(scope, kind, obj) for scope in _scopes(quota.get("spec") or {}))


def _scopes(spec: Obj) -> Iterator[Obj]:
    for name in spec.get("scopes") or ():
        yield {"scopeName": name, "operator": "Exists"}
    yield from (spec.get("scopeSelector") or {}).get("matchExpressions") or ()


def _in_scope(scope: Obj, kind: Kind, obj: Obj) -> bool:
    name, spec = scope.get("scopeName"), obj.get("spec") or {}
    if kind == CLAIMS:
        return name == "VolumeAttributesClass" and _selects(scope, _attribute_classes(obj))
    if kind != PODS:
        return False
    if name in ("Terminating", "NotTerminating"):
        return (spec.get("activeDeadlineSeconds") is not None) == (name == "Terminating")
    if name in ("BestEffort", "NotBestEffort"):
        return (pod_strategy.qos_class(spec) == "BestEffort") == (name == "BestEffort")
    if name == "PriorityClass":
        return _selects(scope, {spec["priorityClassName"]} if spec.get("priorityClassName") else set())
    return name == "CrossNamespacePodAffinity" and _crosses_namespaces(spec.get("affinity") or {})


def _selects(scope: Obj, names: set[str]) -> bool:
    """Tell whether the selector of a scope accepts an object with these names of classes."""
    values = set(scope.get("values") or ())
    match scope.get("operator"):
        case "In":
            return bool(names & values)
        case "NotIn":
            return not names & values
        case "Exists":
            return bool(names)
        case _:
            return not names


def _attribute_classes(claim: Obj) -> set[str]:
    state = claim.get("status") or {}
    named = (
        (claim.get("spec") or {}).get("volumeAttributesClassName"),
        state.get("currentVolumeAttributesClassName"),
        (state.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return {name for name in named if name}


def _crosses_namespaces(affinity: Obj) -> bool:
    for part in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(part) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        weighted = rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [one.get("podAffinityTerm") or {} for one in weighted]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False
