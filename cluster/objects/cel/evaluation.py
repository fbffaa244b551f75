"""Evaluate a checked expression, counting what it costs as it goes.

The tree becomes functions of the variables. An error is passed on as CEL wants it: what `&&`, `||` and the macros don't
need may fail. Source: cel-spec `doc/langdef.md`; cel-go `interpreter/{planner,runtimecost}.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from oarlock.cluster.objects.cel import costs, engine, library, standard
from oarlock.cluster.objects.cel.checking import Checked
from oarlock.cluster.objects.cel.costs import LIST_COST, MAP_COST
from oarlock.cluster.objects.cel.overloads import Overload, functions
from oarlock.cluster.objects.cel.syntax import Call, Expr, Ident, ListOf, Literal, Loop, MapOf, Select
from oarlock.cluster.objects.cel.types import OPAQUE, Type
from oarlock.cluster.objects.cel.values import RESERVED, MapList, Optional, SetList, TypeValue, Uint
from oarlock.cluster.objects.quantity import Quantity

Names = dict[str, Any]


class EvaluationError(Exception):
    """An expression has no value for these variables; the message is upstream's."""


class CostExceeded(Exception):
    """An evaluation was cut off."""


@dataclass(slots=True)
class Meter:
    """What has been spent, and how much may be. `expired` ends it as well, whatever has been counted."""

    limit: int
    spent: int = 0
    expired: Callable[[], bool] = lambda: False

    def check(self) -> None:
        """Raises CostExceeded."""
        if self.spent > self.limit or self.expired():
            raise CostExceeded


Run = Callable[[Names, Meter], Any]
_LOOKS_EVERY: Final = 256
"""Steps of a loop between two looks at the clock."""

_KINDS: Final[Mapping[type, str]] = {
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    dict: "map",
    list: "list",
    SetList: "list",
    MapList: "list",
    type(None): "null_type",
    Optional: "optional_type",
    datetime: "timestamp",
    timedelta: "duration",
    TypeValue: "type",
    Quantity: OPAQUE["quantity"],
    library.Url: OPAQUE["url"],
    library.Range: OPAQUE["cidr"],
    library.Version: OPAQUE["semver"],
    library.NamedFormat: OPAQUE["format"],
    **dict.fromkeys(library.Address.__args__, OPAQUE["ip"]),
}
_TYPES: Final = {"timestamp": "google.protobuf.Timestamp", "duration": "google.protobuf.Duration"}


def compiled(checked: Checked) -> Run:
    """What evaluates an expression. It raises EvaluationError or CostExceeded."""
    return _Builder(checked).build(checked.parsed.root)


