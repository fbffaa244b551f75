"""What an expression says, as a tree: the library's parser tells it in protobuf, with its macros unfolded.

Source: cel-spec `proto/cel/expr/syntax.proto` (ParsedExpr).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from oarlock.cluster.objects.protobuf_wire import BYTES, fields, signed, varint


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant; `kind` is its type by CEL's name."""

    id: int
    kind: str
    value: Any


@dataclass(frozen=True, slots=True)
class Ident:
    """A name: a variable, a type, or the beginning of a function's qualified name."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """A field of something; `tests` is `has(…)`."""

    id: int
    operand: Expr
    field: str
    tests: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an operator. The target is what a member is called on."""

    id: int
    function: str
    target: Expr | None
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list written out; `optional` are the places of those that may be left out."""

    id: int
    elements: tuple[Expr, ...]
    optional: frozenset[int]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a map or field of a message."""

    id: int
    key: Expr | str
    value: Expr
    optional: bool


@dataclass(frozen=True, slots=True)
class MapOf:
    """A map written out, or a message if it has a name."""

    id: int
    message: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """What macros unfold to: a fold over a range. `second` is the name of the value where both are named."""

    id: int
    variable: str
    second: str
    range: Expr
    result_name: str
    start: Expr
    condition: Expr
    step: Expr
    result: Expr

    @property
    def binds(self) -> bool:
        """Whether it only names a value, as `cel.bind` does."""
        empty = isinstance(self.range, ListOf) and not self.range.elements
        return empty and isinstance(self.condition, Literal) and self.condition.value is False


Expr = Literal | Ident | Select | Call | ListOf | MapOf | Loop
RESULTS: Final = frozenset({"@result", "__result__"})
"""Names of the results of macros."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """An expression with where its parts stand: places by id, and where each line ends."""

    root: Expr
    text: str
    offsets: Mapping[int, int]
    line_ends: Sequence[int]

    def error(self, id_: int, told: str) -> str:
        """A complaint about a part, as cel-go writes it."""
        offset = self.offsets.get(id_, 0)
        line, start = 1, 0
        for end in self.line_ends:
            if end > offset:
                break
            line, start = line + 1, end
        column = offset - start
        lines = self.text.split("\n")
        shown = lines[line - 1] if line <= len(lines) else ""
        return f"ERROR: <input>:{line}:{column + 1}: {told}\n | {shown}\n | {'.' * column}^"


def read(serialized: bytes, text: str) -> Parsed:
    """The tree of what the library has parsed."""
    (value,) = _payloads(serialized, (0, len(serialized)), 2)
    whole = _by_number(serialized, value)
    root = _expr(serialized, whole[2][0])
    offsets: dict[int, int] = {}
    ends: list[int] = []
    for span in whole.get(3, ()):
        for number, kind, first, end in fields(serialized, span, "SourceInfo"):
            if number == 4:
                entry = {at: first for at, _, first, _ in fields(serialized, (first, end), "Position")}
                offsets[entry.get(1, 0)] = entry.get(2, 0)
            elif number == 3 and kind == BYTES:
                at = first
                while at < end:
                    one, at = varint(serialized, at, end)
                    ends.append(one)
    return Parsed(root, text, offsets, ends)


def walk(expr: Expr) -> list[Expr]:
    """An expression and all its parts."""
    found, due = [], [expr]
    while due:
        one = due.pop()
        found.append(one)
        due += _parts(one)
    return found


def _parts(one: Expr) -> list[Expr]:
    match one:
        case Select():
            return [one.operand]
        case Call():
            return [*([one.target] if one.target is not None else []), *one.args]
        case ListOf():
            return list(one.elements)
        case MapOf():
            keys = [entry.key for entry in one.entries if not isinstance(entry.key, str)]
            return [*keys, *(entry.value for entry in one.entries)]
        case Loop():
            return [one.range, one.start, one.condition, one.step, one.result]
        case _:
            return []


Span = tuple[int, int]


def _payloads(data: bytes, span: Span, number: int) -> list[Span]:
    return [(first, end) for at, _, first, end in fields(data, span, "Any") if at == number]


def _by_number(data: bytes, span: Span) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for number, kind, first, end in fields(data, span, "Expr"):
        found.setdefault(number, []).append((first, end) if kind else first)
    return found


def _text(data: bytes, parts: Mapping[int, list[Any]], number: int) -> str:
    if number not in parts:
        return ""
    first, end = parts[number][0]
    return data[first:end].decode()


def _expr(data: bytes, span: Span) -> Expr:
    parts = _by_number(data, span)
    id_ = parts.get(2, [0])[0]
    for number, form in _FORMS.items():
        if number in parts:
            return form(data, id_, parts[number][0])
    return Literal(id_, "null", None)


def _literal(data: bytes, id_: int, span: Span) -> Expr:
    for number, kind, first, end in fields(data, span, "Constant"):
        name = _CONSTANTS[number]
        if name == "int":
            return Literal(id_, name, signed(first, 64))
        if name == "double":
            return Literal(id_, name, struct.unpack("<d", data[first:end])[0])
        if kind == BYTES:
            return Literal(id_, name, data[first:end].decode() if name == "string" else data[first:end])
        return Literal(id_, name, {"bool": bool(first), "null": None}.get(name, first))
    return Literal(id_, "null", None)


def _ident(data: bytes, id_: int, span: Span) -> Expr:
    return Ident(id_, _text(data, _by_number(data, span), 1))


def _select(data: bytes, id_: int, span: Span) -> Expr:
    parts = _by_number(data, span)
    return Select(id_, _expr(data, parts[1][0]), _text(data, parts, 2), bool(parts.get(3, [0])[0]))


def _call(data: bytes, id_: int, span: Span) -> Expr:
    parts = _by_number(data, span)
    target = _expr(data, parts[1][0]) if 1 in parts else None
    return Call(id_, _text(data, parts, 2), target, tuple(_expr(data, one) for one in parts.get(3, ())))


def _list(data: bytes, id_: int, span: Span) -> Expr:
    optional: set[int] = set()
    elements = []
    for number, _, first, end in fields(data, span, "CreateList"):
        if number == 1:
            elements.append(_expr(data, (first, end)))
        elif number == 2:
            at = first
            while at < end:
                one, at = varint(data, at, end)
                optional.add(one)
    return ListOf(id_, tuple(elements), frozenset(optional))


def _map(data: bytes, id_: int, span: Span) -> Expr:
    parts = _by_number(data, span)
    return MapOf(id_, _text(data, parts, 1), tuple(_entry(data, one) for one in parts.get(2, ())))


def _entry(data: bytes, span: Span) -> Entry:
    parts = _by_number(data, span)
    key = _expr(data, parts[3][0]) if 3 in parts else _text(data, parts, 2)
    return Entry(parts.get(1, [0])[0], key, _expr(data, parts[4][0]), bool(parts.get(5, [0])[0]))


def _loop(data: bytes, id_: int, span: Span) -> Expr:
    parts = _by_number(data, span)
    range_, start, condition, step, result = (_expr(data, parts[number][0]) for number in (2, 4, 5, 6, 7))
    names = (_text(data, parts, 1), _text(data, parts, 8))
    return Loop(id_, *names, range_, _text(data, parts, 3), start, condition, step, result)


_CONSTANTS: Final = {1: "null", 2: "bool", 3: "int", 4: "uint", 5: "double", 6: "string", 7: "bytes"}
_FORMS: Final = {3: _literal, 4: _ident, 5: _select, 6: _call, 7: _list, 8: _map, 9: _loop}
