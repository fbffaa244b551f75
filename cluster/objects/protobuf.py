"""Decode Kubernetes' protobuf form of objects into JSON documents: what kubectl's typed commands send.

Generic: a table of field numbers (`data/protobuf.json`, made by `protobuf_compile`) says what each number means. Only
decoding is served; answers are JSON, which every client accepts beside protobuf. Fields that the table does not know
are passed over, as protobuf demands.
Source: apimachinery `runtime/serializer/protobuf`, protobuf's encoding documentation.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
MAGIC: Final = b"k8s\0"
DEPTH_MAX: Final = 64
_META: Final = "meta.v1."
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_MAX: Final = 253_402_300_799
"""The last second of the year 9999."""

Value = int | bytes
Field = tuple[str, str]
"""A field's JSON name ("" for an embedded struct, whose fields stand in its holder) and its type in the table."""


class ProtobufError(ValueError):
    """The bytes are not the message they should be."""


def decode(raw: bytes) -> dict[str, Any]:
    """Return the document in an enveloped message. Raises ProtobufError."""
    if not raw.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    envelope = {number: value for number, value in fields(memoryview(raw)[len(MAGIC) :])}
    head = {number: _text(value) for number, value in fields(_bytes(envelope.get(1, b"")))}
    api_version, kind = head.get(1, ""), head.get(2, "")
    message = _message_of(api_version, kind)
    if message is None:
        raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}"')
    document = _message(message, _bytes(envelope.get(2, b"")), 0)
    return {"kind": kind, "apiVersion": api_version, **document}


def fields(data: bytes | memoryview) -> Iterator[tuple[int, Value]]:
    """Yield (field number, raw value) in order: numbers for varints, bytes for everything else."""
    at, end = 0, len(data)
    view = bytes(data)
    while at < end:
        tag, at = _varint(view, at)
        wire_type = tag & 7
        if wire_type == 0:
            value, at = _varint(view, at)
            yield tag >> 3, value
            continue
        if wire_type == 2:
            size, at = _varint(view, at)
        elif wire_type in (1, 5):
            size = 8 if wire_type == 1 else 4
        else:
            raise ProtobufError(f"illegal wire type {wire_type}")
        if at + size > end:
            raise ProtobufError("unexpected EOF")
        yield tag >> 3, view[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ProtobufError("unexpected EOF")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ProtobufError("integer overflow")


@cache
def _table() -> Mapping[str, Mapping[str, Field]]:
    document: Mapping[str, Mapping[str, Field]] = orjson.loads(
        (Path(__file__).parent / "data" / "protobuf.json").read_bytes()
    )
    return document


def _message_of(api_version: str, kind: str) -> str | None:
    """The table's name of a kind's message; options and the like exist in every group's name and are meta's."""
    group, _, version = api_version.rpartition("/")
    name = f"{group.partition('.')[0] or 'core'}.{version}.{kind}"
    candidates = (name, _META + kind)
    return next((one for one in candidates if one in _table()), None)


def _message(name: str, data: bytes, depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        raise ProtobufError("exceeded max depth")
    known = _table().get(name)
    if known is None:
        raise ProtobufError(f"unknown message {name}")
    document: dict[str, Any] = {}
    for number, raw in fields(data):
        field = known.get(str(number))
        if field is None:
            continue
        json_name, kind = field
        if kind.startswith("[]"):
            _extend(document.setdefault(json_name, []), kind[2:], raw, depth)
        elif kind.startswith("{}"):
            key, value = _entry(kind[2:], _bytes(raw), depth)
            document.setdefault(json_name, {})[key] = value
        elif json_name:
            document[json_name] = _value(kind, raw, depth)
        else:
            document.update(_message(kind, _bytes(raw), depth + 1))
    return document


def _extend(items: list[Any], kind: str, raw: Value, depth: int) -> None:
    if kind in ("int", "bool") and isinstance(raw, bytes):
        at = 0
        while at < len(raw):  # packed
            value, at = _varint(raw, at)
            items.append(_value(kind, value, depth))
    else:
        items.append(_value(kind, raw, depth))


def _entry(kind: str, data: bytes, depth: int) -> tuple[str, Any]:
    parts = dict(fields(data))
    empty: Value = 0 if kind in ("int", "bool") else b""
    return _text(parts.get(1, b"")), _value(kind, parts.get(2, empty), depth)


def _value(kind: str, raw: Value, depth: int) -> Any:
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        return scalar(raw)
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(_bytes(raw))
    return _message(kind, _bytes(raw), depth + 1)


def _bytes(raw: Value) -> bytes:
    if isinstance(raw, int):
        raise ProtobufError("wrong wire type")
    return raw


def _text(raw: Value) -> str:
    try:
        return _bytes(raw).decode()
    except UnicodeDecodeError:
        raise ProtobufError("string field contains invalid UTF-8") from None


def _integer(raw: Value) -> int:
    if isinstance(raw, bytes):
        raise ProtobufError("wrong wire type")
    return raw - (1 << 64) if raw >> 63 else raw


def _double(raw: Value) -> float:
    data = _bytes(raw)
    return float(struct.unpack("<d" if len(data) == 8 else "<f", data)[0])


_SCALARS: Final[Mapping[str, Callable[[Value], Any]]] = {
    "string": _text,
    "int": _integer,
    "bool": lambda raw: bool(_integer(raw)),
    "double": _double,
    "bytes": lambda raw: base64.b64encode(_bytes(raw)).decode(),
}

def _time(data: bytes) -> str | None:
    return _moment(data, "")


def _micro_time(data: bytes) -> str | None:
    return _moment(data, ".%f")


def _moment(data: bytes, fraction: str) -> str | None:
    parts = dict(fields(data))
    seconds, nanos = _integer(parts.get(1, 0)), _integer(parts.get(2, 0))
    if not parts or not -62_135_596_800 < seconds <= _SECONDS_MAX:
        return None  # Go's zero time is null in JSON
    moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    return moment.strftime(f"%Y-%m-%dT%H:%M:%S{fraction}Z")


def _int_or_string(data: bytes) -> int | str:
    parts = dict(fields(data))
    return _text(parts.get(3, b"")) if _integer(parts.get(1, 0)) else _integer(parts.get(2, 0))


def _json(data: bytes) -> Any:
    raw = _bytes(dict(fields(data)).get(1, b""))
    try:
        return orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError:
        raise ProtobufError("an embedded object is no JSON") from None


def _quantity(data: bytes) -> str:
    return _text(dict(fields(data)).get(1, b""))


def _texts(data: bytes) -> list[str]:
    return [_text(value) for number, value in fields(data) if number == 1]


_SPECIAL: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "meta.v1.Time": _time,
    "meta.v1.MicroTime": _micro_time,
    "meta.v1.FieldsV1": _json,
    "meta.v1.Verbs": _texts,
    "authentication.v1.ExtraValue": _texts,
    "authorization.v1.ExtraValue": _texts,
    "certificates.v1.ExtraValue": _texts,
    "resource.Quantity": _quantity,
    "intstr.IntOrString": _int_or_string,
    "runtime.RawExtension": _json,
}
