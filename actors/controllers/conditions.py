"""Status conditions as workload controllers keep them: one of each type, the last one changed at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Condition = dict[str, Any]


def find(conditions: Iterable[Mapping[str, Any]] | None, kind: str) -> Mapping[str, Any] | None:
    """Return the condition of the type, or None."""
    for one in conditions or ():
        if one.get("type") == kind:
            return one
    return None


def is_true(conditions: Iterable[Mapping[str, Any]] | None, kind: str) -> bool:
    """Whether the condition of the type is there and True."""
    found = find(conditions, kind)
    return found is not None and found.get("status") == "True"


def without(conditions: Iterable[Condition] | None, kind: str) -> list[Condition]:
    """Return the conditions of all other types, in their order."""
    return [one for one in conditions or () if one.get("type") != kind]


def condition(kind: str, status: str, reason: str, message: str, stamp: str, **more: str) -> Condition:
    """Return a condition that became so at `stamp`; empty parts are left out."""
    made = {"type": kind, "status": status, **more, "lastTransitionTime": stamp, "reason": reason, "message": message}
    return {name: value for name, value in made.items() if value}


def put(conditions: Iterable[Condition] | None, new: Condition) -> list[Condition]:
    """Return `conditions` with `new` at the end, or as they are when status and reason stay the same.

    The transition time is kept while the status is the same. Source: upstream's SetDeploymentCondition.
    """
    held = list(conditions or ())
    old = find(held, new["type"])
    if old is not None and old["status"] == new["status"] and old.get("reason") == new.get("reason"):
        return held
    if old is not None and old["status"] == new["status"]:
        new = {**new, "lastTransitionTime": old.get("lastTransitionTime", new["lastTransitionTime"])}
    return [*without(held, new["type"]), new]
