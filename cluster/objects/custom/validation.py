"""Validate custom objects by their schema; a field that an update leaves alone is not judged again.

Source: apiextensions `registry/customresource/validator.go`; KEP-4008 (ratcheting).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from oarlock.cluster.objects.causes import invalid, required
from oarlock.cluster.objects.cel import rules
from oarlock.cluster.objects.custom import lists
from oarlock.cluster.objects.extensions import values
from oarlock.cluster.objects.extensions.structural import Structural
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_STEP: Final = re.compile(r"\[(\d+)\]|\.?([^.\[\]]+)")
_MISSING: Final = object()
_BLOCKING: Final = frozenset(
    {
        *("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany"),
        "FieldValueTypeInvalid",
    }
)
_NOWHERE: Final = "<nil>"
"""The field of what is told of the object as a whole: Go's name for a path without elements."""
_NOT_CHECKED: Final = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
    _NOWHERE,
)


def create(resource: Resource, obj: Obj) -> list[Cause]:
    """What is wrong with a new object, its metadata apart."""
    return _with_rules(resource, obj, None, [*_type(resource, obj), *_judged(resource, obj)])


def update(resource: Resource, new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a change, its metadata apart."""
    unchanged = set(_judged(resource, old))
    found = [*_type(resource, new)]
    for cause in _judged(resource, new):
        if cause in unchanged and _at(new, _place(cause)) == _at(old, _place(cause)):
            continue
        found.append(cause)
    return _with_rules(resource, new, old, found)


def _with_rules(resource: Resource, new: Obj, old: Obj | None, found: list[Cause]) -> list[Cause]:
    """Add what the rules say, which are only asked about objects of the right shape."""
    custom = resource.custom
    assert custom is not None
    found = [cause if cause.field else replace(cause, field=_NOWHERE) for cause in found]
    if custom.rules is None:
        return found
    if any(cause.reason in _BLOCKING for cause in found):
        return [*found, _NOT_CHECKED]
    return [*found, *rules.causes(custom.rules, new, old)]


def _type(resource: Resource, obj: Obj) -> Iterator[Cause]:
    if obj.get("kind") != resource.kind:
        yield invalid("kind", obj.get("kind", ""), f"must be {resource.kind}")
    if obj.get("apiVersion") != resource.api_version:
        yield invalid("apiVersion", obj.get("apiVersion", ""), f"must be {resource.api_version}")


def _judged(resource: Resource, obj: Obj) -> Iterator[Cause]:
    assert resource.custom is not None
    schema = resource.custom.schema
    for cause in values.causes(schema, obj, ""):
        yield replace(cause, field=cause.field.removeprefix("."))
    yield from _embedded(schema, obj, "", root=True)
    yield from lists.causes(schema, obj, "")


def _embedded(schema: Structural, value: Any, path: str, *, root: bool = False) -> Iterator[Cause]:
    """Whole objects inside the object say what they are."""
    if isinstance(value, Mapping):
        if schema.embedded and not root:
            yield from (
                required(f"{path}.{name}", "must not be empty")
                for name in ("apiVersion", "kind")
                if not value.get(name)
            )
        for name, one in value.items():
            below = schema.properties.get(name)
            if below is None and isinstance(schema.additional, Structural):
                below = schema.additional
            if below is not None:
                yield from _embedded(below, one, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and schema.items is not None:
        for index, one in enumerate(value):
            yield from _embedded(schema.items, one, f"{path}[{index}]")


def _place(cause: Cause) -> str:
    """What must be unchanged for a cause to be passed over: of a missing field what should hold it."""
    if cause.reason == "FieldValueRequired":
        return cause.field.rpartition(".")[0]
    return cause.field


def _at(obj: Any, path: str) -> Any:
    here = obj
    for index, name in _STEP.findall(path):
        if index and isinstance(here, list):
            here = here[int(index)] if int(index) < len(here) else _MISSING
        elif isinstance(here, Mapping):
            here = here.get(name or index, _MISSING)
        else:
            return _MISSING
    return here
