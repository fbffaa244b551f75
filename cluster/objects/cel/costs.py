"""How much an expression may cost at worst, from how large values may get.

The unit is upstream's, about 50 ns there. Source: cel-go `checker/cost.go`, `ext/sets.go`; apiserver
`pkg/cel/library/cost.go`; presence tests are free, as `pkg/cel/environment/base.go` asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from oarlock.cluster.objects.cel.checking import Checked
from oarlock.cluster.objects.cel.declared import Declared
from oarlock.cluster.objects.cel.syntax import (
    RESULTS,
    Call,
    Expr,
    Ident,
    ListOf,
    Literal,
    Loop,
    MapOf,
    Select,
)
from oarlock.cluster.objects.cel.types import Type

UNBOUNDED: Final = (1 << 64) - 1
TEXT_FACTOR: Final = 0.1
PATTERN_FACTOR: Final = 0.25
LIST_COST: Final = 10
MAP_COST: Final = 30
_FORMAT_CHARS_MAX: Final = 64
_SCALARS: Final = frozenset({"bool", "double", "duration", "int", "timestamp", "uint"})


@dataclass(frozen=True, slots=True)
class Span:
    """The least and the most of something; what is more than 64 bits hold is UNBOUNDED."""

    low: int
    high: int

    def __add__(self, other: Span) -> Span:
        return Span(_capped(self.low + other.low), _capped(self.high + other.high))

    def __mul__(self, other: Span) -> Span:
        return Span(_capped(self.low * other.low), _capped(self.high * other.high))

    def scaled(self, factor: float) -> Span:
        """Multiplied and rounded up."""
        return Span(_scaled(self.low, factor), _scaled(self.high, factor))

    def joined(self, other: Span) -> Span:
        """What covers both."""
        return Span(min(self.low, other.low), max(self.high, other.high))


def _capped(number: int) -> int:
    return min(number, UNBOUNDED)


def _scaled(number: int, factor: float) -> int:
    return UNBOUNDED if number * factor >= UNBOUNDED else math.ceil(number * factor)


UNKNOWN: Final = Span(0, UNBOUNDED)
NOTHING: Final = Span(0, 0)
ONE: Final = Span(1, 1)
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Local:
    """What a loop or a binding names: where it comes from, its size, the sizes of its keys and values."""

    path: Path
    size: Span | None
    entries: tuple[Span, Span] | None = None


@dataclass(frozen=True, slots=True)
class _Node:
    """What a function's cost depends on: an argument."""

    expr: Expr | None
    type: Type
    path: Path
    size: Span | None


def cost_max(checked: Checked, root: Declared) -> int:
    """The most that evaluating an expression may cost, if `self` and `oldSelf` are declared as `root`."""
    return _Estimate(checked, root).cost(checked.parsed.root).high


