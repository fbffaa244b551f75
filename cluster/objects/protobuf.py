"""Decode Kubernetes' protobuf form of objects into JSON-shaped documents: what kubectl's typed commands send.

Only decoding is served: answers are JSON, which every client accepts beside protobuf. Which number is which field
stands in `data/protobuf-fields.json`, written by `compile_protobuf` and read when the first such body comes. A field
that the table does not know is passed over where it says nothing and refused where it does: nothing is lost silently.
Source: apimachinery `pkg/runtime/serializer/protobuf`; protobuf's encoding documentation (proto2).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from oarlock.cluster.objects.protobuf_values import READERS
from oarlock.cluster.objects.protobuf_wire import (
    BYTES,
    VARINT,
    ProtobufError,
    Span,
    fields,
    signed,
    text,
    varint,
    wrong_type,
)

MAGIC: Final = b"k8s\0"
DEPTH_MAX: Final = 64
_DELETE_OPTIONS: Final = "DeleteOptions"
_WHERE_DELETE_OPTIONS: Final = "meta.v1.DeleteOptions"
_TEXT_KEY: Final = 1
_MAP_VALUE: Final = 2

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every body begins with: the kind it says it is (either part may be ""), and where its message stands."""

    api_version: str
    kind: str
    message: Span


class UnknownKindError(ProtobufError):
    """There is no message for the kind that the envelope names."""

    def __init__(self, envelope: Envelope) -> None:
        super().__init__("no protobuf form of this kind is known")
        self.envelope = envelope


class MessageError(ProtobufError):
    """The envelope is sound, the message in it is not."""

    def __init__(self, why: str, envelope: Envelope) -> None:
        super().__init__(why)
        self.envelope = envelope


def decode(raw: bytes, api_version: str = "", kind: str = "") -> Document:
    """Return the document in a body, with zero values as they were sent and null for empty times.

    `api_version` and `kind` stand in for what the envelope leaves out. Options of deletions are known under every
    API version. Raises MessageError, UnknownKindError, or another ProtobufError for a faulty envelope.
    """
    found = envelope(raw)
    found = Envelope(found.api_version or api_version, found.kind or kind, found.message)
    name = message_of(found.api_version, found.kind)
    if name is None:
        raise UnknownKindError(found)
    document: Document = {"kind": found.kind, "apiVersion": found.api_version}
    try:
        _Reader(raw).message(name, found.message, document, 0)
    except ProtobufError as error:
        raise MessageError(str(error), found) from None
    return document


def envelope(raw: bytes) -> Envelope:
    """Open a body: the magic bytes, then `runtime.Unknown`. Raises ProtobufError."""
    if not raw:
        raise ProtobufError("empty data")
    if not raw.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    if len(raw) == len(MAGIC):
        raise ProtobufError("empty body")
    api_version = kind = ""
    message = (0, 0)
    for number, wire_type, first, end in fields(raw, (len(MAGIC), len(raw)), "Unknown"):
        if number > len(_ENVELOPE):
            _refuse_content("Unknown", number, wire_type, first, end)
            continue
        if wire_type != BYTES:
            raise wrong_type(wire_type, _ENVELOPE[number - 1])
        if number == 1:
            api_version, kind = _type_meta(raw, (first, end))
        elif number == 2:
            message = (first, end)
        elif number == 3 and end > first:
            raise ProtobufError(f"unsupported content encoding {text(raw, first, end)!r}")
    return Envelope(api_version, kind, message)


_ENVELOPE: Final = ("TypeMeta", "Raw", "ContentEncoding", "ContentType")


def _type_meta(raw: bytes, span: Span) -> tuple[str, str]:
    parts = {1: "", 2: ""}
    for number, wire_type, first, end in fields(raw, span, "TypeMeta"):
        if number not in parts:
            _refuse_content("TypeMeta", number, wire_type, first, end)
            continue
        if wire_type != BYTES:
            raise wrong_type(wire_type, ("APIVersion", "Kind")[number - 1])
        parts[number] = text(raw, first, end)
    return parts[1], parts[2]


def message_of(api_version: str, kind: str) -> str | None:
    """The table's name of a kind's message, if it has one."""
    group, _, version = api_version.rpartition("/")
    name: str | None = _table()["kinds"].get(f"{group}/{version}/{kind}")
    return _WHERE_DELETE_OPTIONS if name is None and kind == _DELETE_OPTIONS else name


@cache
def _table() -> Mapping[str, Any]:
    path = Path(__file__).parent / "data" / "protobuf-fields.json"
    table: Mapping[str, Any] = orjson.loads(path.read_bytes())
    return table


