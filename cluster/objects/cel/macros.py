"""Macros over two variables, which the library's parser leaves as calls: `list.all(index, value, …)` and its like.

Source: cel-go `ext/comprehensions.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Final

from oarlock.cluster.objects.cel.syntax import (
    Call,
    Entry,
    Expr,
    Ident,
    ListOf,
    Literal,
    Loop,
    MapOf,
    Parsed,
    Select,
    walk,
)

_RESULT: Final = "@result"
_INSERT: Final = "cel.@mapInsert"


def unfolded(parsed: Parsed) -> Parsed:
    """An expression with such calls as the loops that they mean. What a loop adds stands where the call does."""
    if not any(isinstance(one, Call) and one.function in _MACROS for one in walk(parsed.root)):
        return parsed
    offsets = dict(parsed.offsets)
    return replace(
        parsed, root=_Unfolding(count(max(offsets, default=0) + 1), offsets).of(parsed.root), offsets=offsets
    )


class _Unfolding:
    def __init__(self, ids: Iterator[int], offsets: dict[int, int]) -> None:
        self._ids = ids
        self._offsets = offsets
        self._at = 0

    def of(self, expr: Expr) -> Expr:
        match expr:
            case Select():
                return replace(expr, operand=self.of(expr.operand))
            case ListOf():
                return replace(expr, elements=tuple(map(self.of, expr.elements)))
            case MapOf():
                return replace(expr, entries=tuple(map(self._entry, expr.entries)))
            case Loop():
                return replace(
                    expr,
                    range=self.of(expr.range),
                    start=self.of(expr.start),
                    condition=self.of(expr.condition),
                    step=self.of(expr.step),
                    result=self.of(expr.result),
                )
            case Call():
                target = self.of(expr.target) if expr.target is not None else None
                return self._call(replace(expr, target=target, args=tuple(map(self.of, expr.args))))
            case _:
                return expr

    def _entry(self, entry: Entry) -> Entry:
        key = entry.key if isinstance(entry.key, str) else self.of(entry.key)
        return replace(entry, key=key, value=self.of(entry.value))

    def _call(self, expr: Call) -> Expr:
        macro = _MACROS.get(expr.function)
        if macro is None or expr.target is None or len(expr.args) < 3:
            return expr
        (one, two), rest = expr.args[:2], expr.args[2:]
        if not isinstance(one, Ident) or not isinstance(two, Ident) or len(rest) > macro[0]:
            return expr
        self._at = self._offsets.get(expr.id, 0)
        start, condition, step, result = macro[1](self, one, rest)
        return Loop(self.id(), one.name, two.name, expr.target, _RESULT, start, condition, step, result)

    # What loops are made of.

    def id(self) -> int:
        found = next(self._ids)
        self._offsets[found] = self._at
        return found

    def result(self) -> Expr:
        return Ident(self.id(), _RESULT)

    def truth(self, *, value: bool) -> Expr:
        return Literal(self.id(), "bool", value)

    def number(self, value: int) -> Expr:
        return Literal(self.id(), "int", value)

    def call(self, function: str, *args: Expr) -> Expr:
        return Call(self.id(), function, None, args)

    def if_kept(self, rest: Sequence[Expr], step: Callable[[Expr], Expr]) -> Expr:
        """A step for all items, or for those that a filter before the transformation keeps."""
        *filters, transformed = rest
        taken = step(transformed)
        return self.call("_?_:_", filters[0], taken, self.result()) if filters else taken


Parts = tuple[Expr, Expr, Expr, Expr]


def _all(make: _Unfolding, _: Ident, rest: Sequence[Expr]) -> Parts:
    condition = make.call("@not_strictly_false", make.result())
    return make.truth(value=True), condition, make.call("_&&_", make.result(), rest[0]), make.result()


def _exists(make: _Unfolding, _: Ident, rest: Sequence[Expr]) -> Parts:
    condition = make.call("@not_strictly_false", make.call("!_", make.result()))
    return make.truth(value=False), condition, make.call("_||_", make.result(), rest[0]), make.result()


def _exists_one(make: _Unfolding, _: Ident, rest: Sequence[Expr]) -> Parts:
    more = make.call("_+_", make.result(), make.number(1))
    step = make.call("_?_:_", rest[0], more, make.result())
    result = make.call("_==_", make.result(), make.number(1))
    return make.number(0), make.truth(value=True), step, result


def _list(make: _Unfolding, _: Ident, rest: Sequence[Expr]) -> Parts:
    def step(one: Expr) -> Expr:
        return make.call("_+_", make.result(), ListOf(make.id(), (one,), frozenset()))

    start = ListOf(make.id(), (), frozenset())
    return start, make.truth(value=True), make.if_kept(rest, step), make.result()


def _map(make: _Unfolding, key: Ident, rest: Sequence[Expr]) -> Parts:
    def step(one: Expr) -> Expr:
        return make.call(_INSERT, make.result(), Ident(make.id(), key.name), one)

    return MapOf(make.id(), "", ()), make.truth(value=True), make.if_kept(rest, step), make.result()


def _map_entry(make: _Unfolding, _: Ident, rest: Sequence[Expr]) -> Parts:
    def step(one: Expr) -> Expr:
        return make.call(_INSERT, make.result(), one)

    return MapOf(make.id(), "", ()), make.truth(value=True), make.if_kept(rest, step), make.result()


#: How many arguments a macro takes at most behind its variables, and what it unfolds to.
_MACROS: Final[Mapping[str, tuple[int, Callable[[_Unfolding, Ident, Sequence[Expr]], Parts]]]] = {
    "all": (1, _all),
    "exists": (1, _exists),
    "existsOne": (1, _exists_one),
    "transformList": (2, _list),
    "transformMap": (2, _map),
    "transformMapEntry": (2, _map_entry),
}