class _Estimate:
    def __init__(self, checked: Checked, root: Declared) -> None:
        self._checked = checked
        self._root = root
        self._paths: dict[int, Path] = {}
        self._sizes: dict[int, Span] = {}
        self._entries: dict[int, tuple[Span, Span]] = {}
        self._locals: dict[str, list[_Local]] = {}

    def cost(self, expr: Expr) -> Span:
        match expr:
            case Literal():
                return NOTHING
            case Ident():
                local = self._local(expr.name)
                self._paths[expr.id] = local.path if local is not None else (expr.name,)
                return ONE
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

    # Parts of expressions.

    def _select(self, expr: Select) -> Span:
        operand = self.cost(expr.operand)
        if expr.tests:
            return operand
        self._paths[expr.id] = (*self._path(expr.operand), expr.field)
        kind = self._type(expr.operand).kind
        return operand + ONE if kind in ("map", "object", "parameter") else operand

    def _call(self, expr: Call) -> Span:
        if expr.function == "dyn" and expr.args:
            argument = self.cost(expr.args[0])
            self._copy(expr, expr.args[0])
            return ONE + argument
        costs = [self.cost(one) for one in expr.args]
        nodes = [self._node(one) for one in expr.args]
        overloads = self._checked.overloads.get(expr.id, ())
        if not overloads:
            return NOTHING
        total, target = NOTHING, None
        if expr.target is not None and not self._is_qualified(expr):
            total, target = self.cost(expr.target), self._node(expr.target)
        function: Span | None = None
        size: Span | None = None
        for overload in overloads:
            cost, result = self._function(expr, overload, target, nodes, costs)
            function = cost if function is None else function.joined(cost)
            if result is not None:
                size = result if size is None else size.joined(result)
            if overload in ("index_list", "index_map"):
                entries = self._entries_of(expr.args[0])
                size = entries[1] if entries is not None else None
                self._paths[expr.id] = (*self._path(expr.args[0]), _INDEXED[overload])
            if size is None:
                size = self._size(expr)
        if size is not None:
            self._sizes[expr.id] = size
        assert function is not None
        return total + function

    def _is_qualified(self, expr: Call) -> bool:
        """Whether what looks like a target is the beginning of the function's name."""
        return expr.target is not None and expr.target.id not in self._checked.types

    def _list(self, expr: ListOf) -> Span:
        total, item = NOTHING, None
        for one in expr.elements:
            total += self.cost(one)
            size = self._size_or_unknown(one)
            item = size if item is None else item.joined(size)
        self._entries[expr.id] = (ONE, item if item is not None else NOTHING)
        return total + Span(LIST_COST, LIST_COST)

    def _map(self, expr: MapOf) -> Span:
        total, keys, values = NOTHING, None, None
        for entry in expr.entries:
            assert not isinstance(entry.key, str)
            total += self.cost(entry.key) + self.cost(entry.value)
            key, value = self._size_or_unknown(entry.key), self._size_or_unknown(entry.value)
            keys = key if keys is None else keys.joined(key)
            values = value if values is None else values.joined(value)
        self._entries[expr.id] = (keys or NOTHING, values or NOTHING)
        return total + Span(MAP_COST, MAP_COST)

    def _bind(self, expr: Loop) -> Span:
        total = self.cost(expr.range) + self.cost(expr.start)
        self._push(expr.result_name, self._bound(expr.start))
        total += self.cost(expr.result)
        self._locals[expr.result_name].pop()
        self._copy(expr, expr.result)
        return total

    def _loop(self, expr: Loop) -> Span:
        total = self.cost(expr.range) + self.cost(expr.start)
        self._push(expr.result_name, self._bound(expr.start))
        names = self._loop_variables(expr)
        for name, local in names.items():
            self._push(name, local)
        each = self.cost(expr.condition) + self.cost(expr.step)
        for name in names:
            self._locals[name].pop()
        total += self.cost(expr.result)
        self._locals[expr.result_name].pop()
        times = self._size_or_unknown(expr.range)
        self._remember_result(expr, times)
        return total + times * each

    def _loop_variables(self, expr: Loop) -> dict[str, _Local]:
        is_list = self._type(expr.range).kind == "list" or isinstance(expr.range, ListOf)
        entries = self._entries_of(expr.range)
        keys, values = entries if entries is not None else (None, None)
        path = self._path(expr.range)
        value = _Local((*path, "@items" if is_list else "@values"), values)
        if expr.second:
            return {expr.variable: _Local((*path, "@indices" if is_list else "@keys"), keys), expr.second: value}
        return {expr.variable: value if is_list else _Local((*path, "@keys"), keys)}

    def _remember_result(self, expr: Loop, times: Span) -> None:
        if isinstance(expr.start, Literal):
            size = self._size(expr.start)
            if size is not None:
                self._sizes[expr.id] = size
        elif isinstance(expr.start, ListOf | MapOf):
            self._sizes[expr.id] = times
            entries = self._entries_of(expr.step)
            if entries is not None:
                self._entries[expr.id] = entries

    # Functions.

    def _function(
        self, expr: Call, overload: str, target: _Node | None, args: Sequence[_Node], costs: Sequence[Span]
    ) -> tuple[Span, Span | None]:
        total = sum(costs, NOTHING)
        if overload in ("logical_and", "logical_or"):
            return Span(costs[0].low, (costs[0] + costs[1]).high), None
        if overload == "conditional":
            one, two = self._entries_of(expr.args[1]), self._entries_of(expr.args[2])
            self._join_entries(expr, one, two)
            sizes = self._known(args[1]).joined(self._known(args[2]))
            return costs[0] + costs[1].joined(costs[2]), sizes
        if overload in ("add_string", "add_bytes", "add_list"):
            self._join_entries(expr, self._entries_of(expr.args[0]), self._entries_of(expr.args[1]))
            size = self._known(args[0]) + self._known(args[1])
            return (ONE if overload == "add_list" else size.scaled(TEXT_FACTOR)) + total, size
        found = self._particular(expr.function, overload, target, args)
        if found is not None:
            return found[0] + total, found[1]
        return ONE + total, None

    def _particular(
        self, function: str, overload: str, target: _Node | None, args: Sequence[_Node]
    ) -> tuple[Span, Span | None] | None:
        if overload in _COMPARING:
            return self._compared(args), None
        by_overload = _BY_OVERLOAD.get(overload)
        operands = [one for one in (target, *args) if one is not None]
        if by_overload is not None and operands:
            return by_overload([self._known(one) for one in operands])
        if function in _TRAVERSING and target is not None:
            return self._traversed(target), None
        if function == "join" and target is not None:
            return self._joined(target, args)
        return None

    def _compared(self, args: Sequence[_Node]) -> Span:
        if args[0].type == args[1].type and args[0].type.kind == "opaque":
            return _OPAQUE_EQUALITY.get(args[0].type.name, ONE)
        most = min(self._known(args[0]).high, self._known(args[1]).high)
        return Span(1 if most else 0, most).scaled(TEXT_FACTOR)

    def _traversed(self, target: _Node) -> Span:
        """Looking at every item of a list, or at every character of a text."""
        if not target.type.of:
            return self._known(target).scaled(TEXT_FACTOR)
        each = ONE
        if target.type.of[0].kind in ("string", "bytes"):
            each += self._items(target).scaled(TEXT_FACTOR)
        return self._known(target) * each

    def _joined(self, target: _Node, args: Sequence[_Node]) -> tuple[Span, Span | None]:
        count = self._known(target)
        size = count * self._items(target) if target.type.of else NOTHING
        if args:
            size += self._known(args[0]) * Span(max(count.low - 1, 0), max(count.high - 1, 0))
        return size.scaled(TEXT_FACTOR), size

    def _items(self, target: _Node) -> Span:
        """The size of a list's items."""
        found = self._declared_size((*target.path, "@items")) if target.path else None
        return found if found is not None else UNKNOWN

    # Sizes.

    def _node(self, expr: Expr) -> _Node:
        path = self._path(expr)
        if path and path[0] in RESULTS:
            path = ()
        return _Node(expr, self._type(expr), path, self._size(expr))

    def _known(self, node: _Node) -> Span:
        return node.size if node.size is not None else UNKNOWN

    def _size(self, expr: Expr) -> Span | None:
        found = self._sizes.get(expr.id) or _written_size(expr)
        if found is not None:
            return found
        found = self._declared_size(self._path(expr))
        if found is not None:
            self._sizes[expr.id] = found
            return found
        if _is_scalar(self._type(expr)):
            return ONE
        local = self._local(expr.name) if isinstance(expr, Ident) else None
        return local.size if local is not None else None

    def _size_or_unknown(self, expr: Expr) -> Span:
        found = self._size(expr)
        return found if found is not None else UNKNOWN

    def _declared_size(self, path: Path) -> Span | None:
        if not path:
            return None
        here: Declared | None = self._root
        for name in path[1:]:
            assert here is not None
            here = here.keys if name == "@keys" else here.items if name in _WITHIN else here.fields.get(name)
            if here is None:
                return None
        assert here is not None
        return Span(0, here.size_max)

    def _entries_of(self, expr: Expr) -> tuple[Span, Span] | None:
        found = self._entries.get(expr.id)
        if found is None and isinstance(expr, Ident):
            local = self._local(expr.name)
            return local.entries if local is not None else None
        return found

    def _join_entries(self, expr: Expr, one: tuple[Span, Span] | None, two: tuple[Span, Span] | None) -> None:
        if one is not None and two is not None:
            self._entries[expr.id] = (one[0].joined(two[0]), one[1].joined(two[1]))

    def _copy(self, to: Expr, from_: Expr) -> None:
        size, entries = self._size(from_), self._entries_of(from_)
        if size is not None:
            self._sizes[to.id] = size
        if entries is not None:
            self._entries[to.id] = entries

    def _bound(self, expr: Expr) -> _Local:
        return _Local(self._path(expr), self._size(expr), self._entries_of(expr))

    def _push(self, name: str, local: _Local) -> None:
        self._locals.setdefault(name, []).append(local)

    def _local(self, name: str) -> _Local | None:
        stack = self._locals.get(name)
        return stack[-1] if stack else None

    def _path(self, expr: Expr) -> Path:
        local = self._local(expr.name) if isinstance(expr, Ident) else None
        return local.path if local is not None else self._paths.get(expr.id, ())

    def _type(self, expr: Expr) -> Type:
        return self._checked.types.get(expr.id, Type("error"))