@dataclass(frozen=True, slots=True)
class _Field:
    """One row of the table: the name in JSON ("" for an embedded struct), and the type taken apart."""

    name: str
    kind: str
    shape: str
    """"[]" for lists, "{}" for maps, "" for single values."""


@cache
def _fields(message: str) -> Mapping[int, _Field]:
    rows = _table()["messages"][message]
    return {int(number): _field(name, kind) for number, (name, kind) in rows.items()}


def _field(name: str, kind: str) -> _Field:
    shape = kind[:2] if kind.startswith(("[]", "{}")) else ""
    return _Field(name, kind.removeprefix(shape), shape)


class _Reader:
    """One walk over one body; every byte is looked at once at each level of nesting."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def message(self, name: str, span: Span, into: Document, depth: int) -> Document:
        """Add the fields of the message at `span` to `into` and return it. Raises ProtobufError."""
        if depth > DEPTH_MAX:
            raise ProtobufError(f"exceeded max depth of {DEPTH_MAX} messages")
        known = _fields(name)
        for number, wire_type, first, end in fields(self._raw, span, name):
            field = known.get(number)
            if field is None:
                _refuse_content(name, number, wire_type, first, end)
            elif field.shape == "[]":
                self._extend(into.setdefault(field.name, []), field, wire_type, (first, end), depth)
            elif field.shape == "{}":
                self._enter(into.setdefault(field.name, {}), field, wire_type, (first, end), depth)
            elif field.kind[0] == "#":
                target = into.setdefault(field.name, {}) if field.name else into
                self._nested(field, wire_type, (first, end), target, depth)
            else:
                into[field.name] = self._scalar(field, wire_type, (first, end))
        return into

    def _nested(self, field: _Field, wire_type: int, span: Span, into: Document, depth: int) -> Document:
        if wire_type != BYTES:
            raise wrong_type(wire_type, field.name or field.kind.rpartition(".")[2])
        return self.message(field.kind[1:], span, into, depth + 1)

    def _extend(self, items: list[Any], field: _Field, wire_type: int, span: Span, depth: int) -> None:
        convert = _NUMBERS.get(field.kind)
        if field.kind[0] == "#":
            items.append(self._nested(field, wire_type, span, {}, depth))
        elif convert is not None and wire_type == BYTES:  # packed
            at, end = span
            while at < end:
                value, at = varint(self._raw, at, end)
                items.append(convert(value))
        else:
            items.append(self._scalar(field, wire_type, span))

    def _enter(self, entries: Document, field: _Field, wire_type: int, span: Span, depth: int) -> None:
        """Add one map entry, a message of key and value; what it leaves out is the zero of its type."""
        if wire_type != BYTES:
            raise wrong_type(wire_type, field.name)
        key = ""
        nested: Document = {}
        value: Any = nested if field.kind[0] == "#" else self._scalar(field, BYTES, (0, 0))
        for number, part_type, first, end in fields(self._raw, span, field.name):
            if number == _MAP_VALUE and field.kind[0] == "#":
                self._nested(field, part_type, (first, end), nested, depth)
            elif number == _MAP_VALUE:
                value = self._scalar(field, part_type, (first, end))
            elif number != _TEXT_KEY:
                _refuse_content(field.name, number, part_type, first, end)
            elif part_type != BYTES:
                raise wrong_type(part_type, field.name)
            else:
                key = text(self._raw, first, end)
        entries[key] = value

    def _scalar(self, field: _Field, wire_type: int, span: Span) -> Any:
        convert = _NUMBERS.get(field.kind)
        if wire_type != (BYTES if convert is None else VARINT):
            raise wrong_type(wire_type, field.name)
        if convert is not None:
            return convert(span[0])
        if field.kind == "string":
            return text(self._raw, *span)
        if field.kind == "bytes":
            return base64.b64encode(self._raw[span[0] : span[1]]).decode()
        return READERS[field.kind](self._raw, span)


_NUMBERS: Final[Mapping[str, Callable[[int], int | bool]]] = {
    "bool": bool,
    "int32": lambda value: signed(value, 32),
    "int64": lambda value: signed(value, 64),
}


def _refuse_content(message: str, number: int, wire_type: int, first: int, end: int) -> None:
    """Pass over an unknown field that is zero or empty; refuse any other. Raises ProtobufError."""
    if first != (0 if wire_type == VARINT else end):
        raise ProtobufError(f"unknown field {number} in message {message}")
