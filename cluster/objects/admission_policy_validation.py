"""Validate admission policies, validating and mutating ones, and their bindings.

Expressions must be CEL by their syntax; whether their names and types are right isn't looked at.
Source: upstream's `pkg/apis/admissionregistration/validation/validation.go`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.admission_rules_validation import (
    FAILURE_POLICIES,
    choice,
    match_conditions,
    match_resources,
    syntax,
)
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_supported, required
from oarlock.cluster.objects.condition_validation import conditions
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

_REASONS: Final = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_ACTIONS: Final = ("Audit", "Deny", "Warn")
_MUTABLE_OPERATIONS: Final = ("CREATE", "UPDATE")
_REINVOCATION: Final = ("IfNeeded", "Never")
_PATCH_TYPES: Final = ("ApplyConfiguration", "JSONPatch")
_WHEN_NOT_FOUND: Final = ("Deny", "Allow")
_ANNOTATIONS_MAX: Final = 20
_VALUE_BYTES_MAX: Final = 5 * 1024
_IDENTIFIER: Final = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*\Z")
_RESERVED: Final = frozenset(
    {
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if"),
        *("import", "let", "loop", "package", "namespace", "return", "var", "void", "while"),
    }
)
_EXCLUSIVE: Final = "name and selector are mutually exclusive"
_NOTHING: Final = "validations or auditAnnotations must contain at least one item"


def validating_policy(obj: Obj) -> list[Cause]:
    """What is wrong with a new ValidatingAdmissionPolicy beyond its metadata."""
    return _validating(obj, check_conditions=True)


def validating_policy_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with one that replaces `old`; conditions are looked at again only if they may have become wrong."""
    same = all(new["spec"].get(name) == old["spec"].get(name) for name in ("paramKind", "matchConditions"))
    return _validating(new, check_conditions=not same)


def _validating(obj: Obj, *, check_conditions: bool) -> list[Cause]:
    spec, annotations = obj["spec"], obj["spec"].get("auditAnnotations") or ()
    causes = _head(spec, check_conditions=check_conditions, mutating=False)
    validations = spec.get("validations") or ()
    if not validations and not annotations:
        return [*causes, *(required(f"spec.{name}", _NOTHING) for name in ("validations", "auditAnnotations"))]
    for index, item in enumerate(validations):
        causes += _validation(item, f"spec.validations[{index}]")
    if len(annotations) > _ANNOTATIONS_MAX:
        why = f"must not have more than {_ANNOTATIONS_MAX} auditAnnotations"
        shown = [{"Key": one.get("key", ""), "ValueExpression": one.get("valueExpression", "")} for one in annotations]
        causes.append(invalid("spec.auditAnnotations", shown, why))
    seen: set[str] = set()
    for index, item in enumerate(annotations):
        path, key = f"spec.auditAnnotations[{index}]", item.get("key", "")
        causes += _annotation(item, path, obj["metadata"].get("name", ""))
        if key in seen:
            causes.append(duplicate(f"{path}.key", key))
        seen.add(key)
    return causes


