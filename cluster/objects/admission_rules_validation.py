"""Validate what says which requests an admission webhook or policy is asked about: rules, selectors, conditions.

The expressions of conditions must be CEL by their syntax; whether their names and types are right isn't looked at.
Source: upstream's `pkg/apis/admissionregistration/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import duplicate, invalid, not_supported, required, too_many
from oarlock.cluster.objects.cel import engine
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

FAILURE_POLICIES: Final = ("Fail", "Ignore")
MATCH_POLICIES: Final = ("Equivalent", "Exact")
_OPERATIONS: Final = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES: Final = ("*", "Cluster", "Namespaced")
_CONDITIONS_MAX: Final = 64


def choice(item: Obj, name: str, path: str, choices: Collection[str]) -> list[Cause]:
    """What is wrong with a field that, where it is there, is one of `choices`."""
    if name not in item or item[name] in choices:
        return []
    return [not_supported(f"{path}.{name}", item[name], choices)]


def rule(item: Obj, path: str) -> list[Cause]:
    """What is wrong with a rule: operations, groups, versions, resources, scope."""
    operations = item.get("operations") or ()
    causes = _several(operations, f"{path}.operations", "operations")
    for index, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            causes.append(not_supported(f"{path}.operations[{index}]", operation, _OPERATIONS))
    causes += _several(item.get("apiGroups") or (), f"{path}.apiGroups", "API groups")
    versions = item.get("apiVersions") or ()
    causes += _several(versions, f"{path}.apiVersions", "API versions")
    causes += [required(f"{path}.apiVersions[{index}]") for index, version in enumerate(versions) if not version]
    causes += _resources(item.get("resources") or (), f"{path}.resources")
    return causes + choice(item, "scope", path, _SCOPES)


def _several(values: Sequence[str], path: str, noun: str) -> list[Cause]:
    """At least one value; `*` stands alone."""
    if not values:
        return [required(path)]
    if len(values) > 1 and "*" in values:
        return [invalid(path, values, f"if '*' is present, must not specify other {noun}")]
    return []


def _resources(values: Sequence[str], path: str) -> list[Cause]:
    """Resources and subresources; what a wildcard covers may not follow it."""
    causes = [] if values else [required(path)]
    whole: set[str] = set()  # of x/*
    everywhere: set[str] = set()  # of */x
    plain = False
    for index, value in enumerate(values):
        resource, slash, part = value.partition("/")
        if not value:
            causes.append(required(f"{path}[{index}]"))
            continue
        if not slash:
            plain = value != "*"
            continue
        if resource in whole:
            why = f"if '{resource}/*' is present, must not specify {value}"
            causes.append(invalid(f"{path}[{index}]", value, why))
        if part in everywhere:
            causes.append(invalid(f"{path}[{index}]", value, f"if '*/{part}' is present, must not specify {value}"))
        if part == "*":
            whole.add(resource)
        if resource == "*":
            everywhere.add(part)
    if len(values) > 1 and "*/*" in values:
        causes.append(invalid(path, values, "if '*/*' is present, must not specify other resources"))
    if "*" in values and plain:
        why = "if '*' is present, must not specify other resources without subresources"
        causes.append(invalid(path, values, why))
    return causes


def match_resources(item: Obj, path: str) -> list[Cause]:
    """What is wrong with a policy's (or binding's) choice of requests."""
    causes = choice(item, "matchPolicy", path, MATCH_POLICIES)
    if "matchPolicy" not in item:
        causes.append(required(f"{path}.matchPolicy"))
    for name in ("namespaceSelector", "objectSelector"):
        causes += label_selector(item[name], f"{path}.{name}") if name in item else [required(f"{path}.{name}")]
    for name in ("resourceRules", "excludeResourceRules"):
        for index, one in enumerate(item.get(name) or ()):
            causes += _named_rule(one, f"{path}.{name}[{index}]")
    return causes


def _named_rule(item: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, name in enumerate(item.get("resourceNames") or ()):
        place = f"{path}.resourceNames[{index}]"
        causes += [invalid(place, name, why) for why in names.path_segment(name)]
        if name in seen:
            causes.append(duplicate(place, name))
        seen.add(name)
    return causes + rule(item, path)


def syntax(expression: str, path: str) -> list[Cause]:
    """What keeps an expression from being CEL, whatever its names mean."""
    try:
        engine.parsed(expression)
    except engine.CompileError as error:
        return [invalid(path, expression, f"compilation failed: {error}")]
    return []


def match_conditions(items: Sequence[Obj], path: str) -> list[Cause]:
    """What is wrong with the conditions under which a webhook or policy is asked."""
    causes: list[Cause] = []
    if len(items) > _CONDITIONS_MAX:
        causes.append(too_many(path, len(items), _CONDITIONS_MAX))
    seen: set[str] = set()
    for index, item in enumerate(items):
        name, place = item.get("name", ""), f"{path}[{index}].name"
        text, where = item.get("expression", ""), f"{path}[{index}].expression"
        causes += syntax(text, where) if text.strip() else [required(where)]
        if not name:
            causes.append(required(place))
            continue
        causes += [invalid(place, name, why) for why in names.qualified_name(name)]
        if name in seen:
            causes.append(duplicate(place, name))
        seen.add(name)
    return causes
