"""Regular expressions as schemas have them: Go's RE2 syntax, matched by Python's `re`.

Source: Go's `regexp/syntax`. What RE2 lacks (looking around, back references) is refused as Go refuses it; what Python
lacks (classes by name, `\\z`, `\\pL`) is translated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

_POSIX: Final[Mapping[str, str]] = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
#: The Unicode classes that patterns use, as near as Python has them.
_UNICODE: Final[Mapping[str, str]] = {
    "L": r"[^\W\d_]",
    "Lu": "[A-ZÀ-ÖØ-Þ]",
    "Ll": "[a-zß-öø-ÿ]",
    "N": r"\d",
    "Nd": r"\d",
}
_LOOKING: Final = re.compile(r"\(\?(?:[=!]|<[=!]|>|\()")
_ESCAPE: Final = re.compile(r"\\(?:p\{(\^?\w+)\}|p(\w)|Q(.*?)(?:\\E|\Z)|([1-9])|(.))", re.DOTALL)
_CLASS: Final = re.compile(r"\[:(\^?)(\w+):\]")
_FLAGS: Final = re.compile(r"\(\?([imsU]+)\)")


@lru_cache(maxsize=1024)
def fault(pattern: str) -> str:
    """What is wrong with a pattern, in Go's words where the fault is a usual one; empty if nothing is."""
    looking = _LOOKING.search(pattern)
    if looking:
        return f"error parsing regexp: invalid or unsupported Perl syntax: `{looking[0]}`"
    for escape in _ESCAPE.finditer(pattern):
        if escape[4]:
            return f"error parsing regexp: invalid escape sequence: `{escape[0]}`"
    try:
        re.compile(_translated(pattern))
    except re.error as error:
        return f"error parsing regexp: {_named(error, pattern)}"
    return ""


def _named(error: re.error, pattern: str) -> str:
    at = error.pos or 0
    for told, named in (
        ("unterminated character set", f"missing closing ]: `{pattern[at:]}`"),
        ("unterminated subpattern", f"missing closing ): `{pattern}`"),
        ("unbalanced parenthesis", f"unexpected ): `{pattern}`"),
        ("nothing to repeat", f"missing argument to repetition operator: `{pattern[at : at + 1]}`"),
        ("multiple repeat", f"invalid nested repetition operator: `{pattern[at - 1 : at + 1]}`"),
        ("bad character range", f"invalid character class range: `{pattern[at : at + 3]}`"),
        ("bad escape (end", "trailing backslash at end of expression: ``"),
        ("bad escape", f"invalid escape sequence: `{pattern[at : at + 2]}`"),
    ):
        if told in error.msg:
            return named
    return f"{error.msg}: `{pattern}`"


def search(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text; a faulty one never is."""
    compiled = _compiled(pattern)
    return compiled is not None and compiled.search(text) is not None


def found(pattern: str, text: str) -> list[str]:
    """The parts of a text that a pattern matches, none for a faulty one."""
    compiled = _compiled(pattern)
    return [] if compiled is None else [one[0] for one in compiled.finditer(text)]


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str] | None:
    return None if fault(pattern) else re.compile(_translated(pattern))


def _translated(pattern: str) -> str:
    text = _CLASS.sub(lambda found: ("^" if found[1] else "") + _POSIX.get(found[2], found[0]), pattern)
    text = _ESCAPE.sub(_escape, text)
    flags = _FLAGS.match(text)
    if flags is None or "m" not in flags[1]:
        text = re.sub(r"(?<!\\)((?:\\\\)*)\$(?![^\[]*\])", r"\1\\Z", text)
    return text


def _escape(found: re.Match[str]) -> str:
    named, short, literal, _, plain = found.groups()
    if named or short:
        return _UNICODE.get(named or short, found[0])
    if literal is not None:
        return re.escape(literal)
    return r"\Z" if plain == "z" else found[0]