def _written_size(expr: Expr) -> Span | None:
    """The size of what an expression writes out."""
    if isinstance(expr, Literal):
        count = len(expr.value) if expr.kind in ("string", "bytes") else 1
    elif isinstance(expr, ListOf):
        count = len(expr.elements)
    elif isinstance(expr, MapOf):
        count = len(expr.entries)
    else:
        return None
    return Span(count, count)


def _is_scalar(one: Type) -> bool:
    if one.kind == "optional_type":
        return _is_scalar(one.of[0])
    return one.kind in _SCALARS


_WITHIN: Final = frozenset({"@items", "@values"})
_INDEXED: Final = {"index_list": "@items", "index_map": "@values"}
_TRAVERSING: Final = frozenset({"isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"})
_COMPARING: Final = frozenset({"equals", "not_equals"}) | {
    f"{name}_{kind}" for name in ("less", "less_equals", "greater", "greater_equals") for kind in ("string", "bytes")
}
_ADDRESS: Final = Span(4, 16)
_OPAQUE_EQUALITY: Final[Mapping[str, Span]] = {
    "net.IP": (_ADDRESS + _ADDRESS).scaled(TEXT_FACTOR),
    "net.CIDR": (_ADDRESS + _ADDRESS).scaled(TEXT_FACTOR),
    "kubernetes.NamedFormat": Span(_FORMAT_CHARS_MAX, _FORMAT_CHARS_MAX).scaled(TEXT_FACTOR),
}
Estimated = tuple[Span, Span | None]
#: What an overload costs, and how large its result is, from the sizes of its target and arguments.
_Estimator = Callable[[Sequence[Span]], Estimated]