def _head(spec: Obj, *, check_conditions: bool, mutating: bool) -> list[Cause]:
    """What both kinds of policy have: when they are asked, with which parameters and variables."""
    causes = choice(spec, "failurePolicy", "spec", FAILURE_POLICIES)
    if "failurePolicy" not in spec:
        causes.append(required("spec.failurePolicy"))
    if "paramKind" in spec:
        causes += _param_kind(spec["paramKind"], "spec.paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        causes.append(required("spec.matchConstraints"))
    else:
        causes += match_resources(constraints, "spec.matchConstraints")
        rules = constraints.get("resourceRules") or ()
        if not rules:
            causes.append(required("spec.matchConstraints.resourceRules"))
        if mutating:
            causes += _mutable(rules, "spec.matchConstraints.resourceRules.operations")
    if check_conditions:
        causes += match_conditions(spec.get("matchConditions") or (), "spec.matchConditions")
    for index, item in enumerate(spec.get("variables") or ()):
        causes += _variable(item, f"spec.variables[{index}]")
    return causes


def _mutable(rules: Sequence[Obj], path: str) -> list[Cause]:
    """Only what is written can be changed."""
    return [
        not_supported(path, operation, _MUTABLE_OPERATIONS)
        for rule in rules
        for operation in rule.get("operations") or ()
        if operation not in _MUTABLE_OPERATIONS
    ]


def _param_kind(item: Obj, path: str) -> list[Cause]:
    text, kind = item.get("apiVersion", ""), item.get("kind", "")
    causes = _api_version(text, f"{path}.apiVersion") if text else [required(f"{path}.apiVersion")]
    if not kind:
        return [*causes, required(f"{path}.kind")]
    wrong = names.dns_1035_label(kind.lower())
    if wrong:
        why = f"may have mixed case, but should otherwise match: {','.join(wrong)}"
        causes.append(invalid(f"{path}.kind", kind, why))
    return causes


def _api_version(text: str, path: str) -> list[Cause]:
    if text.count("/") > 1:
        return [invalid(path, text, f"unexpected GroupVersion string: {text}")]
    group, _, version = text.rpartition("/")
    causes: list[Cause] = []
    wrong = names.dns_subdomain(group) if group else ()
    if wrong:
        causes.append(invalid(path, group, ",".join(wrong)))
    if not version:
        return [*causes, invalid(path, text, "version must be specified")]
    wrong = names.dns_1035_label(version)
    return [*causes, invalid(path, version, ",".join(wrong))] if wrong else causes


def _variable(item: Obj, path: str) -> list[Cause]:
    name = item.get("name", "")
    causes: list[Cause] = []
    if not name.strip():
        causes.append(required(f"{path}.name", "name is not specified"))
    elif not _IDENTIFIER.match(name) or name in _RESERVED:
        causes.append(invalid(f"{path}.name", name, "must be a valid CEL identifier"))
    return causes + _expression(item, path)


def _expression(item: Obj, path: str) -> list[Cause]:
    if item.get("expression", "").strip():
        return syntax(item["expression"], f"{path}.expression")
    return [required(f"{path}.expression", "expression is not specified")]


def _validation(item: Obj, path: str) -> list[Cause]:
    causes = _expression(item, path)
    for name in ("messageExpression", "message"):
        text = item.get(name, "")
        if text and not text.strip():
            causes.append(invalid(f"{path}.{name}", text, "must be non-empty if specified"))
        elif text and name == "messageExpression":
            causes += syntax(text, f"{path}.{name}")
        elif name == "message" and re.search(r"[\r\n]", text.strip()):
            causes.append(invalid(f"{path}.{name}", text, "must not contain line breaks"))
    return causes + choice(item, "reason", path, _REASONS)


def _annotation(item: Obj, path: str, policy: str) -> list[Cause]:
    key, value = item.get("key", ""), item.get("valueExpression", "").strip()
    if policy:
        full = f"{policy}/{key}"
        causes = [invalid(f"{path}.key", full, why) for why in names.qualified_name(full)]
    else:
        causes = [invalid(f"{path}.key", key, "requires metadata.name be non-empty")]
    if not value:
        causes.append(required(f"{path}.valueExpression", "valueExpression is not specified"))
    elif len(value.encode()) > _VALUE_BYTES_MAX:
        causes.append(required(f"{path}.valueExpression", f"must not exceed {_VALUE_BYTES_MAX} bytes in length"))
    else:
        causes += syntax(value, f"{path}.valueExpression")
    return causes


def validating_status(new: Obj, _: Obj) -> list[Cause]:
    """What is wrong with a ValidatingAdmissionPolicy's new status."""
    status = new.get("status") or {}
    causes: list[Cause] = []
    for index, item in enumerate((status.get("typeChecking") or {}).get("expressionWarnings") or ()):
        path = f"status.typeChecking.expressionWarnings[{index}]"
        if not item.get("warning"):
            causes.append(required(f"{path}.warning"))
        if not item.get("fieldRef", "").strip():
            causes.append(required(f"{path}.fieldRef"))
    return causes + conditions(status.get("conditions") or (), "status.conditions")


def mutating_policy(obj: Obj) -> list[Cause]:
    """What is wrong with a new MutatingAdmissionPolicy beyond its metadata."""
    return _mutating(obj["spec"], check_conditions=True)


def mutating_policy_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with one that replaces `old`."""
    same = all(new["spec"].get(name) == old["spec"].get(name) for name in ("paramKind", "matchConditions"))
    return _mutating(new["spec"], check_conditions=not same)


def _mutating(spec: Obj, *, check_conditions: bool) -> list[Cause]:
    causes = _head(spec, check_conditions=check_conditions, mutating=True)
    mutations = spec.get("mutations") or ()
    if not mutations:
        causes.append(required("spec.mutations", "mutations must contain at least one item"))
    for index, item in enumerate(mutations):
        causes += _mutation(item, f"spec.mutations[{index}]")
    policy = spec.get("reinvocationPolicy", "")
    if not policy:
        causes.append(required("spec.reinvocationPolicy"))
    elif policy not in _REINVOCATION:
        causes.append(not_supported("spec.reinvocationPolicy", policy, _REINVOCATION))
    return causes


def _mutation(item: Obj, path: str) -> list[Cause]:
    """A mutation of one type: described by that type's field and no other."""
    kind = item.get("patchType", "")
    if not kind:
        return [required(f"{path}.patchType")]
    if kind not in _PATCH_TYPES:
        return [not_supported(f"{path}.patchType", kind, _PATCH_TYPES)]
    fields = ("jsonPatch", "applyConfiguration")
    own, other = fields if kind == "JSONPatch" else fields[::-1]
    causes: list[Cause] = []
    if own not in item:
        causes.append(required(f"{path}.{own}", f"must be specified when patchType is {kind}"))
    elif not item[own].get("expression", "").strip():
        causes.append(required(f"{path}.{own}.expression"))
    else:
        causes += syntax(item[own]["expression"], f"{path}.{own}.expression")
    if other in item:
        why = f"must not be specified when patchType is {kind}"
        causes.append(invalid(f"{path}.{other}", f"{{{other}}}", why))
    return causes


def validating_binding(obj: Obj) -> list[Cause]:
    """What is wrong with a ValidatingAdmissionPolicyBinding beyond its metadata."""
    return _binding(obj["spec"]) + _actions(obj["spec"].get("validationActions") or (), "spec.validationActions")


def mutating_binding(obj: Obj) -> list[Cause]:
    """What is wrong with a MutatingAdmissionPolicyBinding beyond its metadata."""
    rules = (obj["spec"].get("matchResources") or {}).get("resourceRules") or ()
    return _binding(obj["spec"]) + _mutable(rules, "spec.matchResources.resourceRules.operations")


def _binding(spec: Obj) -> list[Cause]:
    name = spec.get("policyName", "")
    causes = [invalid("spec.policyName", name, why) for why in names.dns_subdomain(name)]
    if not name:
        causes = [required("spec.policyName")]
    if "paramRef" in spec:
        causes += _param_ref(spec["paramRef"], "spec.paramRef")
    return causes + (match_resources(spec["matchResources"], "spec.matchResources") if "matchResources" in spec else [])


def _param_ref(item: Obj, path: str) -> list[Cause]:
    """Parameters by name or by selector, and what to do where there are none."""
    name, selector, action = item.get("name", ""), item.get("selector"), item.get("parameterNotFoundAction")
    causes = [invalid(f"{path}.name", name, why) for why in names.path_segment(name)]
    if name and selector is not None:
        causes.append(forbidden(f"{path}.name", _EXCLUSIVE))
    if selector is not None:
        causes += label_selector(selector, f"{path}.selector")
        if name:
            causes.append(forbidden(f"{path}.selector", _EXCLUSIVE))
    elif not name:
        causes.append(required(path, "one of name or selector must be specified"))
    if not action:
        causes.append(required(f"{path}.parameterNotFoundAction"))
    elif action not in _WHEN_NOT_FOUND:
        causes.append(not_supported(f"{path}.parameterNotFoundAction", action, _WHEN_NOT_FOUND))
    return causes


def _actions(actions: Sequence[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, action in enumerate(actions):
        if action not in _ACTIONS:
            causes.append(not_supported(f"{path}[{index}]", action, _ACTIONS))
        if action in actions[:index]:
            causes.append(duplicate(f"{path}[{index}]", action))
    if {"Deny", "Warn"} <= set(actions):
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        causes.append(invalid(path, actions, why))
    if not actions:
        causes.append(required(path, "at least one validation action is required"))
    return causes
