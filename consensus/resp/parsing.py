"""Requests of the Redis protocol, version 2, out of any bytes: arrays of bulk strings, or lines typed by people.

Source: Redis serialization protocol specification; bounds for strangers as in Redis' networking.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

LINE_BYTES_MAX: Final = 16_384
_NUMBER: Final = re.compile(rb"-?\d{1,10}")
_WORD: Final = re.compile(rb'\s*(?:"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'|([^\s"\']+))(?=\s|$)', re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one command may have. A count or size beyond them ends the connection."""

    arguments_max: int
    argument_bytes_max: int
    command_bytes_max: int


STRANGER: Final = Bounds(10, 4_096, 8_192)
KNOWN: Final = Bounds(4_096, 8 << 20, 16 << 20)


class Malformed(Exception):
    """The bytes are no request; nothing behind them can be read either."""


class RequestParser:
    """Cuts a stream into commands. Holds at most one unfinished command and what was fed beyond it."""

    def __init__(self, bounds: Bounds = KNOWN) -> None:
        self.bounds = bounds
        self._buffer = bytearray()
        self._position = 0
        self._missing = 0
        self._size = -1
        self._arguments: list[bytes] = []
        self._bytes = 0

    @property
    def unread(self) -> int:
        """How many fed bytes haven't been taken yet."""
        return len(self._buffer) - self._position

    def feed(self, data: bytes) -> None:
        del self._buffer[: self._position]
        self._position = 0
        self._buffer += data

    def take(self) -> list[bytes] | None:
        """Return the next command, its name first; None until more has come. Raises Malformed."""
        while True:
            if not self._missing:
                line = self._line()
                if line is None:
                    return None
                if line[:1] == b"*":
                    self._missing = max(_number(line[1:], self.bounds.arguments_max, "multibulk length"), 0)
                elif words := inline(line, self.bounds.arguments_max):
                    return words
            elif self._size < 0:
                line = self._line()
                if line is None:
                    return None
                self._begin(line)
            elif not self._argument():
                return None
            elif not self._missing:
                return self._whole()

    def _begin(self, line: bytes) -> None:
        """Learn an argument's size."""
        if line[:1] != b"$":
            raise Malformed(f"expected '$', got {line[:1].decode('ascii', 'replace')!r}")
        self._size = _number(line[1:], self.bounds.argument_bytes_max, "bulk length")
        self._bytes += self._size
        if self._size < 0 or self._bytes > self.bounds.command_bytes_max:
            raise Malformed("invalid bulk length")

    def _argument(self) -> bool:
        end = self._position + self._size
        if len(self._buffer) < end + 2:
            return False
        if self._buffer[end : end + 2] != b"\r\n":
            raise Malformed("a bulk string is longer than it says")
        self._arguments.append(bytes(self._buffer[self._position : end]))
        self._position, self._size = end + 2, -1
        self._missing -= 1
        return True

    def _whole(self) -> list[bytes]:
        arguments, self._arguments, self._bytes = self._arguments, [], 0
        return arguments

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._position, self._position + LINE_BYTES_MAX)
        if end < 0:
            if self.unread >= LINE_BYTES_MAX:
                raise Malformed("too big inline request")
            return None
        line = bytes(self._buffer[self._position : end]).removesuffix(b"\r")
        self._position = end + 1
        return line


def inline(line: bytes, words_max: int) -> list[bytes]:
    """Split what a person typed at blanks, but not within quotes. Raises Malformed."""
    words, position, end = list[bytes](), 0, len(line.rstrip())
    while position < end:
        found = _WORD.match(line, position)
        if found is None:
            raise Malformed("unbalanced quotes in request")
        if len(words) == words_max:
            raise Malformed("invalid multibulk length")
        double, single, bare = found.groups()
        if double is not None:
            words.append(_ESCAPE.sub(_unescaped, double))
        else:
            words.append(bare if single is None else single.replace(rb"\'", b"'"))
        position = found.end()
    return words


def _unescaped(found: re.Match[bytes]) -> bytes:
    code: bytes = found[1]
    return bytes.fromhex(code[1:].decode()) if len(code) > 1 else _ESCAPED.get(code, code)


def _number(text: bytes, largest: int, what: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > largest:
        raise Malformed(f"invalid {what}")
    return int(text)