def _reads(which: int, factor: float = TEXT_FACTOR) -> _Estimator:
    return lambda sizes: (sizes[which].scaled(factor), None)


def _same_size(sizes: Sequence[Span]) -> Estimated:
    return sizes[0].scaled(TEXT_FACTOR), sizes[0]


def _matches(sizes: Sequence[Span]) -> Estimated:
    return (sizes[0] + ONE).scaled(TEXT_FACTOR) * sizes[1].scaled(PATTERN_FACTOR), None


def _finds(sizes: Sequence[Span]) -> Estimated:
    return _matches(sizes)[0], Span(0, sizes[0].high)


def _contains(sizes: Sequence[Span]) -> Estimated:
    return sizes[0].scaled(TEXT_FACTOR) * sizes[1].scaled(TEXT_FACTOR), None


def _splits(sizes: Sequence[Span]) -> Estimated:
    return sizes[0].scaled(2 * TEXT_FACTOR), Span(0, sizes[0].high)


def _replaces(sizes: Sequence[Span]) -> Estimated:
    text, old, new = sizes[:3]
    most, kept_most = 0, text.high
    if old.low == 0:
        most = _capped(text.high + 1)
    elif new.high > old.low:
        most, kept_most = math.ceil(text.high / old.low), 0
    least, kept_least = 0, text.low
    if old.high == 0:
        least = _capped(text.low + 1)
    elif old.high > new.low:
        least, kept_least = math.ceil(text.low / old.high), 0
    result = Span(least, most) * new + Span(kept_least, kept_most)
    return text.scaled(2 * TEXT_FACTOR), result


