"""Validate what a Job says of failed pods and of its success.

Source: upstream's `validatePodFailurePolicy` and `validateSuccessPolicy`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import (
    OMITTED,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from oarlock.cluster.objects.gostructs import Struct
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.resource_validation import NOT_NEGATIVE
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_ACTIONS: Final = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS: Final = ("In", "NotIn")
_STATUSES: Final = ("False", "True", "Unknown")
_RULES_MAX: Final = 20
_EXIT_CODES_MAX: Final = 255
_PATTERNS_MAX: Final = 20
_INDEXES_BYTES_MAX: Final = 64 * 1024
_NUMBER: Final = re.compile("[+-]?[0-9]+")


def failure_policy(spec: Obj, path: str) -> list[Cause]:
    """What is wrong with a Job's failure policy (at `path`)."""
    template = spec.get("template", {}).get("spec", {})
    known = {one.get("name") for group in ("containers", "initContainers") for one in template.get(group) or ()}
    rules = spec["podFailurePolicy"].get("rules") or ()
    causes = _count(rules, f"{path}.rules", _RULES_MAX)
    for index, rule in enumerate(rules):
        place = f"{path}.rules[{index}]"
        causes += _action(rule.get("action", ""), f"{place}.action", spec)
        codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
        if codes is not None:
            causes += _exit_codes(codes, f"{place}.onExitCodes", known)
        causes += _conditions(patterns, f"{place}.onPodConditions")
        if codes is not None and patterns:
            why = "specifying both OnExitCodes and OnPodConditions is not supported"
            causes.append(invalid(place, OMITTED, why))
        if codes is None and not patterns:
            why = "specifying one of OnExitCodes and OnPodConditions is required"
            causes.append(invalid(place, OMITTED, why))
    return causes


def _count(items: Sequence[Any], path: str, count_max: int) -> list[Cause]:
    return [too_many(path, len(items), count_max)] if len(items) > count_max else []


def _one_of(value: str, path: str, choices: Sequence[str]) -> list[Cause]:
    if not value:
        return [required(path, f"valid values: [{' '.join(quote(one) for one in choices)}]")]
    return [] if value in choices else [not_supported(path, value, choices)]


def _action(action: str, path: str, spec: Obj) -> list[Cause]:
    if action == "FailIndex" and "backoffLimitPerIndex" not in spec:
        return [invalid(path, action, "requires the backoffLimitPerIndex to be set")]
    return _one_of(action, path, _ACTIONS)


def _exit_codes(rule: Obj, path: str, known: Collection[str | None]) -> list[Cause]:
    operator, values, name = rule.get("operator", ""), rule.get("values") or (), rule.get("containerName")
    causes = _one_of(operator, f"{path}.operator", _OPERATORS)
    if name is not None and name not in known:
        why = "must be one of the container or initContainer names in the pod template"
        causes.append(invalid(f"{path}.containerName", name, why))
    if not values:
        causes.append(invalid(f"{path}.values", rule.get("values"), "at least one value is required"))
    causes += _count(values, f"{path}.values", _EXIT_CODES_MAX)
    seen: set[int] = set()
    for index, value in enumerate(values):
        place = f"{path}.values[{index}]"
        if operator == "In" and value == 0:
            causes.append(invalid(place, value, "must not be 0 for the In operator"))
        if value in seen:
            causes.append(duplicate(place, value))
        seen.add(value)
    if any(first > second for first, second in itertools.pairwise(values)):
        causes.append(invalid(f"{path}.values", values, "must be ordered"))
    return causes


def _conditions(patterns: Sequence[Obj], path: str) -> list[Cause]:
    causes = _count(patterns, path, _PATTERNS_MAX)
    for index, pattern in enumerate(patterns):
        kind = pattern.get("type", "")
        causes += [invalid(f"{path}[{index}].type", kind, why) for why in names.qualified_name(kind)]
        causes += _one_of(pattern.get("status", ""), f"{path}[{index}].status", _STATUSES)
    return causes


def success_policy(spec: Obj, path: str) -> list[Cause]:
    """What is wrong with a Job's success policy (at `path`)."""
    policy = spec["successPolicy"]
    if spec.get("completionMode") != "Indexed":
        return [invalid(path, Struct("batch.v1.SuccessPolicy", policy), "requires indexed completion mode")]
    rules = policy.get("rules") or ()
    if not rules:
        why = "at least one rules must be specified when the successPolicy is specified"
        return [required(f"{path}.rules", why)]
    causes = _count(rules, f"{path}.rules", _RULES_MAX)
    # Upstream fails on a Job without completions, which is refused for them anyway.
    if "completions" not in spec:
        return causes
    for index, rule in enumerate(rules):
        causes += _success_rule(rule, f"{path}.rules[{index}]", spec["completions"])
    return causes


def _success_rule(rule: Obj, path: str, completions: int) -> list[Cause]:
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if indexes is None and count is None:
        return [required(path, "at least one of succeededCount or succeededIndexes must be specified")]
    causes: list[Cause] = []
    total = 0
    if indexes is not None:
        place = f"{path}.succeededIndexes"
        if len(indexes) > _INDEXES_BYTES_MAX:
            causes.append(too_long(place, _INDEXES_BYTES_MAX))
        try:
            total = indexes_count(indexes, completions)
        except ValueError as error:
            causes.append(invalid(place, indexes, f"error parsing succeededIndexes: {error}"))
    if count is None:
        return causes
    place = f"{path}.succeededCount"
    if count < 0:
        causes.append(invalid(place, count, NOT_NEGATIVE))
    if count > completions:
        why = f"must be less than or equal to {completions} (the number of specified completions)"
        causes.append(invalid(place, count, why))
    if indexes is not None and count > total:
        words = "the number of indexes in the specified succeededIndexes field"
        causes.append(invalid(place, count, f"must be less than or equal to {total} ({words})"))
    return causes


def indexes_count(text: str, completions: int) -> int:
    """How many indexes a text such as `0-2,5` names. Raises ValueError in upstream's words.

    Source: upstream's `validateIndexesFormat`.
    """
    total, last = 0, -1
    for part in text.split(",") if text else ():
        first, end = _interval(part, completions)
        if last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total += end - first + 1
        last = end
    return total


def _interval(part: str, completions: int) -> tuple[int, int]:
    ends = part.split("-")
    if len(ends) > 2:
        rule = "an index interval can have at most two parts separated by '-'"
        raise ValueError(f"the fragment {quote(part)} violates the requirement that {rule}")
    numbers: list[int] = []
    for end in ends:
        if not _NUMBER.fullmatch(end):
            raise ValueError(f"cannot convert string to integer for index: {quote(end)}")
        if int(end) >= completions:
            raise ValueError(f"too large index: {quote(end)}")
        numbers.append(int(end))
    if len(numbers) == 2 and numbers[0] >= numbers[1]:
        raise ValueError(f"non-increasing order, previous: {numbers[0]}, current: {numbers[1]}")
    return numbers[0], numbers[-1]
