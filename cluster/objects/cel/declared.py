"""What rules are told of a schema: types of its places, how large their values may get.

Source: apiserver `pkg/cel/common/schemas.go`, `pkg/cel/{limits,types}.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from oarlock.cluster.objects.cel import values
from oarlock.cluster.objects.cel.types import STRING, Type, list_of, map_of
from oarlock.cluster.objects.extensions.structural import ABSENT, Structural

REQUEST_BYTES_MAX: Final = 3 * 1024 * 1024
_TEXT_MAX: Final = REQUEST_BYTES_MAX - 2
#: Of texts with a format: their type, the fewest bytes in JSON, the most characters.
_FORMATS: Final[Mapping[str, tuple[str, int, int]]] = {
    "byte": ("bytes", 2, _TEXT_MAX),
    "duration": ("duration", 3, 32),
    "date": ("timestamp", 12, 12),
    "date-time": ("timestamp", 21, 32),
}
_PLAIN: Final = {"boolean": ("bool", 4), "number": ("double", 1), "integer": ("int", 1)}
_ROOT: Final = "selfType0"
_NAMES: Final = Structural(
    type="object", properties={"name": Structural(type="string"), "generateName": Structural(type="string")}
)


@dataclass(frozen=True, slots=True)
class Declared:
    """The type of a place, with the most elements and the fewest bytes of a value, and what is inside it."""

    type: Type
    size_max: int = 0
    bytes_min: int = 0
    fields: Mapping[str, Declared] = field(default_factory=dict)
    items: Declared | None = None

    @property
    def keys(self) -> Declared | None:
        """What a map's keys are."""
        return Declared(STRING, 0, 2) if self.type.kind == "map" else None


def declared(schema: Structural, *, root: bool = False, name: str = _ROOT) -> Declared | None:
    """What rules at a place of a schema are told; None if nothing is known of it.

    Of a whole object (`root`) they always see kind, apiVersion and the names in its metadata.
    """
    if schema.int_or_string:
        length = schema.limits.length_max
        return Declared(Type("dyn"), _TEXT_MAX if length is None else max(length, 0) * 4, 1)
    if root:
        schema = _with_identity(schema)
    if schema.type == "array":
        return _list(schema, name)
    if schema.type == "object":
        return _map(schema, name) if isinstance(schema.additional, Structural) else _object(schema, name)
    if schema.type == "string":
        return _text(schema)
    if schema.type in _PLAIN:
        kind, bytes_min = _PLAIN[schema.type]
        return Declared(Type(kind), 0, bytes_min)
    return None


def _with_identity(schema: Structural) -> Structural:
    text = Structural(type="string")
    return replace(schema, properties={**schema.properties, "kind": text, "apiVersion": text, "metadata": _NAMES})


def _list(schema: Structural, name: str) -> Declared | None:
    if schema.items is None:
        return None
    items = declared(schema.items, root=schema.items.embedded, name=f"{name}.@idx")
    if items is None:
        return None
    count = schema.limits.items_max
    size_max = (REQUEST_BYTES_MAX - 2) // (items.bytes_min + 1) if count is None else max(count, 0)
    return Declared(list_of(items.type), size_max, 2, items=items)


def _map(schema: Structural, name: str) -> Declared | None:
    assert isinstance(schema.additional, Structural)
    values_ = declared(schema.additional, root=schema.additional.embedded, name=f"{name}.@elem")
    if values_ is None:
        return None
    count = schema.limits.properties_max
    size_max = (REQUEST_BYTES_MAX - 2) // (values_.bytes_min + 6) if count is None else max(count, 0)
    return Declared(map_of(STRING, values_.type), size_max, 2, items=values_)


def _object(schema: Structural, name: str) -> Declared:
    fields: dict[str, Declared] = {}
    bytes_min = 2
    for key, one in schema.properties.items():
        identifier = values.escaped(key)
        found = declared(one, root=one.embedded, name=f"{name}.{identifier}")
        if found is None:
            continue
        if identifier is not None:
            fields[identifier] = found
            if key in values.RESERVED:
                fields[key] = found
        if key in schema.limits.required and one.default is ABSENT:
            bytes_min += len(key) + found.bytes_min + 4
    return Declared(Type("object", name), 0, bytes_min, fields)


def _text(schema: Structural) -> Declared:
    limits = schema.limits
    if limits.format in _FORMATS:
        kind, bytes_min, size_max = _FORMATS[limits.format]
        if kind == "bytes" and limits.length_max is not None:
            size_max = max(limits.length_max, 0)
        return Declared(Type(kind), size_max, bytes_min)
    if limits.length_max is not None:
        return Declared(STRING, max(limits.length_max, 0) * 4, 2)
    if limits.enum:
        return Declared(STRING, max(len(one.encode()) if isinstance(one, str) else 0 for one in limits.enum), 2)
    return Declared(STRING, _TEXT_MAX, 2)


def objects(place: Declared) -> dict[str, Declared]:
    """Every object inside a place, by the name of its type."""
    found: dict[str, Declared] = {}
    due = [place]
    while due:
        one = due.pop()
        if one.type.kind == "object":
            found[one.type.name] = one
            due += one.fields.values()
        if one.items is not None:
            due.append(one.items)
    return found
