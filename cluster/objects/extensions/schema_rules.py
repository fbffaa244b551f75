"""Validate the OpenAPI schemas of a CustomResourceDefinition, node by node, extensions and rules included.

Source: apiextensions `ValidateCustomResourceDefinitionOpenAPISchema`. CEL expressions aren't compiled here. The field
paths go through the schema as it was sent, compiled form or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required
from oarlock.cluster.objects.extensions import list_rules, rule_rules
from oarlock.cluster.objects.extensions.structural import Json
from oarlock.cluster.objects.status import Cause

TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_WHOLE_OBJECT: Final = frozenset({"apiVersion", "kind", "metadata"})
_UNSUPPORTED: Final = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")


@dataclass(frozen=True, slots=True)
class Strictness:
    """What an update needn't keep to, because the stored definition doesn't.

    In one of the `known_schemas`, which the stored definition has, a single expression may cost what it costs.
    """

    valid_types: bool = True
    structural: bool = True
    pruned_defaults: bool = True
    atomic_sets: bool = True
    sound_list_keys: bool = True
    known_schemas: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the walk is: at the root, inside an object's own metadata, where defaults are forbidden (and why)."""

    root: bool = False
    inside_metadata: bool = False
    no_defaults: str | None = None


def schema(root: Json, path: str, strictness: Strictness) -> list[Cause]:
    """What is wrong with a schema at `path`, a definition's whole one."""
    return list(_node(root, path, Place(root=True), strictness))


def _node(node: Json, path: str, place: Place, strict: Strictness) -> Iterator[Cause]:
    yield from _supported(node, path, place, strict)
    if node.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden(f"{path}.uniqueItems", why)
    below = replace(place, root=False) if place.root else place
    yield from _below(node, path, below, strict, root=place.root)
    if node.get("x-kubernetes-preserve-unknown-fields") is False:
        yield invalid(f"{path}.x-kubernetes-preserve-unknown-fields", value=False, detail="must be true or undefined")
    yield from _map_type(node, path)
    yield from list_rules.list_type(node, path, atomic_sets=strict.atomic_sets)
    if strict.sound_list_keys:
        yield from list_rules.keys(node, path)
    for index, rule in enumerate(node.get("x-kubernetes-validations", ())):
        yield from rule_rules.rule(rule, node, f"{path}.x-kubernetes-validations[{index}]")


def _supported(node: Json, path: str, place: Place, strict: Strictness) -> Iterator[Cause]:
    """What no schema of a definition may use."""
    kind = node.get("type", "")
    if strict.valid_types and kind and kind not in TYPES:
        yield not_supported(f"{path}.type", kind, TYPES)
    if "default" in node and place.no_defaults is not None:
        yield forbidden(f"{path}.default", f"must not be set {place.no_defaults}".rstrip())
    for name in _UNSUPPORTED:
        if node.get(name) or (name in node and name in {"additionalItems", "dependencies", "$ref"}):
            yield forbidden(f"{path}.{name}", f"{name} is not supported")
    if kind == "null":
        yield forbidden(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(node.get("items"), list) and node["items"]:
        yield forbidden(f"{path}.items", "items must be a schema object and not an array")
    if place.inside_metadata and node.get("x-kubernetes-embedded-resource"):
        yield forbidden(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")


def _below(node: Json, path: str, place: Place, strict: Strictness, *, root: bool) -> Iterator[Cause]:
    additional, properties = node.get("additionalProperties"), node.get("properties") or {}
    if additional is not None:
        if properties and additional is not True:
            why = "additionalProperties and properties are mutual exclusive"
            yield forbidden(f"{path}.additionalProperties", why)
        if isinstance(additional, dict):
            inside = place
            if place.inside_metadata:
                inside = replace(place, no_defaults="inside additionalProperties applying to object metadata")
            yield from _node(additional, f"{path}.additionalProperties", inside, strict)
    for name, one in properties.items():
        inside = _property(place, name, root=root, whole=root or node.get("x-kubernetes-embedded-resource", False))
        yield from _node(one, f"{path}.properties[{name}]", inside, strict)
    if "not" in node:
        yield from _node(node["not"], f"{path}.not", place, strict)
    for group in ("allOf", "oneOf", "anyOf"):
        yield from _each(node.get(group, ()), f"{path}.{group}", place, strict)
    for name, one in (node.get("definitions") or {}).items():
        yield from _node(one, f"{path}.definitions[{name}]", place, strict)
    items = node.get("items")
    if isinstance(items, dict):
        yield from _node(items, f"{path}.items", place, strict)
    elif isinstance(items, list):
        yield from _each(items, f"{path}.items", place, strict)
    for name, one in (node.get("dependencies") or {}).items():
        if isinstance(one, dict):
            yield from _node(one, f"{path}.dependencies[{name}]", place, strict)


def _property(place: Place, name: str, *, root: bool, whole: bool) -> Place:
    if not whole or name not in _WHOLE_OBJECT:
        return place
    no_defaults = f"in top-level {name}" if root else place.no_defaults
    return replace(place, inside_metadata=True, no_defaults=no_defaults)


def _each(schemas: Sequence[Json], path: str, place: Place, strict: Strictness) -> Iterator[Cause]:
    for index, one in enumerate(schemas):
        yield from _node(one, f"{path}[{index}]", place, strict)


def _map_type(node: Json, path: str) -> Iterator[Cause]:
    found: Any = node.get("x-kubernetes-map-type")
    if found is None:
        return
    kind = node.get("type", "")
    if kind != "object":
        why = "must be object if x-kubernetes-map-type is specified"
        yield invalid(f"{path}.type", kind, why) if kind else required(f"{path}.type", why)
    if found not in {"atomic", "granular"}:
        yield not_supported(f"{path}.x-kubernetes-map-type", found, ("atomic", "granular"))
