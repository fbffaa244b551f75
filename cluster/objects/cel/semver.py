"""Semantic versions as expressions see them. Source: apiserver `pkg/cel/library/semverlib.go`, semver 2.0.0."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

Value = Mapping[str, Any]
KIND: Final = "semver"
_NUMBER: Final = r"(?:0|[1-9]\d*)"
_PART: Final = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION: Final = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_PART}(?:\.{_PART})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
Order = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def version(text: str, normalize: bool = False) -> Value:
    """Return the version. Raises ValueError if the text is none."""
    text = _normal(text) if normalize else text
    order(text)
    return {"kind": KIND, "text": text}


def is_version(text: str, normalize: bool = False) -> bool:
    try:
        version(text, normalize)
    except ValueError:
        return False
    return True


def number(value: Value, place: int) -> int:
    """Return the major, minor or patch number."""
    return order(_text(value))[0][place]


def compare(one: Value, other: Value) -> int:
    """Return -1, 0 or 1; what is built from counts nothing."""
    left, right = order(_text(one)), order(_text(other))
    return (right < left) - (left < right)


def order(text: str) -> Order:
    """Return what versions are sorted by: numbers, releases after what comes before them, then its parts.

    Raises ValueError.
    """
    found = _VERSION.fullmatch(text)
    if found is None:
        raise ValueError(f'invalid semantic version "{text}"')
    parts = found[4].split(".") if found[4] else []
    keys = tuple((not one.isdigit(), int(one) if one.isdigit() else 0, one) for one in parts)
    return tuple(map(int, found.group(1, 2, 3))), not parts, keys


def _text(value: Value) -> str:
    if value.get("kind") != KIND:
        raise TypeError("no such overload")
    return str(value["text"])


def _normal(text: str) -> str:
    """Without a leading v and leading zeros, with the numbers that are missing. Source: semverlib's normalization."""
    text = text.removeprefix("v")
    core, mark, rest = text, "", ""
    for index, sign in enumerate(text):
        if sign in "-+":
            core, mark, rest = text[:index], sign, text[index + 1 :]
            break
    numbers = [one.lstrip("0") or "0" if one.isdigit() else one for one in core.split(".")]
    return ".".join([*numbers, "0", "0"][: max(3, len(numbers))]) + mark + rest
