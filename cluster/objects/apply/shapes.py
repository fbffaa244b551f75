"""How an object falls into separately owned parts: its fields, its maps' keys, its lists' items.

Lists are atomic (owned whole), sets (items by value) or maps (items by their keys); maps and structs are granular
unless the schema calls them atomic. Source: structured-merge-diff's typed package; kube-openapi's schemaconv.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from oarlock.cluster.objects.apply.fieldsets import Path, key_element, text, value_element
from oarlock.cluster.objects.schemas import Schema

#: Keys of list items that have a default; other required ones default to their type's zero.
_KEY_DEFAULTS: Final[Mapping[str, Any]] = {"protocol": "TCP"}
_ZEROS: Final[Mapping[str, Any]] = {"string": "", "int32": 0, "int64": 0, "bool": False}


class TypingError(Exception):
    """An applied object that its schema doesn't admit; the message names the places."""


def field_schema(schema: Schema | None, name: str) -> Schema | None:
    """The schema of one field or key; None where it isn't known (below a field of any type)."""
    return None if schema is None else schema.field(name)


def is_atomic(schema: Schema | None, value: Any) -> bool:
    """Whether a value is owned whole."""
    if isinstance(value, dict):
        return schema is not None and schema.map_type == "atomic"
    if isinstance(value, list):
        return schema is None or _item_keys(schema) is None
    return True


@cache
def _item_keys(schema: Schema) -> tuple[str, ...] | None:
    """The keys of a list's items, () for a set, None for an atomic list."""
    if schema.list_type == "map":
        return schema.list_map_keys
    if schema.list_type == "set":
        return ()
    if schema.list_type is None and "merge" in schema.patch_strategy:
        return (schema.patch_merge_key,) if schema.patch_merge_key else ()
    return None


def element(schema: Schema, item: Any) -> str:
    """Return the path element of an item of a list that is not atomic."""
    keys = _item_keys(schema)
    if not keys or not isinstance(item, dict):
        return value_element(item)
    found: dict[str, Any] = {}
    for key in keys:
        if item.get(key) is not None:
            found[key] = item[key]
        elif key in _KEY_DEFAULTS:
            found[key] = _KEY_DEFAULTS[key]
        elif schema.items is not None and key in schema.items.required:
            known = schema.items.field(key)
            found[key] = _ZEROS.get(known.kind, "") if known is not None else ""
    return key_element(found)


def items(schema: Schema, values: list[Any]) -> dict[str, Any]:
    """Return a list's items by their elements; of several with one element the last."""
    return {element(schema, value): value for value in values}


def children(schema: Schema | None, value: Any) -> Iterator[tuple[str, Schema | None, Any]]:
    """Yield the parts of a map, a struct or a list that is not atomic: element, schema, value."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield "f:" + name, field_schema(schema, name), one
    elif isinstance(value, list):
        assert schema is not None
        for name, one in items(schema, value).items():
            yield name, schema.items, one


def leaves(schema: Schema | None, value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the paths that an applied object asks to own."""
    if is_atomic(schema, value):
        yield path
        return
    in_list = isinstance(value, list)
    named = schema is not None and schema.kind == "object"
    for step, below, one in children(schema, value):
        place = (*path, step)
        yield from leaves(below, one, place)
        if in_list or not named or one == {}:
            yield place


def named(schema: Schema | None, paths: set[Path]) -> set[Path]:
    """Return `paths` with every struct's field that leads to one of them."""
    found = set(paths)
    for path in paths:
        node = schema
        for depth, step in enumerate(path[:-1], start=1):
            is_field = step.startswith("f:")
            if is_field and node is not None and node.kind == "object":
                found.add(path[:depth])
            node = field_schema(node, step[2:]) if is_field else None if node is None else node.items
    return found


def check(schema: Schema, obj: Mapping[str, Any]) -> None:
    """Refuse an applied object with fields that the schema lacks, or lists with an item twice. Raises TypingError."""
    wrong = list(_faults(schema, obj, ""))
    if wrong:
        raise TypingError(wrong[0] if len(wrong) == 1 else "errors:\n" + "\n".join(f"  {one}" for one in wrong))


def _faults(schema: Schema, value: Any, place: str) -> Iterator[str]:
    if value is None or schema.kind == "any":
        return
    if schema.kind in ("object", "map"):
        if not isinstance(value, dict):
            yield f"{place}: expected map, got {_described(value)}"
            return
        for name, one in value.items():
            below = schema.field(name)
            if below is None:
                yield f"{place}.{name}: field not declared in schema"
            else:
                yield from _faults(below, one, f"{place}.{name}")
    elif schema.kind == "list":
        if not isinstance(value, list):
            yield f"{place}: expected list, got {_described(value)}"
            return
        yield from _repeated(schema, value, place)
        for index, one in enumerate(value):
            assert schema.items is not None
            yield from _faults(schema.items, one, f"{place}[{index}]")


def _repeated(schema: Schema, values: list[Any], place: str) -> Iterator[str]:
    if _item_keys(schema) is None:
        return
    seen: set[str] = set()
    for value in values:
        step = element(schema, value)
        if step in seen:
            yield f"{place}: duplicate entries for key {text((step,))}"
        seen.add(step)


def _described(value: Any) -> str:
    return f"&value.valueUnstructured{{Value:{value!r}}}"
