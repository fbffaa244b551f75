"""Structural schemas in compiled form: what a CustomResourceDefinition's OpenAPI schema says, as frozen values.

Source: apiextensions `pkg/apiserver/schema/{structural,convert}.go`. A place inside allOf, anyOf, oneOf and not has the
same form as one outside; `structure_rules` tells what may stand there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

Json = Mapping[str, Any]


class NotStructural(Exception):
    """A schema uses what no structural schema has; the message is upstream's."""


class Absent:
    """The type of ABSENT: no default, which is not the same as a default of null."""


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a value must keep to, beyond its type."""

    format: str = ""
    maximum: float | None = None
    exclusive_maximum: bool = False
    minimum: float | None = None
    exclusive_minimum: bool = False
    length_max: int | None = None
    length_min: int | None = None
    pattern: str = ""
    items_max: int | None = None
    items_min: int | None = None
    unique_items: bool = False
    multiple_of: float | None = None
    properties_max: int | None = None
    properties_min: int | None = None
    required: tuple[str, ...] = ()
    enum: tuple[Any, ...] = ()
    all_of: tuple[Structural, ...] = ()
    any_of: tuple[Structural, ...] = ()
    one_of: tuple[Structural, ...] = ()
    none_of: Structural | None = None


@dataclass(frozen=True, slots=True)
class Structural:
    """One place of a schema. `additional` is the schema of a map's values, or whether there may be others."""

    type: str = ""
    description: str = ""
    title: str = ""
    nullable: bool = False
    default: Any = ABSENT
    properties: Mapping[str, Structural] = field(default_factory=dict)
    items: Structural | None = None
    additional: Structural | bool | None = None
    keeps_unknown: bool = False
    embedded: bool = False
    int_or_string: bool = False
    list_type: str | None = None
    list_keys: tuple[str, ...] = ()
    map_type: str | None = None
    rules: tuple[Json, ...] = ()
    limits: Limits = field(default_factory=Limits)


_UNSUPPORTED: Final = (
    ("id", "id"),
    ("$schema", "schema"),
    ("$ref", "$ref"),
    ("patternProperties", "patternProperties"),
    ("dependencies", "dependencies"),
    ("additionalItems", "additionalItems"),
    ("definitions", "definitions"),
)
_UNKNOWN: Final = frozenset(name for name, _ in _UNSUPPORTED)
_LIMITS: Final = (
    ("format", "format"),
    ("maximum", "maximum"),
    ("exclusive_maximum", "exclusiveMaximum"),
    ("minimum", "minimum"),
    ("exclusive_minimum", "exclusiveMinimum"),
    ("length_max", "maxLength"),
    ("length_min", "minLength"),
    ("pattern", "pattern"),
    ("items_max", "maxItems"),
    ("items_min", "minItems"),
    ("unique_items", "uniqueItems"),
    ("multiple_of", "multipleOf"),
    ("properties_max", "maxProperties"),
    ("properties_min", "minProperties"),
)
_LIMITING: Final = frozenset(key for _, key in _LIMITS) | {"required", "enum", "allOf", "anyOf", "oneOf", "not"}


def compiled(schema: Json) -> Structural:
    """The compiled form of a schema. Raises NotStructural."""
    for name, shown in () if _UNKNOWN.isdisjoint(schema) else _UNSUPPORTED:
        if schema.get(name) or (name == "additionalItems" and name in schema):
            raise NotStructural(f"OpenAPIV3Schema '{shown}' is not supported")
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        raise NotStructural("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined")
    items = schema.get("items")
    if isinstance(items, list) and items:
        raise NotStructural("OpenAPIV3Schema 'items' must be a schema, but is an array")
    return Structural(
        type=schema.get("type", ""),
        description=schema.get("description", ""),
        title=schema.get("title", ""),
        nullable=schema.get("nullable", False),
        default=schema.get("default", ABSENT),
        properties={name: compiled(one) for name, one in schema.get("properties", {}).items()},
        items=compiled(items) if isinstance(items, dict) else None,
        additional=_additional(schema.get("additionalProperties")),
        keeps_unknown=schema.get("x-kubernetes-preserve-unknown-fields", False),
        embedded=schema.get("x-kubernetes-embedded-resource", False),
        int_or_string=schema.get("x-kubernetes-int-or-string", False),
        list_type=schema.get("x-kubernetes-list-type"),
        list_keys=tuple(schema.get("x-kubernetes-list-map-keys", ())),
        map_type=schema.get("x-kubernetes-map-type"),
        rules=tuple(schema.get("x-kubernetes-validations", ())),
        limits=_limits(schema),
    )


def _additional(value: Any) -> Structural | bool | None:
    return compiled(value) if isinstance(value, dict) else value


_UNLIMITED: Final = Limits()


def _limits(schema: Json) -> Limits:
    if _LIMITING.isdisjoint(schema):
        return _UNLIMITED
    known = {name: schema[key] for name, key in _LIMITS if key in schema}
    return Limits(
        **known,
        required=tuple(schema.get("required", ())),
        enum=tuple(schema.get("enum", ())),
        all_of=_all(schema.get("allOf", ())),
        any_of=_all(schema.get("anyOf", ())),
        one_of=_all(schema.get("oneOf", ())),
        none_of=compiled(schema["not"]) if "not" in schema else None,
    )


def _all(schemas: Sequence[Json]) -> tuple[Structural, ...]:
    return tuple(compiled(one) for one in schemas)


def nodes(schema: Json) -> Iterator[Json]:
    """A schema and every one inside it, in no order that matters."""
    yield schema
    for below in _below(schema):
        yield from nodes(below)


def _below(schema: Json) -> Iterator[Json]:
    items = schema.get("items")
    yield from items if isinstance(items, list) else (items,) if isinstance(items, dict) else ()
    for name in ("allOf", "anyOf", "oneOf"):
        yield from schema.get(name, ())
    for name in ("not", "additionalProperties", "additionalItems"):
        if isinstance(schema.get(name), dict):
            yield schema[name]
    for name in ("properties", "patternProperties", "definitions", "dependencies"):
        yield from (one for one in schema.get(name, {}).values() if isinstance(one, dict))
