"""Bring a decoded body into the shape of its kind: types checked, unknown fields left out, empty optionals dropped.

What comes out is what upstream's typed decode followed by encode gives: nulls and empty optional values are gone,
quantities are canonical, times are UTC. The first value of a wrong type raises Mismatch with Go's words for it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from oarlock.cluster.objects import quantity
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.schemas import Schema, schema_of_type

_INT_LIMITS: Final = {"int32": 1 << 31, "int64": 1 << 63, "int-or-string": 1 << 31}
#: The JSON types that a scalar is read from. Upstream matches a quantity's raw text, whatever its JSON type.
_JSON_TYPES: Final[Mapping[str, frozenset[type]]] = {
    "string": frozenset({str}),
    "bool": frozenset({bool}),
    "int32": frozenset({int}),
    "int64": frozenset({int}),
    "double": frozenset({int, float}),
    "bytes": frozenset({str}),
    "time": frozenset({str}),
    "micro-time": frozenset({str}),
    "int-or-string": frozenset({int, str}),
    "quantity": frozenset({int, float, str, bool, list, dict}),
}
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:[.,](\d+))?([Zz]|[+-]\d\d:\d\d)")
_LAYOUT: Final = "2006-01-02T15:04:05Z07:00"


class Mismatch(Exception):
    """A value that its field cannot hold; the message is the tail of upstream's 400."""


class Conforming:
    """One walk over one body. Afterwards `unknown` lists unknown fields' paths and `members` counts all keys seen."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.members = 0
        self._path: list[str | int] = []
        self._structs: list[str] = []

    def object(self, schema: Schema, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the known, non-empty members of `body`."""
        fields = schema.fields
        path = self._path
        self._structs.append(schema.type_name)
        self.members += len(body)
        out: dict[str, Any] = {}
        for key, value in body.items():
            field = fields.get(key)
            if field is None:
                self._unknown(key, value)
                continue
            kind = field.kind
            if kind == "string" and type(value) is str:
                if value or field.keeps_zero:
                    out[key] = value
            elif value is not None:
                path.append(key)
                result = (
                    self.object(field, value) if kind == "object" and type(value) is dict else self.value(field, value)
                )
                path.pop()
                if result or field.keeps_zero or kind == "object" or kind in _NEVER_EMPTY:
                    out[key] = result
        for key, zero in schema.written_zeros:
            if key not in out:
                out[key] = {} if zero == {} else zero
        self._structs.pop()
        return out

    def value(self, schema: Schema, value: Any) -> Any:
        """Return `value` as a field of this schema holds it. Raises Mismatch."""
        kind = schema.kind
        if kind == "object":
            if type(value) is not dict:
                raise self._mismatch(schema, value)
            return self.object(schema, value)
        if kind == "list":
            if type(value) is not list:
                raise self._mismatch(schema, value)
            return self._list(schema, value)
        if kind == "map":
            if type(value) is not dict:
                raise self._mismatch(schema, value)
            return self._map(schema, value)
        if kind == "any":
            self.members += count_members(value)
            return value if schema.schema_or is None else _schema_or(schema.schema_or, value)
        return self._scalar(kind, schema, value)

    def _list(self, schema: Schema, values: list[Any]) -> list[Any]:
        items = schema.items
        assert items is not None
        if items.kind == "string" and all(type(value) is str for value in values):
            return values
        path = self._path
        out = []
        for index, value in enumerate(values):
            path.append(index)
            out.append(_zero(items) if value is None else self.value(items, value))
            path.pop()
        return out

    def _map(self, schema: Schema, values: dict[str, Any]) -> dict[str, Any]:
        items = schema.items
        assert items is not None
        self.members += len(values)
        if items.kind == "string" and all(type(value) is str for value in values.values()):
            return values
        path = self._path
        out = {}
        for key, value in values.items():
            path.append("." + key)
            out[key] = _zero(items) if value is None else self.value(items, value)
            path.pop()
        return out

    def _unknown(self, key: str, value: Any) -> None:
        self.members += count_members(value)
        self.unknown.append(dotted([*self._path, key]))

    def _mismatch(self, schema: Schema, value: Any) -> Mismatch:
        return Mismatch(wrong_type(self._structs, self._path, schema, value))

    def _scalar(self, kind: str, schema: Schema, value: Any) -> Any:
        accepted = _JSON_TYPES[kind]
        if type(value) not in accepted:
            raise self._mismatch(schema, value)
        limit = _INT_LIMITS.get(kind)
        if limit is not None and type(value) is int and not -limit <= value < limit:
            raise self._mismatch(schema, value)
        convert = _CONVERSIONS.get(kind)
        return convert(value) if convert is not None else value


_SCHEMA: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"


def _schema_or(other: str, value: Any) -> Any:
    """A schema within a schema, or a list of them, or a flag; such types decode themselves and tell no unknown fields.

    Source: apiextensions `v1/marshal.go`.
    """
    schema = schema_of_type(_SCHEMA)
    if type(value) is dict:
        return Conforming().value(schema, value)
    if other == "list":
        return [Conforming().value(schema, one) for one in value] if type(value) is list else None
    if type(value) is not bool:
        raise Mismatch("boolean or JSON schema expected")
    return value


