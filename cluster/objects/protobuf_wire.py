"""Read protobuf's wire format: tags, varints and length-delimited payloads, in place and in one pass.

Failures are worded as Go's generated decoders word them. Source: protobuf's encoding documentation (proto2).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
END_GROUP: Final = 4
FIXED32: Final = 5
_FIXED_SIZES: Final = {FIXED64: 8, FIXED32: 4}
_VARINT_BITS_MAX: Final = 63
_FIELD_MAX: Final = (1 << 29) - 1

Span = tuple[int, int]
"""Where a payload stands in the body: first byte, byte after the last."""


class ProtobufError(ValueError):
    """The bytes are not the message they should be; the message says why, in upstream's words."""


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the unsigned 64-bit number at `at` and where the next thing begins. Raises ProtobufError."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > _VARINT_BITS_MAX:
            raise ProtobufError("proto: integer overflow")
    raise ProtobufError("unexpected EOF")


def fields(data: bytes, span: Span, message: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, wire type, first, end) of each field of the message at `span`, in order.

    A varint's payload is its value: it comes as (number, VARINT, value, value). Groups, which Kubernetes does not
    use, are refused. Raises ProtobufError; `message` is the message's name in failures.
    """
    at, end = span
    while at < end:
        tag, at = varint(data, at, end)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == END_GROUP:
            raise ProtobufError(f"proto: {message}: wiretype end group for non-group")
        if not 0 < number <= _FIELD_MAX:
            raise ProtobufError(f"proto: {message}: illegal tag {number} (wire type {wire_type})")
        if wire_type == VARINT:
            value, at = varint(data, at, end)
            yield number, VARINT, value, value
            continue
        if wire_type == BYTES:
            size, at = varint(data, at, end)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise ProtobufError(f"proto: illegal wireType {wire_type}")
        if size > end - at:
            raise ProtobufError("unexpected EOF")
        yield number, wire_type, at, at + size
        at += size


def wrong_type(wire_type: int, field: str) -> ProtobufError:
    """The failure of a field whose payload has another wire type than its own; fields are named as in Go."""
    return ProtobufError(f"proto: wrong wireType = {wire_type} for field {field[:1].upper()}{field[1:]}")


def signed(value: int, bits: int) -> int:
    """The two's complement number in the lowest `bits` of a varint, as Go's int32 and int64 hold it."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def text(data: bytes, first: int, end: int) -> str:
    """The UTF-8 text at a place. Raises ProtobufError."""
    try:
        return data[first:end].decode()
    except UnicodeDecodeError:
        raise ProtobufError("proto: string field contains invalid UTF-8") from None
