"""Values that have a form of their own in JSON: times, quantities, embedded documents and lists of texts.

Each reader takes the body and the place of the value's message in it. Source: apimachinery's `protobuf.go` files
beside the types (meta/v1, api/resource, util/intstr, runtime).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from oarlock.cluster.objects.protobuf_wire import BYTES, VARINT, ProtobufError, Span, fields, signed, text, wrong_type

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_GO_ZERO: Final = datetime(1, 1, 1, tzinfo=UTC)


def _numbers(data: bytes, span: Span, name: str, *names: str) -> list[int]:
    """The varint fields 1, 2, … of a message; absent ones are 0."""
    found = [0] * len(names)
    for number, wire_type, value, _ in fields(data, span, name):
        if number > len(names):
            continue
        if wire_type != VARINT:
            raise wrong_type(wire_type, names[number - 1])
        found[number - 1] = value
    return found


def _moment(data: bytes, span: Span, *, micro: bool) -> str | None:
    """RFC 3339 in UTC; None (null) for Go's zero time, which an empty message stands for."""
    if span[0] == span[1]:
        return None
    seconds, nanos = _numbers(data, span, "Timestamp", "Seconds", "Nanos")
    parts = timedelta(microseconds=signed(nanos, 32) // 1000 if micro else 0)
    try:
        moment = _EPOCH + timedelta(seconds=signed(seconds, 64)) + parts
    except OverflowError:
        raise ProtobufError("Time.MarshalJSON: year outside of range [0,9999]") from None
    if moment == _GO_ZERO:
        return None
    return moment.isoformat(timespec="microseconds" if micro else "seconds").removesuffix("+00:00") + "Z"


def _time(data: bytes, span: Span) -> str | None:
    return _moment(data, span, micro=False)


def _micro_time(data: bytes, span: Span) -> str | None:
    return _moment(data, span, micro=True)


def _first(data: bytes, span: Span, message: str, field: str) -> bytes:
    """The length-delimited field 1 of a message that has no other; empty where it is absent."""
    found = b""
    for number, wire_type, first, end in fields(data, span, message):
        if number == 1:
            if wire_type != BYTES:
                raise wrong_type(wire_type, field)
            found = data[first:end]
    return found


def _quantity(data: bytes, span: Span) -> str:
    found = _first(data, span, "Quantity", "String")
    return text(found, 0, len(found)) or "0"


def _document(data: bytes, span: Span) -> Any:
    """The JSON in a RawExtension or FieldsV1; None (null) where there is none."""
    found = _first(data, span, "RawExtension", "Raw")
    if not found:
        return None
    try:
        return orjson.loads(found)
    except orjson.JSONDecodeError as error:
        raise ProtobufError(f"embedded document: json parse error: {error.msg}") from None


def _int_or_string(data: bytes, span: Span) -> int | str:
    is_text, number, string = False, 0, ""
    for field, wire_type, first, end in fields(data, span, "IntOrString"):
        if field > len(_INT_OR_STRING):
            continue
        name, expected = _INT_OR_STRING[field - 1]
        if wire_type != expected:
            raise wrong_type(wire_type, name)
        if field == 1:
            is_text = bool(first)
        elif field == 2:
            number = signed(first, 32)
        else:
            string = text(data, first, end)
    return string if is_text else number


_INT_OR_STRING: Final = (("Type", VARINT), ("IntVal", VARINT), ("StrVal", BYTES))


def _texts(data: bytes, span: Span) -> list[str]:
    """The items of a list that is a message of its own (ExtraValue)."""
    found = []
    for number, wire_type, first, end in fields(data, span, "ExtraValue"):
        if number == 1:
            if wire_type != BYTES:
                raise wrong_type(wire_type, "Items")
            found.append(text(data, first, end))
    return found


#: By the words that stand for these messages in the table of fields.
READERS: Final[Mapping[str, Callable[[bytes, Span], Any]]] = {
    "time": _time,
    "micro-time": _micro_time,
    "quantity": _quantity,
    "int-or-string": _int_or_string,
    "json": _document,
    "texts": _texts,
}
