"""What orjson does not tell of JSON text: Go's words for a syntax error, and which keys come twice."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from oarlock.cluster.objects.gotext import quote

_DEPTH_MAX: Final = 10_000
_EXPECTED: Final = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Illegal trailing comma before end of array": "looking for beginning of value",
    "Expecting ':' delimiter": "after object key",
    "Extra data": "after top-level value",
    "Invalid control character at": "in string literal",
    "Invalid \\escape": "in string escape code",
    "Invalid \\uXXXX escape": "in \\u hexadecimal character escape",
}


def is_json(raw: bytes) -> bool:
    """Whether the text is JSON."""
    try:
        orjson.loads(raw)
    except ValueError:
        return False
    return True


def error(raw: bytes) -> str:
    """Go's message for text that is no JSON."""
    text = raw.decode(errors="replace")
    try:
        json.loads(text, parse_int=str)  # Python refuses to make a number of thousands of digits
    except json.JSONDecodeError as failure:
        return _worded(failure, text)
    except RecursionError:
        return "exceeded max depth"
    return "invalid UTF-8 or number out of range"


def _worded(failure: json.JSONDecodeError, text: str) -> str:
    if failure.pos >= len(text.rstrip()) or failure.msg.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    place = next((words for start, words in _EXPECTED.items() if failure.msg.startswith(start)), "")
    if not place:  # "Expecting ',' delimiter": Python does not say in what
        place = "after object key:value pair" if _in_object(text[: failure.pos]) else "after array element"
    char = text[failure.pos]
    shown = {"'": "'\\''", '"': "'\"'"}.get(char, f"'{quote(char)[1:-1]}'")
    return f"invalid character {shown} {place}"


def _in_object(text: str) -> bool:
    """Whether the innermost bracket still open at the end of `text` is a brace."""
    open_brackets: list[str] = []
    in_string = escaped = False
    for char in text:
        if in_string:
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "{[":
            open_brackets.append(char)
        elif char in "}]" and open_brackets:
            open_brackets.pop()
    return bool(open_brackets) and open_brackets[-1] == "{"


class _Object(list[tuple[str, Any]]):
    """A decoded JSON object with every member, duplicates too."""


def duplicates(raw: bytes) -> list[str]:
    """The paths of the keys that an object of valid JSON text has more than once, in document order."""
    try:
        document = json.loads(raw, object_pairs_hook=_Object, parse_int=str)
    except RecursionError:
        return []
    found: list[str] = []
    _collect(document, "", found)
    return found


def _collect(value: Any, path: str, found: list[str]) -> None:
    if isinstance(value, _Object):
        seen: set[str] = set()
        for key, member in value:
            place = f"{path}.{key}" if path else key
            if key in seen and place not in found:
                found.append(place)
            seen.add(key)
            _collect(member, place, found)
    elif isinstance(value, list):
        for index, member in enumerate(value):
            _collect(member, f"{path}[{index}]", found)