class _Builder:
    def __init__(self, checked: Checked) -> None:
        self._checked = checked

    def build(self, expr: Expr) -> Run:
        match expr:
            case Literal():
                return _constant(Uint(expr.value) if expr.kind == "uint" else expr.value)
            case Ident():
                return _ident(expr.name)
            case Select():
                return self._select(expr)
            case Call():
                return self._call(expr)
            case ListOf():
                return self._list(expr)
            case MapOf():
                return self._map(expr)
            case Loop():
                return self._bind(expr) if expr.binds else self._loop(expr)

    def _select(self, expr: Select) -> Run:
        if expr.operand.id not in self._checked.types:
            return _constant(TypeValue(_qualified(expr)))
        operand, field = self.build(expr.operand), self._stored(expr.operand, expr.field)
        if expr.tests:
            return lambda names, meter: _has(operand(names, meter), field)

        def run(names: Names, meter: Meter) -> Any:
            meter.spent += 1
            return _field(operand(names, meter), field)

        return run

    def _stored(self, operand: Expr, field: str) -> str:
        """The name under which an object's value has a field: a keyword stands there escaped."""
        holder = self._checked.types[operand.id]
        inside = holder.of[0] if holder.kind == "optional_type" else holder
        is_escaped = inside.kind == "object" and field in RESERVED
        return f"__{field}__" if is_escaped else field

    def _call(self, expr: Call) -> Run:
        special = _SPECIAL.get(expr.function)
        if special is not None:
            return special([self.build(one) for one in expr.args])
        if expr.function == "_?._":
            operand = self.build(expr.args[0])
            assert isinstance(expr.args[1], Literal)
            field = self._stored(expr.args[0], str(expr.args[1].value))
            return lambda names, meter: _optional_field(operand(names, meter), field)
        args = list(expr.args)
        if expr.target is not None and expr.target.id in self._checked.types:
            args.insert(0, expr.target)
        return _call(expr, [self.build(one) for one in args], self._overloads(expr))

    def _overloads(self, expr: Call) -> list[Overload]:
        wanted = self._checked.overloads[expr.id]
        found = functions().get(expr.function) or ()
        named = {one.id: one for one in found if one.id in wanted}
        if len(named) < len(wanted):
            named |= {one.id: one for several in functions().values() for one in several if one.id in wanted}
        return [named[id_] for id_ in wanted]

    def _list(self, expr: ListOf) -> Run:
        items = [(self.build(one), index in expr.optional) for index, one in enumerate(expr.elements)]

        def run(names: Names, meter: Meter) -> Any:
            meter.spent += LIST_COST
            found = []
            for item, is_optional in items:
                value = item(names, meter)
                if not is_optional:
                    found.append(value)
                elif value.is_there:
                    found.append(value.value)
            return found

        return run

    def _map(self, expr: MapOf) -> Run:
        entries = []
        for one in expr.entries:
            assert not isinstance(one.key, str)
            entries.append((self.build(one.key), self.build(one.value), one.optional))

        def run(names: Names, meter: Meter) -> Any:
            meter.spent += MAP_COST
            found: dict[Any, Any] = {}
            for key, value, is_optional in entries:
                name, one = key(names, meter), value(names, meter)
                if not is_optional:
                    found[name] = one
                elif one.is_there:
                    found[name] = one.value
            return found

        return run

    def _bind(self, expr: Loop) -> Run:
        start, result, name = self.build(expr.start), self.build(expr.result), expr.result_name

        def run(names: Names, meter: Meter) -> Any:
            return result({**names, name: start(names, meter)}, meter)

        return run

    def _loop(self, expr: Loop) -> Run:
        asked = _asked_of_each(expr)
        if asked is not None:
            return self._each(expr, asked[1], deciding=asked[0])
        over, start, result = self.build(expr.range), self.build(expr.start), self.build(expr.result)
        condition, step = self.build(expr.condition), self.build(expr.step)
        one, two, kept = expr.variable, expr.second, expr.result_name

        def run(names: Names, meter: Meter) -> Any:
            items = over(names, meter)
            inner = {**names, kept: start(names, meter)}
            for count, pair in enumerate(_items(items, pairs=bool(two))):
                inner[one] = pair[0]
                if two:
                    inner[two] = pair[1]
                if condition(inner, meter) is not True:
                    break
                try:
                    inner[kept] = step(inner, meter)
                except EvaluationError as error:
                    inner[kept] = error
                if meter.spent > meter.limit or not count % _LOOKS_EVERY:
                    meter.check()
            return result(inner, meter)

        return run

    def _each(self, expr: Loop, asked: Expr, *, deciding: bool) -> Run:
        """`all` and `exists`, the same as the loop that they unfold to, and quicker."""
        over, predicate = self.build(expr.range), self.build(asked)
        one, two = expr.variable, expr.second
        beside = 4 if deciding else 3

        def run(names: Names, meter: Meter) -> Any:
            items = over(names, meter)
            inner, failed = dict(names), None
            for count, pair in enumerate(_items(items, pairs=bool(two))):
                inner[one] = pair[0]
                if two:
                    inner[two] = pair[1]
                meter.spent += beside
                try:
                    value = predicate(inner, meter)
                    if value is deciding:
                        return deciding
                    if not isinstance(value, bool):
                        raise EvaluationError("no such overload")
                except EvaluationError as error:
                    failed = failed or error
                if meter.spent > meter.limit or not count % _LOOKS_EVERY:
                    meter.check()
            if failed is not None:
                raise failed
            return not deciding

        return run


def _asked_of_each(expr: Loop) -> tuple[bool, Expr] | None:
    """What `all` or `exists` asks, and the answer that decides it; None for other loops."""
    step = expr.step
    if not (isinstance(expr.start, Literal) and isinstance(expr.result, Ident) and isinstance(step, Call)):
        return None
    deciding = _DECIDING.get(step.function)
    first = step.args[0] if step.args else None
    folds = isinstance(first, Ident) and first.name == expr.result_name and expr.result.name == expr.result_name
    if deciding is None or not folds or expr.start.value is deciding or not isinstance(expr.condition, Call):
        return None
    return deciding, step.args[1]


_DECIDING: Final = {"_&&_": False, "_||_": True}


def _items(given: Any, *, pairs: bool) -> Iterable[tuple[Any, ...]]:
    if isinstance(given, list):
        return enumerate(given) if pairs else ((one,) for one in given)
    if isinstance(given, Mapping):
        return tuple(given.items()) if pairs else ((one,) for one in tuple(given))
    raise EvaluationError("no such overload")


def _constant(value: Any) -> Run:
    return lambda _names, _meter: value


def _ident(name: str) -> Run:
    type_name = TypeValue(name)

    def run(names: Names, meter: Meter) -> Any:
        meter.spent += 1
        value = names.get(name, type_name)
        if isinstance(value, EvaluationError):
            raise value
        return value

    return run


def _qualified(expr: Expr) -> str:
    if isinstance(expr, Select):
        return f"{_qualified(expr.operand)}.{expr.field}"
    assert isinstance(expr, Ident)
    return expr.name


# Fields


def _field(holder: Any, name: str) -> Any:
    if isinstance(holder, Mapping):
        if name not in holder:
            raise EvaluationError(f"no such key: {name}")
        return holder[name]
    if isinstance(holder, Optional):
        return _optional_field(holder, name)
    raise EvaluationError("no such overload")


def _has(holder: Any, name: str) -> bool:
    if isinstance(holder, Optional):
        return holder.is_there and _has(holder.value, name)
    if not isinstance(holder, Mapping):
        raise EvaluationError("no such overload")
    return name in holder


