"""Validate FlowSchemas and PriorityLevelConfigurations.

Source: upstream's `pkg/apis/flowcontrol/validation/validation.go`; how much hashing a shuffle takes: apiserver
`pkg/util/shufflesharding`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import flowcontrol, names
from oarlock.cluster.objects.causes import GoFields, duplicate, forbidden, invalid, not_supported, required
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

_METHODS: Final = ("ByNamespace", "ByUser")
_SUBJECT_KINDS: Final = ("Group", "ServiceAccount", "User")
_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_LEVEL_TYPES: Final = ("Exempt", "Limited")
_RESPONSE_TYPES: Final = ("Queue", "Reject")
_PRECEDENCE_MAX: Final = 10000
_QUEUES_MAX: Final = 10_000_000
_HASH_BITS_MAX: Final = 60
_POSITIVE: Final = "must be positive"
_NOT_NEGATIVE: Final = "must be a non-negative integer"
_PERCENT: Final = "must be between 0 and 100, inclusive"


def flow_schema(obj: Obj) -> list[Cause]:
    """What is wrong with a FlowSchema beyond its metadata."""
    name, spec = obj["metadata"].get("name", ""), obj["spec"]
    causes = _precedence(name, spec.get("matchingPrecedence", 0))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in _METHODS:
        shown = GoFields(Type=method.get("type", ""))
        causes.append(not_supported("spec.distinguisherMethod.type", shown, _METHODS))
    level, place = spec.get("priorityLevelConfiguration", {}).get("name", ""), "spec.priorityLevelConfiguration.name"
    if level:
        causes += [invalid(place, level, why) for why in names.dns_subdomain(level)]
    else:
        causes.append(required(place, "must reference a priority level"))
    for index, rule in enumerate(spec.get("rules") or ()):
        causes += _rule(rule, f"spec.rules[{index}]")
    fixed = flowcontrol.mandatory_schema(name)
    if fixed is not None and spec != fixed:
        shown = flowcontrol.schema_as_shown(spec)
        causes.append(invalid("spec", shown, f"spec of '{name}' must equal the fixed value"))
    return causes + _conditions(obj)


def _precedence(name: str, precedence: int) -> list[Cause]:
    place = "spec.matchingPrecedence"
    if precedence <= 0:
        return [invalid(place, precedence, "must be a positive value")]
    if precedence > _PRECEDENCE_MAX:
        return [invalid(place, precedence, f"must not be greater than {_PRECEDENCE_MAX}")]
    if precedence == 1 and name != "exempt":
        return [invalid(place, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")]
    return []


def _rule(rule: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if not rule.get("subjects"):
        causes.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    for index, subject in enumerate(rule.get("subjects") or ()):
        causes += _subject(subject, f"{path}.subjects[{index}]")
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        causes.append(required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for index, one in enumerate(rule.get("resourceRules") or ()):
        causes += _resource_rule(one, f"{path}.resourceRules[{index}]")
    for index, one in enumerate(rule.get("nonResourceRules") or ()):
        causes += _path_rule(one, f"{path}.nonResourceRules[{index}]")
    return causes


def _subject(subject: Obj, path: str) -> list[Cause]:
    kind = subject.get("kind", "")
    if kind not in _SUBJECT_KINDS:
        return [not_supported(f"{path}.kind", kind, _SUBJECT_KINDS)]
    member = kind[:1].lower() + kind[1:]
    causes: list[Cause] = []
    if member not in subject:
        causes.append(required(f"{path}.{member}", f"{member} is required when subject kind is '{kind}'"))
    elif kind == "ServiceAccount":
        causes += _account(subject[member], f"{path}.{member}")
    elif not subject[member].get("name"):
        causes.append(required(f"{path}.{member}.name"))
    others = (("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group"))
    return causes + [
        forbidden(f"{path}.{name}", f"{name} is forbidden when subject kind is not '{other}'")
        for other, name in others
        if other != kind and name in subject
    ]


def _account(account: Obj, path: str) -> list[Cause]:
    name, namespace = account.get("name", ""), account.get("namespace", "")
    causes: list[Cause] = []
    if not name:
        causes.append(required(f"{path}.name"))
    elif name != "*":
        causes += [invalid(f"{path}.name", name, why) for why in names.dns_subdomain(name)]
    if not namespace:
        causes.append(required(f"{path}.namespace", "must specify namespace for service account"))
    return causes + [
        invalid(f"{path}.namespace", namespace, why) for why in (names.dns_label(namespace) if namespace else ())
    ]


def _verbs(rule: Obj, path: str) -> list[Cause]:
    verbs = rule.get("verbs") or ()
    if not verbs:
        return [required(f"{path}.verbs", "verbs must contain at least one value")]
    if "*" in verbs:
        return _alone(verbs, f"{path}.verbs", "verbs")
    if not set(verbs) <= set(_VERBS):
        return [not_supported(f"{path}.verbs", verbs, _VERBS)]
    return []


def _alone(values: Sequence[str], path: str, noun: str) -> list[Cause]:
    """`*` stands alone."""
    if "*" not in values or len(values) == 1:
        return []
    return [invalid(path, values, f"if '*' is present, must not specify other {noun}")]


def _resource_rule(rule: Obj, path: str) -> list[Cause]:
    causes = _verbs(rule, path)
    for name, one, many in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        values = rule.get(name) or ()
        if not values:
            causes.append(required(f"{path}.{name}", f"resource rules must supply at least one {one}"))
        causes += _alone(values, f"{path}.{name}", many)
    namespaces, place = rule.get("namespaces") or (), f"{path}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        why = "resource rules that are not cluster scoped must supply at least one namespace"
        causes.append(required(place, why))
    if "*" in namespaces:
        return causes + _alone(namespaces, place, "namespaces")
    for index, name in enumerate(namespaces):
        for why in names.dns_label(name):
            told = f"each member of this list must be '*' or a DNS-1123 label; {why}"
            causes.append(invalid(f"{place}[{index}]", name, told))
    return causes


def _path_rule(rule: Obj, path: str) -> list[Cause]:
    causes = _verbs(rule, path)
    urls, place = rule.get("nonResourceURLs") or (), f"{path}.nonResourceURLs"
    if not urls:
        causes.append(required(place, "nonResourceURLs must contain at least one value"))
    if "*" in urls:
        return causes + _alone(urls, place, "non-resource URLs")
    for index, url in enumerate(urls):
        why = _url_error(url)
        if why:
            causes.append(invalid(f"{place}[{index}]", url, why))
    return causes


def _url_error(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    stars = url.count("*")
    if stars > 1 or (stars == 1 and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


def status(new: Obj, _: Obj) -> list[Cause]:
    """What is wrong with the new status of either kind."""
    return _conditions(new)


def _conditions(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, condition in enumerate((obj.get("status") or {}).get("conditions") or ()):
        kind, place = condition.get("type", ""), f"status.conditions[{index}].type"
        if kind in seen:
            causes.append(duplicate(place, kind))
        seen.add(kind)
        if not kind:
            causes.append(required(place, "must not be empty"))
    return causes


def priority_level(obj: Obj) -> list[Cause]:
    """What is wrong with a PriorityLevelConfiguration beyond its metadata."""
    name, spec = obj["metadata"].get("name", ""), obj["spec"]
    kind = spec.get("type", "")
    causes: list[Cause] = []
    if (name == "exempt") != (kind == "Exempt"):
        causes.append(invalid("spec.type", kind, "type must be 'Exempt' if and only if name is 'exempt'"))
    if kind not in _LEVEL_TYPES:
        causes.append(not_supported("spec.type", kind, _LEVEL_TYPES))
    else:
        causes += _BY_TYPE[kind](spec)
    fixed = flowcontrol.mandatory_level(name)
    if fixed is not None and _fixed_part(name, spec) != _fixed_part(name, fixed):
        but = " except the 'spec.exempt' field" if name == "exempt" else ""
        shown = flowcontrol.level_as_shown(spec)
        causes.append(invalid("spec", shown, f"spec of '{name}'{but} must equal the fixed value"))
    return causes + _conditions(obj)


def _fixed_part(name: str, spec: Obj) -> Obj:
    """What of a mandatory level may not change: everything but the shares of the exempt one."""
    return {key: value for key, value in spec.items() if name != "exempt" or key != "exempt"}


def _exempt_level(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    if "limited" in spec:
        causes.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
    exempt = spec.get("exempt") or {}
    if exempt.get("nominalConcurrencyShares", 0) < 0:
        shares = exempt["nominalConcurrencyShares"]
        causes.append(invalid("spec.exempt.nominalConcurrencyShares", shares, _NOT_NEGATIVE))
    return causes + _lendable(exempt, "spec.exempt")


def _limited_level(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    if "exempt" in spec:
        causes.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
    limited = spec.get("limited")
    if limited is None:
        return [*causes, required("spec.limited", "must not be empty when type is Limited")]
    shares, borrowed = limited.get("nominalConcurrencyShares", 0), limited.get("borrowingLimitPercent", 0)
    if shares < 0:
        causes.append(invalid("spec.limited.nominalConcurrencyShares", shares, _NOT_NEGATIVE))
    causes += _response(limited.get("limitResponse", {}), "spec.limited.limitResponse")
    causes += _lendable(limited, "spec.limited")
    if borrowed < 0:
        causes.append(invalid("spec.limited.borrowingLimitPercent", borrowed, f"if specified, {_NOT_NEGATIVE}"))
    return causes


_BY_TYPE: Final[Mapping[str, Callable[[Obj], list[Cause]]]] = {"Exempt": _exempt_level, "Limited": _limited_level}


def _lendable(level: Obj, path: str) -> list[Cause]:
    percent = level.get("lendablePercent", 0)
    return [] if 0 <= percent <= 100 else [invalid(f"{path}.lendablePercent", percent, _PERCENT)]


def _response(response: Obj, path: str) -> list[Cause]:
    kind, queuing = response.get("type", ""), response.get("queuing")
    if kind not in _RESPONSE_TYPES:
        return [not_supported(f"{path}.type", kind, _RESPONSE_TYPES)]
    if kind == "Queue" and queuing is None:
        return [required(f"{path}.queuing", "must not be empty if limited.limitResponse.type is Limited")]
    if kind == "Reject" and queuing is not None:
        return [forbidden(f"{path}.queuing", "must be nil if limited.limitResponse.type is not Limited")]
    return _queuing(queuing, f"{path}.queuing") if queuing is not None else []


def _queuing(queuing: Obj, path: str) -> list[Cause]:
    limit, queues, hand = (queuing.get(name, 0) for name in ("queueLengthLimit", "queues", "handSize"))
    causes: list[Cause] = []
    if limit <= 0:
        causes.append(invalid(f"{path}.queueLengthLimit", limit, _POSITIVE))
    if queues <= 0:
        causes.append(invalid(f"{path}.queues", queues, _POSITIVE))
    elif queues > _QUEUES_MAX:
        causes.append(invalid(f"{path}.queues", queues, f"must not be greater than {_QUEUES_MAX}"))
    if hand <= 0:
        causes.append(invalid(f"{path}.handSize", hand, _POSITIVE))
    elif hand > queues:
        causes.append(invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif _entropy_bits(queues, hand) > _HASH_BITS_MAX:
        why = f"required entropy bits of deckSize {queues} and handSize {hand}"
        causes.append(invalid(f"{path}.handSize", hand, f"{why} should not be greater than {_HASH_BITS_MAX}"))
    return causes


def _entropy_bits(deck: int, hand: int) -> int:
    """How many bits of a hash it takes at most to deal `hand` cards of a deck."""
    return math.ceil(math.log2(deck) * hand)
