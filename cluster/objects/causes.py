"""Make the causes of a 422, worded as upstream's field errors.

Source: apimachinery `util/validation/field/errors.go`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson

from oarlock.cluster.objects import gostructs
from oarlock.cluster.objects.gostructs import Struct
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.status import Cause

OMITTED: Final = object()


def required(field: str, detail: str = "") -> Cause:
    """A field that must be set is not."""
    return Cause("FieldValueRequired", _with("Required value", detail), field)


def forbidden(field: str, detail: str) -> Cause:
    """A field may not be set (or changed) here."""
    return Cause("FieldValueForbidden", _with("Forbidden", detail), field)


def invalid(field: str, value: Any, detail: str) -> Cause:
    """A value breaks a rule; OMITTED for one that the message doesn't show."""
    head = "Invalid value" if value is OMITTED else f"Invalid value: {shown(value)}"
    return Cause("FieldValueInvalid", _with(head, detail), field)


def duplicate(field: str, value: Any) -> Cause:
    """A value that must be unique comes twice."""
    return Cause("FieldValueDuplicate", f"Duplicate value: {shown(value)}", field)


def not_found(field: str, value: Any, detail: str = "") -> Cause:
    """A value names something that is not there."""
    return Cause("FieldValueNotFound", _with(f"Not found: {shown(value)}", detail), field)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    """A value is none of an enumeration's; `supported` in the order in which upstream lists them."""
    listed = ", ".join(quote(one) for one in supported)
    message = f"Unsupported value: {shown(value)}" + (f": supported values: {listed}" if listed else "")
    return Cause("FieldValueNotSupported", message, field)


def too_long(field: str, bytes_max: int) -> Cause:
    """A value is longer than it may be."""
    return Cause("FieldValueTooLong", f"Too long: may not be more than {bytes_max} bytes", field)


def too_many(field: str, count: int, count_max: int) -> Cause:
    """A list has more items than it may have."""
    noun = "item" if count_max == 1 else "items"
    return Cause("FieldValueTooMany", f"Too many: {count}: must have at most {count_max} {noun}", field)


class GoFields(dict[str, Any]):
    """A value as Go holds it: every field there, by its name in Go, in the order of its struct."""


def shown(value: Any) -> str:
    """A value as a field error shows it: strings quoted, structs as their internal type's JSON, the rest as JSON."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, GoFields):
        return orjson.dumps(value).decode()
    if isinstance(value, Struct):
        return gostructs.shown(value)
    return gostructs.as_json(value)


def _with(head: str, detail: str) -> str:
    return f"{head}: {detail}" if detail else head
