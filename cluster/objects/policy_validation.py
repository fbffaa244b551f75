"""Validate RBAC, disruption budgets, leases and priority classes.

Source: upstream's `pkg/apis/{rbac,policy,coordination,scheduling}/validation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names
from oarlock.cluster.objects.causes import GoFields, forbidden, invalid, not_supported, required
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.workload_validation import int_or_percent

Obj = Mapping[str, Any]
RBAC_GROUP: Final = "rbac.authorization.k8s.io"
_USER_PRIORITY_MAX: Final = 1_000_000_000
_SYSTEM_CLASSES: Final = frozenset({"system-node-critical", "system-cluster-critical"})


def role(obj: Obj) -> list[Cause]:
    """What is wrong with a Role beyond its metadata."""
    return _rules(obj.get("rules") or (), namespaced=True)


def cluster_role(obj: Obj) -> list[Cause]:
    """What is wrong with a ClusterRole beyond its metadata."""
    causes = _rules(obj.get("rules") or (), namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is None:
        return causes
    selectors = aggregation.get("clusterRoleSelectors", ())
    if not selectors:
        why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        return [*causes, required("aggregationRule.clusterRoleSelectors", why)]
    for index, selector in enumerate(selectors):
        place = f"aggregationRule.clusterRoleSelectors[{index}]"
        wrong = label_selector(selector, place)
        causes += wrong
        if wrong:
            causes.append(invalid(place, None, "invalid label selector."))
    return causes


def _rules(rules: Sequence[Obj], *, namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    for index, rule in enumerate(rules):
        causes += _rule(rule, f"rules[{index}]", namespaced=namespaced)
    return causes


def _rule(rule: Obj, path: str, *, namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    if not rule.get("verbs"):
        causes.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        if namespaced:
            why = "namespaced rules cannot apply to non-resource URLs"
            causes.append(invalid(f"{path}.nonResourceURLs", urls, why))
        if any(rule.get(name) for name in ("apiGroups", "resources", "resourceNames")):
            why = "rules cannot apply to both regular resources and non-resource URLs"
            causes.append(invalid(f"{path}.nonResourceURLs", urls, why))
        return causes
    if not rule.get("apiGroups"):
        causes.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        causes.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return causes


def role_binding(obj: Obj) -> list[Cause]:
    """What is wrong with a RoleBinding beyond its metadata."""
    return _binding(obj, ("Role", "ClusterRole"), namespaced=True)


def cluster_role_binding(obj: Obj) -> list[Cause]:
    """What is wrong with a ClusterRoleBinding beyond its metadata."""
    return _binding(obj, ("ClusterRole",), namespaced=False)


def _binding(obj: Obj, kinds: tuple[str, ...], *, namespaced: bool) -> list[Cause]:
    reference = obj.get("roleRef", {})
    causes: list[Cause] = []
    if reference.get("apiGroup") != RBAC_GROUP:
        causes.append(not_supported("roleRef.apiGroup", reference.get("apiGroup", ""), (RBAC_GROUP,)))
    if reference.get("kind") not in kinds:
        causes.append(not_supported("roleRef.kind", reference.get("kind", ""), kinds))
    name = reference.get("name", "")
    if not name:
        causes.append(required("roleRef.name"))
    else:
        causes += [invalid("roleRef.name", name, why) for why in names.path_segment(name)]
    for index, subject in enumerate(obj.get("subjects", ())):
        causes += _subject(subject, f"subjects[{index}]", namespaced=namespaced)
    return causes


def _subject(subject: Obj, path: str, *, namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    name, kind, group = subject.get("name", ""), subject.get("kind", ""), subject.get("apiGroup", "")
    if not name:
        causes.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            causes += [invalid(f"{path}.name", name, why) for why in names.dns_subdomain(name)]
        if group:
            causes.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            causes.append(required(f"{path}.namespace"))
    elif kind in {"User", "Group"}:
        if group != RBAC_GROUP:
            causes.append(not_supported(f"{path}.apiGroup", group, (RBAC_GROUP,)))
    else:
        causes.append(not_supported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    return causes


def role_binding_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a binding (of either kind) that replaces `old`: its role is fixed."""
    rule = role_binding if new["kind"] == "RoleBinding" else cluster_role_binding
    causes = rule(new)
    if new.get("roleRef") != old.get("roleRef"):
        role = new.get("roleRef", {})
        shown = GoFields(APIGroup=role.get("apiGroup", ""), Kind=role.get("kind", ""), Name=role.get("name", ""))
        causes.append(invalid("roleRef", shown, "cannot change roleRef"))
    return causes


def disruption_budget(obj: Obj) -> list[Cause]:
    """What is wrong with a new PodDisruptionBudget; its name may be anything that fits into a path."""
    return _budget(obj["spec"]) or metadata_validation.validate_metadata(
        obj["metadata"], "metadata", names.path_segment, namespaced=True
    )


def disruption_budget_update(new: Obj, _: Obj) -> list[Cause]:
    """What is wrong with a PodDisruptionBudget that replaces another."""
    return _budget(new["spec"])


def _budget(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    if "minAvailable" in spec and "maxUnavailable" in spec:
        why = "minAvailable and maxUnavailable cannot be both set"
        causes.append(invalid("spec", spec, why))
    for name in ("minAvailable", "maxUnavailable"):
        if name in spec:
            causes += int_or_percent(spec[name], f"spec.{name}")
            if isinstance(spec[name], str) and not names.percent(spec[name]) and int(spec[name][:-1]) > 100:
                causes.append(invalid(f"spec.{name}", spec[name], "must not be greater than 100%"))
    causes += label_selector(spec.get("selector", {}), "spec.selector")
    policy = spec.get("unhealthyPodEvictionPolicy")
    choices = ("AlwaysAllow", "IfHealthyBudget")
    if policy is not None and policy not in choices:
        causes.append(not_supported("spec.unhealthyPodEvictionPolicy", policy, choices))
    return causes


def lease(obj: Obj) -> list[Cause]:
    """What is wrong with a Lease beyond its metadata."""
    spec = obj["spec"]
    causes: list[Cause] = []
    seconds, moves = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        causes.append(invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if moves is not None and moves < 0:
        causes.append(invalid("spec.leaseTransitions", moves, "must be greater than or equal to 0"))
    return causes


def priority_class(obj: Obj) -> list[Cause]:
    """What is wrong with a PriorityClass beyond its metadata."""
    causes: list[Cause] = []
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    if name.startswith("system-"):
        if name not in _SYSTEM_CLASSES:
            reserved = "priority class names with 'system-' prefix are reserved for system use only"
            why = f"{reserved}. error: {name} is not a known system priority class"
            causes.append(forbidden("metadata.name", why))
    elif value > _USER_PRIORITY_MAX:
        why = f"maximum allowed value of a user defined priority is {_USER_PRIORITY_MAX}"
        causes.append(forbidden("value", why))
    policy = obj.get("preemptionPolicy")
    choices = ("PreemptLowerPriority", "Never")
    if policy is not None and policy not in choices:
        causes.append(not_supported("preemptionPolicy", policy, choices))
    return causes


def priority_class_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a PriorityClass that replaces `old`: its value and policy are fixed."""
    causes: list[Cause] = []
    if new.get("value") != old.get("value"):
        causes.append(forbidden("value", "may not be changed in an update."))
    if new.get("preemptionPolicy") != old.get("preemptionPolicy"):
        causes.append(invalid("preemptionPolicy", new.get("preemptionPolicy"), IMMUTABLE))
    return causes
