"""The protobuf encoding of messages, by field number. Source: protobuf.dev, "Encoding"."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(number: int) -> bytes:
    """Return a natural number of up to 64 bits, seven bits to a byte."""
    if number < 0x80:
        return bytes((number,))
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def number_field(field: int, value: int) -> bytes:
    return varint(field << 3 | VARINT) + varint(value)


def bytes_field(field: int, value: bytes) -> bytes:
    """Also for strings and messages within messages."""
    return varint(field << 3 | BYTES) + varint(len(value)) + value


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at `at`, and where it ends. Raises IndexError if it does not end."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field, value), a number or bytes. Raises ValueError for other wire types and what is cut short."""
    at, size = 0, len(data)
    while at < size:
        key, at = read_varint(data, at)
        kind = key & 7
        value: int | bytes
        value, at = read_varint(data, at)
        if kind == BYTES:
            end = at + value
            if end > size:
                raise ValueError("a message is cut short")
            value, at = data[at:end], end
        elif kind != VARINT:
            raise ValueError(f"wire type {kind} of field {key >> 3}")
        yield key >> 3, value


def number_in(data: bytes, field: int) -> int:
    """Return a number field's value, 0 if it isn't there."""
    for found, value in fields(data):
        if found == field:
            assert isinstance(value, int)
            return value
    return 0


def bytes_in(data: bytes, field: int) -> bytes:
    """Return the first value of a bytes field, b"" if it isn't there."""
    for found, value in fields(data):
        if found == field:
            assert isinstance(value, bytes)
            return value
    return b""
