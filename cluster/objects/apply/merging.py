"""An applied object laid over the present one, and fields taken out of an object.

Source: structured-merge-diff's typed/merge.go and typed/remove.go. Neither function changes what it is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oarlock.cluster.objects.apply.fieldsets import Path, Trie, of
from oarlock.cluster.objects.apply.shapes import element, field_schema, is_atomic, items
from oarlock.cluster.objects.schemas import Schema

_GONE = object()


def merge(schema: Schema | None, live: Any, applied: Any) -> Any:
    """Return `live` with everything that `applied` says. Lists keep the applied order."""
    if type(live) is not type(applied) or is_atomic(schema, applied):
        return applied
    if isinstance(applied, dict):
        merged = dict(live)
        for name, value in applied.items():
            merged[name] = merge(field_schema(schema, name), live[name], value) if name in live else value
        return merged
    assert schema is not None
    return _merged_list(schema, live, applied)


def _merged_list(schema: Schema, live: list[Any], applied: list[Any]) -> list[Any]:
    """Items of both: the shared ones in the applied order, the others where they stood before the next shared one."""
    present, wanted = items(schema, live), items(schema, applied)
    merged: list[Any] = []
    waiting = list(present)
    for step, value in wanted.items():
        while waiting and (waiting[0] not in wanted):
            merged.append(present[waiting.pop(0)])
        if step in present:
            merged.append(merge(schema.items, present[step], value))
            waiting = [one for one in waiting if one != step]
        else:
            merged.append(value)
    merged += [present[step] for step in waiting if step not in wanted]
    return merged


def without(schema: Schema | None, obj: dict[str, Any], paths: Iterable[Path]) -> dict[str, Any]:
    """Return `obj` without the values at `paths`; what is left empty by that goes too."""
    left = _without(schema, obj, of(paths))
    return left if isinstance(left, dict) else {}


def _without(schema: Schema | None, value: Any, gone: Trie) -> Any:
    if not gone or is_atomic(schema, value):
        return value
    if isinstance(value, dict):
        kept: dict[str, Any] = {}
        for name, one in value.items():
            left = _left(field_schema(schema, name), one, gone.get("f:" + name))
            if left is not _GONE:
                kept[name] = left
        return kept or _GONE
    assert schema is not None
    remaining = [_left(schema.items, one, gone.get(element(schema, one))) for one in value]
    return [one for one in remaining if one is not _GONE] or _GONE


def _left(schema: Schema | None, value: Any, gone: Trie | None) -> Any:
    if gone is None:
        return value
    if not gone or "." in gone:
        return _GONE
    return _without(schema, value, gone)