#: Kinds whose zero is written out: Go does not call a struct empty, and raw JSON is kept as it came.
_NEVER_EMPTY: Final = frozenset({"quantity", "int-or-string", "any"})


def _zero(schema: Schema) -> Any:
    """What a null element of a list or map becomes in Go."""
    if schema.kind == "object":
        return dict(schema.written_zeros)
    zeros: Mapping[str, Any] = {
        "string": "",
        "bytes": "",
        "bool": False,
        "quantity": "0",
        "int-or-string": 0,
    }
    return 0 if schema.kind in {"int32", "int64", "double"} else zeros.get(schema.kind)


def count_members(value: Any) -> int:
    """How many keys all objects in `value` have together."""
    if type(value) is dict:
        return len(value) + sum(count_members(member) for member in value.values())
    if type(value) is list:
        return sum(count_members(member) for member in value)
    return 0


def dotted(path: Sequence[str | int]) -> str:
    """A path as strict decoding errors write it: `spec.containers[0].name`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else "." + step.removeprefix(".") for step in path)
    return text.removeprefix(".")


def go_json_kind(value: Any) -> str:
    """What Go's decoder calls a value in its messages."""
    if isinstance(value, bool):
        return "bool"
    kinds: Mapping[type, str] = {str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "number")


def wrong_type(structs: Sequence[str], path: Sequence[str | int], schema: Schema, value: Any) -> str:
    """Go's message for a value of the wrong JSON type at a path below the structs entered so far."""
    from oarlock.cluster.objects import gotypes

    described = go_json_kind(value)
    if described == "number" and schema.kind in _INT_LIMITS:
        described = f"number {value}"
    expected = gotypes.type_at(structs, path, schema)
    names = [str(step) for step in path if gotypes.is_field(step)]
    owner = structs[-1].rpartition(".")[2] if structs else ""
    place = gotypes.with_embedded(structs, names)
    return f"json: cannot unmarshal {described} into Go struct field {owner}.{place} of type {expected}"


def canonical_quantity(value: Any) -> str:
    """The quantity in a JSON string or number, in canonical form. Raises Mismatch."""
    text = value if isinstance(value, str) or go_json_kind(value) == "number" else "?"  # no number starts like that
    try:
        return quantity.canonical(text)
    except quantity.QuantityError as error:
        raise Mismatch(str(error)) from None


def canonical_base64(text: str) -> str:
    """Check standard base64 (line breaks allowed) and return it without them. Raises Mismatch as Go reports it."""
    plain = text.replace("\n", "").replace("\r", "")
    try:
        base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        raise Mismatch(f"illegal base64 data at input byte {_bad_base64_at(text)}") from None
    return plain


_BASE64_CHARS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _bad_base64_at(text: str) -> int:
    """The offset at which Go's decoder gives up: the first bad character, or the start of a short last group."""
    in_group = 0
    for at, char in enumerate(text):
        if char in "\r\n":
            continue
        if char in _BASE64_CHARS:
            in_group = (in_group + 1) % 4
            continue
        if char == "=" and in_group >= 2:
            rest = text[at + 1 :].replace("\n", "").replace("\r", "")
            needed = 3 - in_group
            if len(rest) < needed:
                return len(text)
            return at + 1 + needed if rest[:needed] == "=" * needed else at + 1
        return at
    return len(text) - in_group if in_group else len(text)


@lru_cache(maxsize=1024)
def canonical_time(text: str, *, micro: bool) -> str:
    """An RFC 3339 time in UTC, to the second or (`micro`) to the microsecond. Raises Mismatch as Go reports it.

    Remembered, for objects that are changed have the time that they and others were created at.
    """
    match = _TIME.match(text)
    try:
        if match is None:
            raise ValueError
        moment = datetime.fromisoformat(f"{match[1]}T{match[2]}{match[4].upper().replace('Z', '+00:00')}")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Mismatch(_unparsed_time(text)) from None
    if match.end() != len(text):
        rest = text[match.end() :]
        raise Mismatch(f"parsing time {quote(text)}: extra text: {quote(rest)}")
    if not micro:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + (match[3] or "").ljust(6, "0")[:6] + "Z"


_TIME_PARTS: Final = (
    (r"\d{4}", "2006"),
    ("-", "-"),
    (r"\d\d", "01"),
    ("-", "-"),
    (r"\d\d", "02"),
    ("T", "T"),
    (r"\d\d", "15"),
    (":", ":"),
    (r"\d\d", "04"),
    (":", ":"),
    (r"\d\d(?:\.\d+)?", "05"),
    (r"Z|[+-]\d\d:\d\d", "Z07:00"),
)


def _unparsed_time(text: str) -> str:
    rest = text
    for pattern, element in _TIME_PARTS:
        match = re.match(pattern, rest)
        if match is None:
            return f"parsing time {quote(text)} as {quote(_LAYOUT)}: cannot parse {quote(rest)} as {quote(element)}"
        rest = rest[match.end() :]
    return f"parsing time {quote(text)}: day out of range"


_CONVERSIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "bytes": canonical_base64,
    "quantity": canonical_quantity,
    "time": lambda text: canonical_time(text, micro=False),
    "micro-time": lambda text: canonical_time(text, micro=True),
}
