"""Answers in the Redis protocol, version 2."""

from __future__ import annotations

from collections.abc import Iterable

OK = b"+OK\r\n"
PONG = b"+PONG\r\n"
NOTHING = b"$-1\r\n"


def integer(number: int) -> bytes:
    return b":%d\r\n" % number


def bulk(value: bytes | None) -> bytes:
    """Return a string, or what stands for none."""
    return NOTHING if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def array(parts: Iterable[bytes]) -> bytes:
    """Return an array of encoded parts."""
    encoded = list(parts)
    return b"*%d\r\n%b" % (len(encoded), b"".join(encoded))


def error(text: str) -> bytes:
    """Return an error; `text` begins with its code, ERR or another word in capitals."""
    return b"-%b\r\n" % " ".join(text.split()).encode()
