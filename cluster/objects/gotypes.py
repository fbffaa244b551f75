"""The Go names that upstream's type errors show: named scalar types and embedded structs.

Source: `data/go-facts.json`; read only when a message needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from oarlock.cluster.objects.schemas import Schema, schema_of_type

_SCALARS: Final = {
    "double": "float64",
    "bytes": "[]uint8",
    "any": "interface {}",
    "quantity": "resource.Quantity",
    "int-or-string": "int32",
    "time": "string",
    "micro-time": "string",
}
_ELEMENTS: Final = {"v1.ResourceList": "resource.Quantity", "v1.ValidationRules": "v1.ValidationRule"}


@cache
def _facts() -> Mapping[str, Any]:
    facts: Mapping[str, Any] = orjson.loads((Path(__file__).parent / "data" / "go-facts.json").read_bytes())
    return facts


def type_at(structs: Sequence[str], path: Sequence[str | int], schema: Schema) -> str:
    """The Go type of the value at the end of `path`, whose innermost struct is the last of `structs`."""
    depth = 0
    for step in reversed(path):
        if is_field(step):
            break
        depth += 1
    if not structs or depth == len(path):
        return _plain(schema)
    named = _named(structs[-1], str(path[-1 - depth]))
    if named is None:
        return _plain(schema)
    for _ in range(depth):
        named = _element(named)
    return named


def is_field(step: str | int) -> bool:
    """Whether a step of a path names a struct's field, not a list index or (written `.key`) a map key."""
    return isinstance(step, str) and not step.startswith(".")


def _named(struct: str, field: str) -> str | None:
    """The named Go type of a field; facts are by type name, with group and version where that is ambiguous."""
    names = _facts()["types"]
    parts = struct.split(".")
    found: str | None = names.get(f"{parts[-1]}.{field}") or names.get(f"{'.'.join(parts[-3:])}.{field}")
    return found


def _element(named: str) -> str:
    """The element type of a Go list or map type; a named list's elements are not known by its name."""
    for prefix in ("[]", "map[string]"):
        if named.startswith(prefix):
            return named.removeprefix(prefix)
    return _ELEMENTS.get(named, named)


def _plain(schema: Schema) -> str:
    if schema.kind == "object":
        package, _, name = schema.type_name.rpartition(".")
        return f"{package.rpartition('.')[2]}.{name}"
    if schema.kind in {"list", "map"}:
        assert schema.items is not None
        return ("[]" if schema.kind == "list" else "map[string]") + _plain(schema.items)
    return _SCALARS.get(schema.kind, schema.kind)


def with_embedded(structs: Sequence[str], names: Sequence[str]) -> str:
    """The dotted field names with the embedded structs between, as Go's decoder tracks them."""
    embedded = _facts()["embedded"]
    out: list[str] = []
    node: Schema | None = schema_of_type(structs[0]) if structs else None
    for name in names:
        owner = node.type_name.rpartition(".")[2] if node else ""
        out.extend(part for part in (embedded.get(f"{owner}.{name}"), name) if part)
        node = node.fields.get(name) if node else None
        while node is not None and node.items is not None:
            node = node.items
    return ".".join(out)
