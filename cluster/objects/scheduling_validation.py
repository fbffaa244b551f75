"""Validate where a pod may run: node selectors, affinity, tolerations, spread constraints, label selectors.

Source: upstream's `pkg/apis/core/validation/validation.go` and apimachinery's `ValidateLabelSelector`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_supported, required
from oarlock.cluster.objects.gostructs import Struct
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
TAINT_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
UNSATISFIABLE: Final = ("DoNotSchedule", "ScheduleAnyway")
INCLUSION: Final = ("Honor", "Ignore")


def affinity(item: Obj, path: str) -> list[Cause]:
    """What is wrong with a pod's affinity."""
    causes: list[Cause] = []
    if "nodeAffinity" in item:
        causes += _node_affinity(item["nodeAffinity"], f"{path}.nodeAffinity")
    for name in ("podAffinity", "podAntiAffinity"):
        if name in item:
            causes += _pod_affinity(item[name], f"{path}.{name}")
    return causes


def _node_affinity(item: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if "requiredDuringSchedulingIgnoredDuringExecution" in item:
        place = f"{path}.requiredDuringSchedulingIgnoredDuringExecution"
        causes += node_selector(item["requiredDuringSchedulingIgnoredDuringExecution"], place)
    for index, term in enumerate(item.get("preferredDuringSchedulingIgnoredDuringExecution", ())):
        place = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        causes += _weight(term, place)
        causes += _node_selector_term(term.get("preference", {}), f"{place}.preference")
    return causes


def _weight(term: Obj, path: str) -> list[Cause]:
    weight = term.get("weight", 0)
    return [] if 1 <= weight <= 100 else [invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def node_selector(item: Obj, path: str) -> list[Cause]:
    """What is wrong with a selector of nodes."""
    terms = item.get("nodeSelectorTerms")
    if not terms:
        return [required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")]
    return [
        cause
        for index, term in enumerate(terms)
        for cause in _node_selector_term(term, f"{path}.nodeSelectorTerms[{index}]")
    ]


def _node_selector_term(term: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(term.get("matchExpressions", ())):
        causes += _node_requirement(item, f"{path}.matchExpressions[{index}]")
    for index, item in enumerate(term.get("matchFields", ())):
        causes += _node_field(item, f"{path}.matchFields[{index}]")
    return causes


def _node_requirement(item: Obj, path: str) -> list[Cause]:
    operator, values = item.get("operator", ""), item.get("values") or ()
    causes: list[Cause] = []
    if operator in {"In", "NotIn"}:
        if not values:
            causes.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in {"Exists", "DoesNotExist"}:
        if values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            causes.append(forbidden(f"{path}.values", why))
    elif operator in {"Gt", "Lt"}:
        if len(values) != 1:
            causes.append(required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    else:
        causes.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    key = item.get("key", "")
    causes += [invalid(f"{path}.key", key, why) for why in names.qualified_name(key)]
    for index, value in enumerate(values):
        causes += [invalid(f"{path}.values[{index}]", value, why) for why in names.label_value(value)]
    return causes


def _node_field(item: Obj, path: str) -> list[Cause]:
    operator, values, key = item.get("operator", ""), item.get("values") or (), item.get("key", "")
    causes: list[Cause] = []
    if operator in {"In", "NotIn"}:
        if len(values) != 1:
            why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            causes.append(required(f"{path}.values", why))
    else:
        causes.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    if key != "metadata.name":
        causes.append(invalid(f"{path}.key", key, "not a valid field selector key"))
        return causes
    for index, value in enumerate(values):
        causes += [invalid(f"{path}.values[{index}]", value, why) for why in names.dns_subdomain(value)]
    return causes


def _pod_affinity(item: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, term in enumerate(item.get("requiredDuringSchedulingIgnoredDuringExecution", ())):
        causes += _affinity_term(term, f"{path}.requiredDuringSchedulingIgnoredDuringExecution[{index}]")
    for index, weighted in enumerate(item.get("preferredDuringSchedulingIgnoredDuringExecution", ())):
        place = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        causes += _weight(weighted, place)
        causes += _affinity_term(weighted.get("podAffinityTerm", {}), f"{place}.podAffinityTerm")
    return causes


def _affinity_term(term: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("labelSelector", "namespaceSelector"):
        if name in term:
            causes += label_selector(term[name], f"{path}.{name}")
    for name in term.get("namespaces", ()):
        causes += [invalid(f"{path}.namespace", name, why) for why in names.dns_label(name)]
    causes += _label_keys(term, path)
    topology = term.get("topologyKey", "")
    if not topology:
        causes.append(required(f"{path}.topologyKey", "can not be empty"))
    return causes + [invalid(f"{path}.topologyKey", topology, why) for why in names.qualified_name(topology)]


def _label_keys(term: Obj, path: str) -> list[Cause]:
    """`matchLabelKeys` and `mismatchLabelKeys` extend a selector that must be there."""
    causes: list[Cause] = []
    for name in ("matchLabelKeys", "mismatchLabelKeys"):
        keys = term.get(name, ())
        if keys and "labelSelector" not in term:
            causes.append(forbidden(f"{path}.{name}", _NO_SELECTOR))
            continue
        for index, key in enumerate(keys):
            causes += [invalid(f"{path}.{name}[{index}]", key, why) for why in names.qualified_name(key)]
    keys = term.get("matchLabelKeys", ())
    seen = set(term.get("labelSelector", {}).get("matchLabels", ()))
    for expression in term.get("labelSelector", {}).get("matchExpressions", ()):
        key = expression.get("key", "")
        if key in keys and key in seen:
            why = "exists in both matchLabelKeys and labelSelector"
            causes.append(invalid(f"{path}[{_last(keys, key)}]", key, why))
        seen.add(key)
    both = term.get("mismatchLabelKeys", ())
    why = "exists in both matchLabelKeys and mismatchLabelKeys"
    causes += [invalid(f"{path}.matchLabelKeys[{at}]", key, why) for at, key in enumerate(keys) if key in both]
    return causes


def _last(keys: Sequence[str], key: str) -> int:
    return max(index for index, one in enumerate(keys) if one == key)


_NO_SELECTOR: Final = "must not be specified when labelSelector is not set"


def _spread_keys(item: Obj, path: str) -> list[Cause]:
    """The keys of a spread constraint extend its selector, which must be there and not have them."""
    keys = item.get("matchLabelKeys", ())
    if not keys:
        return []
    causes: list[Cause] = []
    if "labelSelector" not in item:
        causes.append(forbidden(path, _NO_SELECTOR))
    selector = item.get("labelSelector", {})
    selected = {*selector.get("matchLabels", ()), *(one.get("key") for one in selector.get("matchExpressions", ()))}
    for index, key in enumerate(keys):
        causes += [invalid(f"{path}[{index}]", key, why) for why in names.qualified_name(key)]
        if key in selected:
            why = "exists in both matchLabelKeys and labelSelector"
            causes.append(invalid(f"{path}[{index}]", key, why))
    return causes


def label_selector(item: Obj, path: str, *, check_values: bool = True) -> list[Cause]:
    """What is wrong with a LabelSelector; `check_values` as far as upstream checks the expressions' values."""
    causes = metadata_validation.labels(item.get("matchLabels", {}), f"{path}.matchLabels")
    for index, expression in enumerate(item.get("matchExpressions", ())):
        causes += _label_requirement(expression, f"{path}.matchExpressions[{index}]", check_values=check_values)
    return causes


def _label_requirement(item: Obj, path: str, *, check_values: bool) -> list[Cause]:
    operator, values, key = item.get("operator", ""), item.get("values") or (), item.get("key", "")
    causes: list[Cause] = []
    if operator in {"In", "NotIn"}:
        if not values:
            causes.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in {"Exists", "DoesNotExist"}:
        if values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            causes.append(forbidden(f"{path}.values", why))
    else:
        causes.append(invalid(f"{path}.operator", operator, "not a valid selector operator"))
    causes += [invalid(f"{path}.key", key, why) for why in names.qualified_name(key)]
    if check_values:
        for index, value in enumerate(values):
            causes += [invalid(f"{path}.values[{index}]", value, why) for why in names.label_value(value)]
    return causes


def tolerations(items: Sequence[Obj], path: str) -> list[Cause]:
    """What is wrong with tolerations."""
    causes: list[Cause] = []
    for index, item in enumerate(items):
        key, operator, value = item.get("key", ""), item.get("operator", ""), item.get("value", "")
        effect = item.get("effect", "")
        if _is_plain(item, key, operator, value, effect):
            continue
        place = f"{path}[{index}]"
        if key:
            causes += [invalid(f"{place}.key", key, why) for why in names.qualified_name(key)]
        elif operator != "Exists":
            why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            causes.append(invalid(f"{place}.operator", operator, why))
        if "tolerationSeconds" in item and effect != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            causes.append(invalid(f"{place}.effect", effect, why))
        if operator in {"Equal", ""}:
            wrong = names.label_value(value)
            causes += [invalid(f"{place}.operator", value, ";".join(wrong))] if wrong else []
        elif operator == "Exists":
            if value:
                why = "value must be empty when `operator` is 'Exists'"
                causes.append(invalid(f"{place}.operator", Struct("core.v1.Toleration", item), why))
        else:
            causes.append(not_supported(f"{place}.operator", operator, ("Equal", "Exists")))
        if effect and effect not in TAINT_EFFECTS:
            causes.append(not_supported(f"{place}.effect", effect, TAINT_EFFECTS))
    return causes


def _is_plain(item: Obj, key: str, operator: str, value: str, effect: str) -> bool:
    """Whether a toleration is one of those that nearly all Pods have, with nothing wrong."""
    if operator != "Exists" or value or names.qualified_name(key):
        return False
    return effect == "NoExecute" or ("tolerationSeconds" not in item and effect in {"", *TAINT_EFFECTS})


def spread_constraints(items: Sequence[Obj], path: str) -> list[Cause]:
    """What is wrong with topology spread constraints."""
    causes: list[Cause] = []
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        skew, key, action = item.get("maxSkew", 0), item.get("topologyKey", ""), item.get("whenUnsatisfiable", "")
        if skew <= 0:
            causes.append(invalid(f"{place}.maxSkew", skew, "must be greater than zero"))
        if not key:
            causes.append(required(f"{place}.topologyKey", "can not be empty"))
        if action not in UNSATISFIABLE:
            causes.append(not_supported(f"{place}.whenUnsatisfiable", action, UNSATISFIABLE))
        # Upstream reports a repetition at the earlier of the two.
        later = ((one.get("topologyKey", ""), one.get("whenUnsatisfiable", "")) for one in items[index + 1 :])
        causes += [
            duplicate(f"{place}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}")
            for one in later
            if one == (key, action)
        ]
        causes += _spread_details(item, place)
    return causes


def _spread_details(item: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    domains = item.get("minDomains")
    if domains is not None:
        if domains <= 0:
            causes.append(invalid(f"{path}.minDomains", domains, "must be greater than zero"))
        action = item.get("whenUnsatisfiable", "")
        if action != "DoNotSchedule":
            why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
            causes.append(invalid(f"{path}.minDomains", domains, why))
    for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        policy = item.get(name)
        if policy is not None and policy not in INCLUSION:
            causes.append(not_supported(f"{path}.{name}", policy, INCLUSION))
    causes += _spread_keys(item, f"{path}.matchLabelKeys")
    if "labelSelector" in item:
        causes += label_selector(item["labelSelector"], f"{path}.labelSelector")
    return causes
