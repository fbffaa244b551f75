"""Check an expression's types against what its variables are declared as, in cel-go's words.

Source: cel-go `checker/{checker,errors}.go`, `cel/validator.go` (literals of durations, timestamps, patterns).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from oarlock.cluster.objects.cel import values
from oarlock.cluster.objects.cel.declared import Declared
from oarlock.cluster.objects.cel.overloads import Overload, functions
from oarlock.cluster.objects.cel.syntax import (
    Call,
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
from oarlock.cluster.objects.cel.types import (
    BOOL,
    DYN,
    ERROR,
    NULL,
    Substitution,
    Type,
    list_of,
    map_of,
    more_general,
    optional,
    parameter,
    parsed,
)
from oarlock.cluster.objects.extensions import patterns

_TYPE_NAMES: Final[Mapping[str, Type]] = {
    **{name: parsed(name) for name in ("bool", "bytes", "double", "int", "string", "uint", "null_type")},
    "list": list_of(DYN),
    "map": map_of(DYN, DYN),
    "google.protobuf.Timestamp": parsed("timestamp"),
    "google.protobuf.Duration": parsed("duration"),
    "optional_type": optional(DYN),
}


@dataclass(slots=True)
class Checked:
    """An expression whose types are known: of each part, and which overloads a call may take."""

    parsed: Parsed
    types: dict[int, Type] = field(default_factory=dict)
    overloads: dict[int, tuple[str, ...]] = field(default_factory=dict)
    errors: list[tuple[int, str]] = field(default_factory=list)

    @property
    def type(self) -> Type:
        """The type of its value."""
        return self.types[self.parsed.root.id]

    def complaint(self) -> str:
        """Everything that is wrong with it, in the order of the text; empty if nothing is."""
        ordered = sorted(self.errors, key=lambda one: self.parsed.offsets.get(one[0], 0))
        return "\n".join(dict.fromkeys(self.parsed.error(id_, told) for id_, told in ordered))


def check(parsed_: Parsed, variables: Mapping[str, Type], objects: Mapping[str, Declared]) -> Checked:
    """Find the types of an expression's parts; `objects` has the fields of object types, by the type's name."""
    checker = _Checker(Checked(parsed_), objects, variables)
    checker.visit(parsed_.root)
    found = checker.found
    for id_, one in found.types.items():
        found.types[id_] = checker.resolved(one, free_as_dyn=True)
    if not found.errors:
        found.errors += _faulty_literals(parsed_.root)
    return found


class _Checker:
    """One walk over an expression."""

    def __init__(self, found: Checked, objects: Mapping[str, Declared], variables: Mapping[str, Type]) -> None:
        self.found = found
        self._objects = objects
        self._scopes: list[Mapping[str, Type]] = [variables]
        self._known = Substitution()
        self._free = count()

    def resolved(self, one: Type, *, free_as_dyn: bool = False) -> Type:
        return self._known.resolved(one, free_as_dyn=free_as_dyn)

    def visit(self, expr: Expr) -> Type:
        found = self._type(expr)
        self.found.types[expr.id] = found
        return found

    def _type(self, expr: Expr) -> Type:
        match expr:
            case Literal():
                return NULL if expr.kind == "null" else Type(expr.kind)
            case Ident():
                return self._ident(expr)
            case Select():
                return self._select(expr)
            case Call():
                return self._call(expr)
            case ListOf():
                return self._list(expr)
            case MapOf():
                return self._map(expr)
            case Loop():
                return self._loop(expr)

    def _ident(self, expr: Ident) -> Type:
        found = self._named(expr.name)
        if found is None:
            return self._error(expr, f"undeclared reference to '{expr.name}' (in container '')")
        return found

    def _named(self, name: str) -> Type | None:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        known = _TYPE_NAMES.get(name)
        return Type("type", of=(known,)) if known is not None else None

    def _select(self, expr: Select) -> Type:
        name = _qualified(expr)
        named = self._named(name) if name and not expr.tests else None
        if named is not None:
            return named
        found = self._field(expr, self.visit(expr.operand), expr.field)
        return BOOL if expr.tests else found

    def _field(self, at: Expr, holder: Type, name: str, *, may_lack: bool = False) -> Type:
        holder = self.resolved(holder)
        is_optional = holder.kind == "optional_type"
        found = self._field_of(at, holder.of[0] if is_optional else holder, name)
        return optional(found) if is_optional or may_lack else found

    def _field_of(self, at: Expr, holder: Type, name: str) -> Type:
        if holder.kind == "map":
            return holder.of[1]
        if holder.kind == "object":
            place = self._objects[holder.name].fields.get(name)
            return place.type if place is not None else self._error(at, f"undefined field '{name}'")
        if holder.kind == "parameter":
            self._known.assignable((DYN,), (holder,))
        elif not holder.is_open:
            self._error(at, f"type '{holder}' does not support field selection")
        return DYN

    def _call(self, expr: Call) -> Type:
        if expr.function == "_?._":
            field_ = expr.args[1]
            self.visit(field_)
            assert isinstance(field_, Literal)
            self.found.overloads[expr.id] = ("select_optional_field",)
            return self._field(expr, self.visit(expr.args[0]), str(field_.value), may_lack=True)
        args = [self.visit(one) for one in expr.args]
        function = expr.function
        if expr.target is not None:
            name = _qualified(expr.target)
            whole = f"{name}.{function}"
            if name and whole in functions():
                return self._resolve(expr, whole, args, is_member=False)
            args.insert(0, self.visit(expr.target))
        if function not in functions():
            return self._error(expr, f"undeclared reference to '{function}' (in container '')")
        return self._resolve(expr, function, args, is_member=expr.target is not None)

    def _resolve(self, expr: Call, name: str, args: Sequence[Type], *, is_member: bool) -> Type:
        result: Type | None = None
        matching = []
        for overload in functions()[name]:
            if overload.is_member != is_member:
                continue
            takes, gives = self._instance(overload)
            if self._known.assignable(takes, args):
                matching.append(overload.id)
                one = self.resolved(gives)
                result = one if result is None or result == one else DYN
        if result is None:
            shown = [str(self.resolved(one, free_as_dyn=True)) for one in args]
            given = f"{shown[0]}.({', '.join(shown[1:])})" if is_member else f"({', '.join(shown)})"
            return self._error(expr, f"found no matching overload for '{name}' applied to '{given}'")
        self.found.overloads[expr.id] = tuple(matching)
        return result

    def _instance(self, overload: Overload) -> tuple[Sequence[Type], Type]:
        """An overload with parameters of its own."""
        fresh: dict[str, Type] = {}

        def renamed(one: Type) -> Type:
            if one.kind == "parameter":
                if one.name not in fresh:
                    fresh[one.name] = self._new()
                return fresh[one.name]
            return Type(one.kind, one.name, tuple(map(renamed, one.of))) if one.of else one

        return [renamed(one) for one in overload.takes], renamed(overload.gives)

    def _new(self) -> Type:
        return parameter(f"_var{next(self._free)}")

    def _list(self, expr: ListOf) -> Type:
        of: Type | None = None
        for index, one in enumerate(expr.elements):
            found = self.visit(one)
            if index in expr.optional and found.kind == "optional_type":
                found = found.of[0]
            of = self._joined(one, of, found)
        return list_of(of if of is not None else self._new())

    def _map(self, expr: MapOf) -> Type:
        if expr.message:
            return self._error(expr, f"undeclared reference to '{expr.message}' (in container '')")
        key: Type | None = None
        value: Type | None = None
        for entry in expr.entries:
            assert not isinstance(entry.key, str)
            key = self._joined(entry.key, key, self.visit(entry.key))
            found = self.visit(entry.value)
            if entry.optional and found.kind == "optional_type":
                found = found.of[0]
            value = self._joined(entry.value, value, found)
        return map_of(key if key is not None else self._new(), value if value is not None else self._new())

    def _joined(self, at: Expr, before: Type | None, one: Type) -> Type:
        if before is None:
            return one
        if self._known.assignable((before,), (one,)):
            return more_general(self.resolved(before), self.resolved(one))
        return self._error(at, f"expected type '{self.resolved(before)}' but found '{self.resolved(one)}'")

    def _loop(self, expr: Loop) -> Type:
        over = self.resolved(self.visit(expr.range))
        start = self.visit(expr.start)
        self._scopes += ({expr.result_name: start}, self._loop_variables(expr, over))
        self._asserted(expr.condition, BOOL)
        self._asserted(expr.step, start)
        self._scopes.pop()
        result = self.visit(expr.result)
        self._scopes.pop()
        return self.resolved(result)

    def _loop_variables(self, expr: Loop, over: Type) -> dict[str, Type]:
        if over.kind in ("list", "map"):
            keys = over.of[0] if over.kind == "map" else Type("int")
            if expr.second:
                return {expr.variable: keys, expr.second: over.of[-1]}
            return {expr.variable: over.of[0]}
        if over.kind == "parameter":
            self._known.assignable((DYN,), (over,))
        elif not over.is_open:
            told = f"expression of type '{over}' cannot be range of a comprehension (must be list, map, or dynamic)"
            self._error(expr.range, told)
        return {expr.variable: DYN} | ({expr.second: DYN} if expr.second else {})

    def _asserted(self, expr: Expr, wanted: Type) -> None:
        found = self.visit(expr)
        if not self._known.assignable((wanted,), (found,)):
            self._error(expr, f"expected type '{self.resolved(wanted)}' but found '{self.resolved(found)}'")

    def _error(self, at: Expr, told: str) -> Type:
        self.found.errors.append((at.id, told))
        return ERROR


def _qualified(expr: Expr) -> str:
    """The dotted name that an expression may be; empty if it is none."""
    if isinstance(expr, Ident):
        return expr.name
    if isinstance(expr, Select) and not expr.tests:
        before = _qualified(expr.operand)
        return f"{before}.{expr.field}" if before else ""
    return ""


def _faulty_literals(root: Expr) -> list[tuple[int, str]]:
    """Arguments that can't be read, whatever the object."""
    found = []
    for one in walk(root):
        if not isinstance(one, Call) or not one.args or not isinstance(one.args[-1], Literal):
            continue
        literal = one.args[-1]
        fault = _LITERALS.get(one.function)
        if fault is not None and literal.kind == "string" and not fault(str(literal.value)):
            found.append((literal.id, f"invalid {one.function} argument"))
    return found


_LITERALS: Final = {
    "duration": lambda text: values.duration(text) is not None,
    "timestamp": lambda text: values.timestamp(text) is not None,
    "matches": lambda text: not patterns.fault(text),
}
