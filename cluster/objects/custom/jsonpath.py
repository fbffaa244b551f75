"""The JSONPaths of printer columns, scales and selectable fields, and what they find in an object.

Supported are field names, quoted or not, indexes, `*`, and filters that compare one field with a literal: what
definitions use. Source: client-go `util/jsonpath`; columns print the first thing found.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

_ORDERS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class BadPath(Exception):
    """A path that can't be read; the message says where."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps the items of a list whose value at `path` compares with `literal`; no operator: that have one."""

    path: tuple[str, ...]
    operator: str = ""
    literal: Any = None

    def holds(self, item: Any) -> bool:
        """Whether an item is kept."""
        found = next(iter(find(item, self.path)), None)
        if not self.operator:
            return found is not None
        if self.operator in ("==", "!="):
            return bool(found == self.literal) == (self.operator == "==")
        if isinstance(found, bool) or not isinstance(found, int | float) or not isinstance(self.literal, int | float):
            return False
        return _ORDERS[self.operator](found, self.literal)


Step = str | int | Filter
Path = tuple[Step, ...]
_EVERY: Final = "*"
_NAME: Final = re.compile(r"\.?((?:[^.\[\]\\\s]|\\.)+)|\.")
_INDEX: Final = re.compile(r"\[(-?\d+)\]")
_QUOTED: Final = re.compile(r"\[(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")\]")
_ALL: Final = re.compile(r"\[\*\]|\.\*(?![^.\[])")
_FILTER: Final = re.compile(r"\[\?\(\s*@((?:\.[^\s=!<>()]+)?)\s*(?:(==|!=|<=|>=|<|>)\s*(.+?))?\s*\)\]")


def parse(text: str) -> Path:
    """Read a path such as `.status.conditions[?(@.type=="Ready")].status`. Raises BadPath."""
    steps: list[Step] = []
    at = 0
    while at < len(text):
        step, at = _step(text, at)
        if step is not None:
            steps.append(step)
    return tuple(steps)


def _step(text: str, at: int) -> tuple[Step | None, int]:
    if found := _ALL.match(text, at):
        return _EVERY, found.end()
    if found := _FILTER.match(text, at):
        below = tuple(str(step) for step in parse(found[1])) if found[1] else ()
        return Filter(below, found[2] or "", _literal(found[3]) if found[3] else None), found.end()
    if found := _INDEX.match(text, at):
        return int(found[1]), found.end()
    if found := _QUOTED.match(text, at):
        return _unescaped(found[1] if found[1] is not None else found[2]), found.end()
    if found := _NAME.match(text, at):
        return _unescaped(found[1]) if found[1] else None, found.end()
    raise BadPath(f"unexpected {text[at : at + 10]!r} at offset {at}")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _literal(text: str) -> Any:
    if text[:1] in "'\"" and text[-1:] == text[:1] and len(text) > 1:
        return _unescaped(text[1:-1])
    try:
        return orjson.loads(text)
    except ValueError:
        raise BadPath(f"unknown literal {text}") from None


def find(value: Any, path: Iterable[Step]) -> Iterator[Any]:
    """Yield what a path leads to, in order; nothing where a step is missing."""
    found = [value]
    for step in path:
        found = [below for one in found for below in _below(one, step)]
    return iter(found)


def _below(value: Any, step: Step) -> Iterator[Any]:
    if isinstance(step, Filter):
        if isinstance(value, list):
            yield from (one for one in value if step.holds(one))
    elif isinstance(step, int):
        if isinstance(value, list) and -len(value) <= step < len(value):
            yield value[step]
    elif isinstance(value, Mapping):
        if step == _EVERY:
            yield from value.values()
        elif step in value:
            yield value[step]
    elif isinstance(value, list) and step == _EVERY:
        yield from value
