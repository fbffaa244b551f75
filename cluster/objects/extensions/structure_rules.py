"""Tell whether a compiled schema is structural: types everywhere outside logic, nothing but limits inside it.

Source: apiextensions `pkg/apiserver/schema/{validation,complete}.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

from oarlock.cluster.objects.causes import forbidden, invalid, required
from oarlock.cluster.objects.extensions import patterns
from oarlock.cluster.objects.extensions.structural import ABSENT, Limits, Structural
from oarlock.cluster.objects.status import Cause


class Level(Enum):
    """Where a schema stands, with the words for its missing type."""

    ROOT = "must not be empty at the root"
    ITEM = "must not be empty for specified array items"
    FIELD = "must not be empty for specified object fields"


_INTEGER_OR_STRING: Final = (Structural(type="integer"), Structural(type="string"))
_EMBEDDED_TYPE: Final = "must be object if x-kubernetes-embedded-resource is true"
_EMBEDDED_PROPERTIES: Final = (
    "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
)
_METADATA: Final = "must not specify anything other than name and generateName, but metadata is implicitly specified"
_NOT_INT_OR_STRING: Final = "must be false if x-kubernetes-int-or-string is true"


def structural(schema: Structural, path: str) -> list[Cause]:
    """What is not structural about a schema, in the order of the messages."""
    causes = [*_invariants(schema, Level.ROOT, path), *_incomplete(schema.limits, schema, path, path)]
    return sorted(causes, key=lambda cause: f"{cause.field}: {cause.message}")


def _invariants(schema: Structural, level: Level, path: str) -> Iterator[Cause]:
    if schema.type == "array" and schema.items is None:
        yield required(f"{path}.items", "must be specified")
    if schema.items is not None:
        yield from _invariants(schema.items, Level.ITEM, f"{path}.items")
    for name, one in schema.properties.items():
        yield from _invariants(one, Level.FIELD, f"{path}.properties[{name}]")
    if schema.additional is not None and level is Level.ROOT:
        yield forbidden(f"{path}.additionalProperties", "must not be used at the root")
    if isinstance(schema.additional, Structural):
        yield from _invariants(schema.additional, Level.FIELD, f"{path}.additionalProperties")
    if schema.int_or_string and schema.keeps_unknown:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", value=True, detail=_NOT_INT_OR_STRING)
    if schema.int_or_string and schema.embedded:
        yield invalid(f"{path}.x-kubernetes-embedded-resource", value=True, detail=_NOT_INT_OR_STRING)
    limits = schema.limits
    first_any = limits.all_of[0].limits.any_of if limits.all_of else ()
    yield from _logic(limits, path, limits.any_of == _INTEGER_OR_STRING, first_any == _INTEGER_OR_STRING)
    yield from _type(schema, level, path)
    yield from _known_properties(schema, level, path)


def _type(schema: Structural, level: Level, path: str) -> Iterator[Cause]:
    place = f"{path}.type"
    if schema.embedded and schema.type != "object":
        yield invalid(place, schema.type, _EMBEDDED_TYPE) if schema.type else required(place, _EMBEDDED_TYPE)
    elif not schema.type and not schema.int_or_string and not schema.keeps_unknown:
        yield required(place, level.value)
    if schema.embedded and schema.additional is not None:
        yield forbidden(f"{path}.additionalProperties", "must not be used if x-kubernetes-embedded-resource is set")
    if level is Level.ROOT and schema.type not in {"", "object"}:
        yield invalid(place, schema.type, "must be object at the root")


def _known_properties(schema: Structural, level: Level, path: str) -> Iterator[Cause]:
    """`kind`, `apiVersion` and `metadata` of a whole object are what they are everywhere."""
    whole = level is Level.ROOT or schema.embedded
    for name in ("kind", "apiVersion"):
        found = schema.properties.get(name)
        if found is not None and whole and found.type != "string":
            yield invalid(f"{path}.properties[{name}].type", found.type, "must be string")
    metadata = schema.properties.get("metadata")
    if metadata is not None:
        place = f"{path}.properties[metadata]"
        if whole and metadata.type != "object":
            yield invalid(f"{place}.type", metadata.type, "must be object")
        if level is Level.ROOT and not _restricts_names_only(metadata):
            yield forbidden(place, _METADATA)
    if schema.embedded and not schema.keeps_unknown and not schema.properties:
        yield required(f"{path}.properties", _EMBEDDED_PROPERTIES)


def _restricts_names_only(metadata: Structural) -> bool:
    named = {"name", "generateName"} >= set(metadata.properties)
    plain = Structural(type=metadata.type, properties=metadata.properties, default=metadata.default)
    return named and metadata == plain


def _logic(limits: Limits, path: str, skip_any: bool = False, skip_first_any: bool = False) -> Iterator[Cause]:
    if not skip_any:
        for index, one in enumerate(limits.any_of):
            yield from _nested(one, f"{path}.anyOf[{index}]")
    for index, one in enumerate(limits.all_of):
        yield from _nested(one, f"{path}.allOf[{index}]", skip_any=skip_first_any and index == 0)
    for index, one in enumerate(limits.one_of):
        yield from _nested(one, f"{path}.oneOf[{index}]")
    if limits.none_of is not None:
        yield from _nested(limits.none_of, f"{path}.not")
    if limits.pattern:
        why = patterns.fault(limits.pattern)
        if why:
            detail = f"must be a valid regular expression, but isn't: {why}"
            yield invalid(f"{path}.pattern", limits.pattern, detail)


def _nested(schema: Structural, path: str, *, skip_any: bool = False) -> Iterator[Cause]:
    """Inside logic there are limits only."""
    yield from _logic(schema.limits, path, skip_any)
    if schema.items is not None:
        yield from _nested(schema.items, f"{path}.items")
    for name, one in schema.properties.items():
        yield from _nested(one, f"{path}.properties[{name}]")
    for given, name, rule in (
        (schema.type, "type", "empty"),
        (schema.additional is not None, "additionalProperties", "undefined"),
        (schema.default is not ABSENT, "default", "undefined"),
        (schema.title, "title", "empty"),
        (schema.description, "description", "empty"),
        (schema.nullable, "nullable", "false"),
        (schema.keeps_unknown, "x-kubernetes-preserve-unknown-fields", "false"),
        (schema.embedded, "x-kubernetes-embedded-resource", "false"),
        (schema.int_or_string, "x-kubernetes-int-or-string", "false"),
        (schema.list_keys, "x-kubernetes-list-map-keys", "empty"),
        (schema.list_type is not None, "x-kubernetes-list-type", "undefined"),
        (schema.map_type is not None, "x-kubernetes-map-type", "undefined"),
        (schema.rules, "x-kubernetes-validations", "empty"),
    ):
        if given:
            yield forbidden(f"{path}.{name}", f"must be {rule} to be structural")
    if "metadata" in schema.properties:
        yield forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _incomplete(limits: Limits, schema: Structural, path: str, seen_at: str) -> Iterator[Cause]:
    """Every field and list that logic speaks of must be specified outside of it."""
    if limits.none_of is not None:
        yield from _unspecified(limits.none_of, schema, path, f"{seen_at}.not")
    for name, group in (("allOf", limits.all_of), ("anyOf", limits.any_of), ("oneOf", limits.one_of)):
        for index, one in enumerate(group):
            yield from _unspecified(one, schema, path, f"{seen_at}.{name}[{index}]")


def _unspecified(nested: Structural, schema: Structural | None, path: str, seen_at: str) -> Iterator[Cause]:
    if schema is None:
        yield required(path, f"because it is defined in {seen_at}")
        return
    yield from _incomplete(nested.limits, schema, path, seen_at)
    if nested.items is not None:
        yield from _unspecified(nested.items, schema.items, f"{path}.items", f"{seen_at}.items")
    for name, one in nested.properties.items():
        tail = f".properties[{name}]"
        yield from _unspecified(one, schema.properties.get(name), path + tail, seen_at + tail)
