"""Selectable fields of custom objects. Source: KEP-4358."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oarlock.cluster.objects.custom.kind import CustomKind


def values(custom: CustomKind, obj: Mapping[str, Any]) -> dict[str, str]:
    """The selectable fields' values as texts, "" for those that an object lacks."""
    return {path: value(obj, path) for path in custom.selectable}


def value(obj: Mapping[str, Any], path: str) -> str:
    """The text of the scalar at a path of field names."""
    here: Any = obj
    for step in path.split("."):
        here = here.get(step) if isinstance(here, Mapping) else None
    if here is None:
        return ""
    if isinstance(here, bool):
        return "true" if here else "false"
    return str(here)