def _optional_field(holder: Any, name: Any) -> Optional:
    if isinstance(holder, Optional):
        return _optional_field(holder.value, name) if holder.is_there else holder
    if isinstance(holder, Mapping):
        return Optional(holder[name], is_there=True) if name in holder else Optional()
    if isinstance(holder, list) and isinstance(name, int):
        return Optional(holder[name], is_there=True) if 0 <= name < len(holder) else Optional()
    raise EvaluationError("no such overload")


def _index(holder: Any, key: Any) -> Any:
    if isinstance(holder, Optional):
        return _optional_field(holder, key)
    if isinstance(holder, list):
        if isinstance(key, bool) or not isinstance(key, int | float) or key != int(key):
            raise EvaluationError("no such overload")
        if not 0 <= key < len(holder):
            raise EvaluationError(f"index out of bounds: {int(key)}")
        return holder[int(key)]
    return _field(holder, key)


# Operators that don't need all of their operands


def _logical(*, deciding: bool) -> Callable[[Sequence[Run]], Run]:
    """`&&` is decided by false and `||` by true, whatever the other operand is."""

    def built(args: Sequence[Run]) -> Run:
        left, right = args

        def run(names: Names, meter: Meter) -> Any:
            failed: EvaluationError | None = None
            for one in (left, right):
                try:
                    value = one(names, meter)
                except EvaluationError as error:
                    failed = failed or error
                    continue
                if value is deciding:
                    return deciding
                if not isinstance(value, bool):
                    failed = failed or EvaluationError("no such overload")
            if failed is not None:
                raise failed
            return not deciding

        return run

    return built


def _conditional(args: Sequence[Run]) -> Run:
    condition, one, two = args

    def run(names: Names, meter: Meter) -> Any:
        decided = condition(names, meter)
        if not isinstance(decided, bool):
            raise EvaluationError("no such overload")
        return (one if decided else two)(names, meter)

    return run


def _not_strictly_false(args: Sequence[Run]) -> Run:
    def run(names: Names, meter: Meter) -> Any:
        meter.spent += 1
        try:
            return args[0](names, meter) is not False
        except EvaluationError:
            return True

    return run


def _two(call: Callable[[Any, Any], Any]) -> Callable[[Sequence[Run]], Run]:
    def built(args: Sequence[Run]) -> Run:
        one, two = args

        def run(names: Names, meter: Meter) -> Any:
            meter.spent += 1
            return call(one(names, meter), two(names, meter))

        return run

    return built


def _type(args: Sequence[Run]) -> Run:
    def run(names: Names, meter: Meter) -> Any:
        meter.spent += 1
        kind = _KINDS.get(type(args[0](names, meter)), "dyn")
        return TypeValue(_TYPES.get(kind, kind))

    return run


_SPECIAL: Final[Mapping[str, Callable[[Sequence[Run]], Run]]] = {
    "_&&_": _logical(deciding=False),
    "_||_": _logical(deciding=True),
    "_?_:_": _conditional,
    "@not_strictly_false": _not_strictly_false,
    "_[_]": _two(_index),
    "_[?_]": _two(_optional_field),
    "type": _type,
}


# Functions


def _call(expr: Call, args: Sequence[Run], overloads: Sequence[Overload]) -> Run:
    chosen: dict[tuple[type, ...], tuple[Callable[..., Any], Callable[..., int] | None]] = {}

    def run(names: Names, meter: Meter) -> Any:
        given = [one(names, meter) for one in args]
        kinds = tuple(map(type, given))
        found = chosen.get(kinds)
        if found is None:
            found = chosen[kinds] = _chosen(expr, overloads, kinds)
        call, counted = found
        if counted is None:
            meter.spent += 1
        else:
            meter.spent += counted(*given)
            if meter.spent > meter.limit:
                raise CostExceeded
        try:
            return call(*given)
        except (ValueError, OverflowError) as error:
            raise EvaluationError(str(error)) from None
        except (TypeError, AttributeError):
            raise EvaluationError("no such overload") from None

    return run


def _chosen(
    expr: Call, overloads: Sequence[Overload], kinds: Sequence[type]
) -> tuple[Callable[..., Any], Callable[..., int] | None]:
    """The overload that takes values of these kinds, and what it costs if that depends on them."""
    for one in overloads:
        if all(map(_takes, one.takes, kinds)):
            call = standard.FUNCTIONS.get(one.id) or library.FUNCTIONS.get(one.id)
            if call is None:
                call = engine.function(expr.function, len(one.takes), is_member=one.is_member)
            return call, None if _SIZED.isdisjoint(kinds) else costs.actual(one.id)
    raise EvaluationError("no such overload")


def _takes(wanted: Type, kind: type) -> bool:
    if wanted.kind in ("parameter", "dyn"):
        return True
    return _KINDS.get(kind) == (wanted.name if wanted.kind == "opaque" else wanted.kind)


_SIZED: Final = frozenset({str, bytes, list, SetList, MapList, dict})
"""Types of values that have a size; what is done to others costs one."""
