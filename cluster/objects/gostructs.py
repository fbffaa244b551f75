"""Print objects as Go prints upstream's internal types, which its messages show: as JSON, or as a diff of two.

An internal type's fields stand in the order of its declaration under their Go names; what isn't set is its zero value,
or null for a pointer, a list and a map.

Source: `data/go-structs.json`, a row for every type that a message can show. Its words are the fields: `*` marks a
pointer, `^` a value that the enclosing object holds in v1, `?` one that is left out when empty, `@` one whose fields
stand beside the others; `=` gives the v1 name where it differs by more than its capitals.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from oarlock.cluster.objects import quantity
from oarlock.cluster.objects.schemas import Schema, schema_of_type

_WORD: Final = re.compile(r"(@?)(\w+)([*^?]*)(?:=(\w+))?")
_PACKAGES: Final = {"meta": "io.k8s.apimachinery.pkg.apis.meta."}
#: Internal types whose fields are those of an enclosing type in v1's schemas.
_EMBEDDED: Final = {"core.v1.PersistentVolumeSource": "core.v1.PersistentVolumeSpec"}
_ZEROES: Final[Mapping[str, Any]] = {
    "string": "",
    "bool": False,
    "int32": 0,
    "int64": 0,
    "double": 0,
    "quantity": "0",
    "int-or-string": 0,
}
_ESCAPES: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_ESCAPED: Final = re.compile("[<>&\u2028\u2029]")
_CONTEXT_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Struct:
    """A value that a message shows as its internal type: `core.v1.PodSpec`, `[]core.v1.Toleration`, …"""

    type_name: str
    value: Any


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    json_name: str
    schema: Schema
    is_pointer: bool
    is_outside: bool
    is_omitted: bool
    is_spread: bool


def shown(item: Struct) -> str:
    """The value as Go's encoding/json writes it on one line."""
    return _go_json(orjson.dumps(_plain(item)))


def as_json(value: Any) -> str:
    """A scalar, a list or a map as Go's encoding/json writes it on one line."""
    return _go_json(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


def same(type_name: str, one: Any, other: Any) -> bool:
    """Whether two values of a type are equal as Go's semantic equality sees them.

    Empty and unset lists and maps are equal, and so are quantities of one amount, however they are written.
    Source: apimachinery `api/equality`.
    """
    if one == other:
        return True
    return all(
        _same(field.schema, (one or {}).get(field.json_name), (other or {}).get(field.json_name), field.is_pointer)
        for field in _v1_fields(type_name)
    )


def _same(schema: Schema, one: Any, other: Any, is_pointer: bool = False) -> bool:
    if one == other:
        return True
    if schema.kind in {"list", "map"}:
        return _same_members(schema, one or (), other or ())
    if one is None or other is None:
        if is_pointer:
            return False
        one, other = (_zero(schema, {}) if value is None else value for value in (one, other))
    if schema.kind == "object":
        return same(_short(schema.type_name), one, other)
    if schema.kind == "quantity":
        return quantity.parse(one) == quantity.parse(other)
    return bool(one == other)


def _same_members(schema: Schema, one: Any, other: Any) -> bool:
    items = schema.items
    assert items is not None
    if len(one) != len(other):
        return False
    if schema.kind == "map":
        return all(key in other and _same(items, one[key], other[key]) for key in one)
    return all(_same(items, *pair) for pair in zip(one, other, strict=True))


@cache
def _v1_fields(type_name: str) -> tuple[_Field, ...]:
    """The fields of a type as v1 has them: those that the internal type keeps in an inner struct are its own."""
    own = [field for field in _fields(type_name) if not field.is_outside]
    if type_name == "core.v1.PodSpec":
        own += [field for field in _fields("core.v1.PodSecurityContext") if field.is_outside]
    return tuple(own)


def difference(type_name: str, old: Any, new: Any) -> str:
    """The lines in which two values of a type differ, as upstream's `diff.Diff` prints them.

    Source: apimachinery `util/diff`: a unified diff, without file names, of both values as indented JSON.
    """
    before, after = (_lines(Struct(type_name, one)) for one in (old, new))
    parts = list(difflib.unified_diff(before, after, n=_CONTEXT_LINES, lineterm="\n"))
    return "".join(parts[2:])


def _lines(item: Struct) -> list[str]:
    text = _go_json(orjson.dumps(_plain(item), option=orjson.OPT_INDENT_2))
    lines = text.split("\n")
    return [" " * ((len(line) - len(line.lstrip(" "))) // 2) + line.lstrip(" ") + "\n" for line in lines]


def _go_json(text: bytes) -> str:
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0]], text.decode())


def _plain(item: Struct) -> Any:
    name = item.type_name
    if name.startswith("[]"):
        return None if item.value is None else [_struct(name[2:], one, {}) for one in item.value]
    return None if item.value is None else _struct(name, item.value, {})


def _struct(type_name: str, value: Mapping[str, Any], outer: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in _fields(type_name):
        found = (outer if field.is_outside else value).get(field.json_name)
        if field.is_spread:
            out.update(_value(field.schema, found or {}, value))
        elif found is None:
            if not field.is_omitted:
                out[field.name] = None if field.is_pointer else _zero(field.schema, value)
        elif found or not field.is_omitted:
            out[field.name] = _value(field.schema, found, value)
    return out


def _zero(schema: Schema, outer: Mapping[str, Any]) -> Any:
    return _value(schema, {}, outer) if schema.kind == "object" else _ZEROES.get(schema.kind)


def _value(schema: Schema, value: Any, outer: Mapping[str, Any]) -> Any:
    if schema.kind == "object":
        return _struct(_short(schema.type_name), value, outer)
    if schema.kind == "list":
        assert schema.items is not None
        return [_value(schema.items, one, {}) for one in value]
    if schema.kind == "map":
        assert schema.items is not None
        return {key: _value(schema.items, value[key], {}) for key in sorted(value)}
    return str(quantity.parse(value)) if schema.kind == "quantity" else value


@cache
def _rows() -> Mapping[str, str]:
    rows: Mapping[str, str] = orjson.loads((Path(__file__).parent / "data" / "go-structs.json").read_bytes())
    return rows


@cache
def _fields(type_name: str) -> tuple[_Field, ...]:
    return tuple(_read(type_name))


def _read(type_name: str) -> Iterator[_Field]:
    here = _schema(_EMBEDDED.get(type_name, type_name)).fields
    outside = _schema("core.v1.PodSpec").fields
    for word in _rows()[type_name].split():
        match = _WORD.fullmatch(word)
        assert match is not None, word
        spread, name, marks, other = match.groups()
        fields = outside if "^" in marks else here
        json_name = next(one for one in fields if one.lower() == (other or name).lower())
        yield _Field(name, json_name, fields[json_name], "*" in marks, "^" in marks, "?" in marks, bool(spread))


def _schema(short: str) -> Schema:
    package, _, name = short.rpartition(".")
    group = package.partition(".")[0]
    return schema_of_type(f"{_PACKAGES.get(group, f'io.k8s.api.{group}.')}v1.{name}")


def _short(full: str) -> str:
    return ".".join(full.split(".")[-3:])
