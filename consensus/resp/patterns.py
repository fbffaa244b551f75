"""Redis' glob patterns: `*`, `?`, `[a-z]`, `[^a]`, and `\\` before what is meant as it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

_ANY, _ONE, _SET, _ESCAPE = b"*", b"?", b"[", b"\\"


class Pattern(NamedTuple):
    """A pattern, and the bytes that everything it matches begins with."""

    prefix: bytes
    matches: Callable[[bytes], bool]


class _Token(NamedTuple):
    """One byte that matches if it is among `members`; or, with `many`, any number of any bytes."""

    members: frozenset[int]
    many: bool = False


_EVERY = frozenset(range(256))


def compiled(pattern: bytes) -> Pattern:
    """Return the pattern's matcher, which takes at most the product of both lengths."""
    tokens = _tokens(pattern)
    prefix = bytearray()
    for token in tokens:
        if token.many or len(token.members) != 1:
            break
        prefix += bytes(token.members)
    return Pattern(bytes(prefix), lambda text: _match(tokens, text))


def _tokens(pattern: bytes) -> list[_Token]:
    tokens, position = list[_Token](), 0
    while position < len(pattern):
        sign = pattern[position : position + 1]
        position += 1
        if sign == _ANY:
            if not tokens or not tokens[-1].many:
                tokens.append(_Token(frozenset(), many=True))
        elif sign == _ONE:
            tokens.append(_Token(_EVERY))
        elif sign == _SET:
            members, position = _members(pattern, position)
            tokens.append(_Token(members))
        else:
            if sign == _ESCAPE and position < len(pattern):
                sign = pattern[position : position + 1]
                position += 1
            tokens.append(_Token(frozenset(sign)))
    return tokens


def _members(pattern: bytes, position: int) -> tuple[frozenset[int], int]:
    """Return the bytes of a set and where it ends; one that isn't closed ends with the pattern."""
    negated = pattern[position : position + 1] == b"^"
    position += negated
    members = set[int]()
    while position < len(pattern) and pattern[position : position + 1] != b"]":
        if pattern[position : position + 1] == _ESCAPE and position + 1 < len(pattern):
            position += 1
            members.add(pattern[position])
        elif pattern[position + 1 : position + 2] == b"-" and position + 2 < len(pattern):
            low, high = sorted((pattern[position], pattern[position + 2]))
            members.update(range(low, high + 1))
            position += 2
        else:
            members.add(pattern[position])
        position += 1
    return frozenset(_EVERY - members if negated else members), position + 1


def _match(tokens: list[_Token], text: bytes) -> bool:
    """Walk both once; what a `*` has taken grows when the rest doesn't fit, and only the last one's does."""
    at, position, star, taken = 0, 0, -1, 0
    while position < len(text):
        if at < len(tokens) and tokens[at].many:
            star, taken = at, position
            at += 1
        elif at < len(tokens) and text[position] in tokens[at].members:
            at += 1
            position += 1
        elif star >= 0:
            taken += 1
            at, position = star + 1, taken
        else:
            return False
    return all(token.many for token in tokens[at:])