def _sets(factor: float) -> _Estimator:
    return lambda sizes: ((sizes[0] * sizes[1]).scaled(factor) + ONE, None)


def _validates(sizes: Sequence[Span]) -> Estimated:
    return sizes[1].scaled(TEXT_FACTOR).scaled(_FORMAT_CHARS_MAX * PATTERN_FACTOR), None


def _holds(parses: bool, masks: bool) -> _Estimator:
    def cost(sizes: Sequence[Span]) -> Estimated:
        total = (_ADDRESS + _ADDRESS).scaled(TEXT_FACTOR)
        if masks:
            total += _ADDRESS.scaled(TEXT_FACTOR) + ONE
        return total + (sizes[1].scaled(TEXT_FACTOR) if parses else NOTHING), None

    return cost


_BY_OVERLOAD: Final[Mapping[str, _Estimator]] = {
    "string_to_bytes": lambda sizes: (sizes[0].scaled(TEXT_FACTOR), Span(sizes[0].low, _capped(sizes[0].high * 4))),
    "bytes_to_string": lambda sizes: (sizes[0].scaled(TEXT_FACTOR), Span(sizes[0].low // 4, sizes[0].high)),
    "strings_quote": lambda sizes: (
        sizes[0].scaled(TEXT_FACTOR),
        Span(_capped(sizes[0].low + 2), _capped(sizes[0].high * 2 + 2)),
    ),
    "string_format": _reads(0),
    "starts_with_string": _reads(1),
    "ends_with_string": _reads(1),
    "in_list": _reads(1, 1),
    "matches_string": _matches,
    "contains_string": _contains,
    "string_find_string": _finds,
    "string_find_all_string": _finds,
    "string_find_all_string_int": _finds,
    "string_lower_ascii": _same_size,
    "string_upper_ascii": _same_size,
    "string_trim": _same_size,
    "string_substring_int": _same_size,
    "string_substring_int_int": _same_size,
    "string_split_string": _splits,
    "string_split_string_int": _splits,
    "string_replace_string_string": _replaces,
    "string_replace_string_string_int": _replaces,
    "list_sets_contains_list": _sets(1),
    "list_sets_intersects_list": _sets(1),
    "list_sets_equivalent_list": _sets(2),
    "string_to_url": _reads(0),
    "string_to_quantity": _reads(0),
    "is_quantity_string": _reads(0),
    "string_to_ip": _reads(0),
    "is_ip": _reads(0),
    "ip_is_canonical": _reads(0, 2 * TEXT_FACTOR),
    "string_to_cidr": _reads(0),
    "is_cidr": _reads(0),
    "string_to_semver": _reads(0),
    "is_semver_string": _reads(0),
    "cidr_contains_ip_string": _holds(parses=True, masks=False),
    "cidr_contains_ip_ip": _holds(parses=False, masks=False),
    "cidr_contains_cidr_string": _holds(parses=True, masks=True),
    "cidr_contains_cidr": _holds(parses=False, masks=True),
    "format_validate": _validates,
}


def actual(overload: str) -> Callable[..., int] | None:
    """What a call costs, given the values of its target and arguments; None if that is always one."""
    if overload in _COMPARING:
        return lambda one, two: math.ceil(min(_size(one), _size(two)) * TEXT_FACTOR)
    if overload in ("add_string", "add_bytes"):
        return lambda one, two: math.ceil((len(one) + len(two)) * TEXT_FACTOR)
    if overload.startswith(_LISTS):
        return lambda values, *_: len(values)
    estimate = _BY_OVERLOAD.get(overload)
    if estimate is None:
        return None
    return lambda *values: estimate([Span(size, size) for size in map(_size, values)])[0].high


def _size(value: object) -> int:
    return len(value) if isinstance(value, str | bytes | list | dict) else 1


_LISTS: Final = tuple(f"list_{kind}_" for kind in ("int", "uint", "double", "bool", "string", "bytes", "a"))
