"""Validate what a schema says of a list's kind: atomic, a set, or a map with keys.

Source: apiextensions `ValidateCustomResourceDefinitionOpenAPISchema` and `validateMapListKeysMapSet`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required
from oarlock.cluster.objects.extensions.structural import Json
from oarlock.cluster.objects.status import Cause

_TYPE: Final = "x-kubernetes-list-type"
_KEYS: Final = "x-kubernetes-list-map-keys"
_LIST_TYPES: Final = ("atomic", "set", "map")
_ONLY_ARRAYS: Final = "must be array if x-kubernetes-list-type is specified"
_ONLY_MAPS: Final = "must be map if x-kubernetes-list-map-keys is non-empty"
_IN_SETS: Final = "must be atomic as item of a list with x-kubernetes-list-type=set"
_IDENTIFIES: Final = "this property is in x-kubernetes-list-map-keys, so it"


def list_type(node: Json, path: str, *, atomic_sets: bool = True) -> Iterator[Cause]:
    """What is wrong with the kind of list at a node; `atomic_sets` wants a set's items to be atomic."""
    found, kind, listed = node.get(_TYPE), node.get("type", ""), node.get(_KEYS) or ()
    if found is None and not listed:
        return
    if found is not None:
        if kind != "array":
            yield invalid(f"{path}.type", kind, _ONLY_ARRAYS) if kind else required(f"{path}.type", _ONLY_ARRAYS)
        elif atomic_sets:
            yield from items_of_set(node, path)
        if found not in _LIST_TYPES:
            yield not_supported(f"{path}.{_TYPE}", found, _LIST_TYPES)
    if listed and found != "map":
        yield (
            required(f"{path}.{_TYPE}", _ONLY_MAPS) if found is None else invalid(f"{path}.{_TYPE}", found, _ONLY_MAPS)
        )
    if found == "map":
        if not listed:
            yield required(f"{path}.{_KEYS}", "must not be empty if x-kubernetes-list-type is map")
        yield from _items_of_map(node, path)


def items_of_set(node: Json, path: str) -> Iterator[Cause]:
    """What is wrong with the items of a set: upstream compares them whole."""
    items = node.get("items")
    if node.get(_TYPE) != "set" or not isinstance(items, dict):
        return
    inner = items.get(_TYPE)
    if items.get("type") == "array" and inner not in {None, "atomic"}:
        yield invalid(f"{path}.items.{_TYPE}", inner, _IN_SETS)
    elif items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        yield invalid(f"{path}.items.x-kubernetes-map-type", inner, _IN_SETS)


def _items_of_map(node: Json, path: str) -> Iterator[Cause]:
    items: Any = node.get("items")
    if items is None:
        yield required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
    elif not isinstance(items, dict):
        shown = {"Schema": None, "JSONSchemas": items}
        yield invalid(f"{path}.items", shown, "must only have a single schema if x-kubernetes-list-type is map")
    elif items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid(f"{path}.items.type", items.get("type", ""), why)
    else:
        yield from _key_properties(node, items, path)


def _key_properties(node: Json, items: Json, path: str) -> Iterator[Cause]:
    listed = list(node.get(_KEYS) or ())
    for index, key in enumerate(listed):
        found = (items.get("properties") or {}).get(key)
        if found is None:
            yield invalid(f"{path}.{_KEYS}", listed, "entries must all be names of item properties")
        elif found.get("type") in {"array", "object"}:
            why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield invalid(f"{path}.items.properties[{key}].type", items.get("type", ""), why)
        if key in listed[:index]:
            yield invalid(f"{path}.{_KEYS}", listed, "must not contain duplicate entries")


def keys(node: Json, path: str) -> Iterator[Cause]:
    """What is wrong with the items of a set or a map: none is null, and every key has a value."""
    items, found = node.get("items"), node.get(_TYPE)
    if not isinstance(items, dict) or found not in {"set", "map"}:
        return
    if items.get("nullable"):
        yield forbidden(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {found}")
    if found == "set":
        return
    for key in node.get(_KEYS) or ():
        one = (items.get("properties") or {}).get(key)
        if one is None:
            continue
        place = f"{path}.items.properties[{key}]"
        if key not in items.get("required", ()) and "default" not in one:
            yield required(f"{place}.default", f"{_IDENTIFIES} must have a default or be a required property")
        if one.get("nullable"):
            yield forbidden(f"{place}.nullable", f"{_IDENTIFIES} cannot be nullable")
