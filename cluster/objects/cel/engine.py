"""Compile and evaluate expressions. The library is loaded at the first one: most servers never need it.

Source: apiserver `pkg/cel/environment` (which libraries there are), `pkg/cel/library`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from oarlock.cluster.objects.cel import syntax
from oarlock.cluster.objects.cel.syntax import Parsed

#: Names of the types that a variable may be declared with.
KINDS: Final = ("bool", "bytes", "double", "duration", "dyn", "int", "list", "map", "string", "timestamp")
EXPRESSIONS_MAX: Final = 4096
"""Compiled expressions kept, over all definitions."""
_STATUS: Final = re.compile(r"^[A-Z_]+: (.*?)(?: \[[A-Z_]+\])?$", re.DOTALL)
_ERRORS: Final = (
    (re.compile(r'^Key not found in map : "?(.*?)"?$'), r"no such key: \1"),
    (re.compile(r"^no_such_field : (.*)$"), r"no such key: \1"),
    (re.compile(r"^Index error: index=(-?\d+) size=\d+$"), r"index out of bounds: \1"),
    (re.compile(r"^divide by zero$"), "division by zero"),
    (re.compile(r"^Iteration budget exceeded$"), "operation cancelled: actual cost limit exceeded"),
    (re.compile(r"^No matching overloads found.*$", re.DOTALL), "no such overload"),
)


class CompileError(Exception):
    """An expression can't be compiled; the message shows where, as upstream's does."""


class EvaluationError(Exception):
    """An expression has no value for these variables; the message is upstream's where the library's has another."""


class Program:
    """A compiled expression. Its comprehensions may take 10,000 steps in all, a bound of the library's."""

    def __init__(self, expression: Any) -> None:
        self._expression = expression

    @property
    def kind(self) -> str:
        """The type of its value as far as that is known: one of KINDS, or another type's name."""
        return str(self._expression.return_type().name()).lower()

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Return the value as Python has it. Raises EvaluationError."""
        try:
            value = self._expression.eval(data=dict(variables))
        except RuntimeError as error:
            raise EvaluationError(_told(str(error))) from None
        if value.type().name() == "ERROR":
            raise EvaluationError(_told(str(value.value())))
        return value.plain_value()


@lru_cache(EXPRESSIONS_MAX)
def parsed(text: str) -> Parsed:
    """What an expression says, whatever its names mean. Raises CompileError."""
    try:
        return syntax.read(_parser().compile(text, disable_check=True).serialize(), text)
    except RuntimeError as error:
        raise CompileError(_told(str(error))) from None


@lru_cache(1)
def _parser() -> Any:
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_optional

    return cel.NewEnv(None, extensions=[ext_optional.ExtOptional()])


@lru_cache(EXPRESSIONS_MAX)
def program(expression: str, variables: tuple[tuple[str, str], ...]) -> Program:
    """Compile an expression over variables of (name, kind). Raises CompileError."""
    try:
        return Program(_environment(variables).compile(expression))
    except RuntimeError as error:
        raise CompileError(_told(str(error))) from None


@lru_cache(64)
def _environment(variables: tuple[tuple[str, str], ...]) -> Any:
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_bindings, ext_math, ext_optional, ext_strings

    from oarlock.cluster.objects.cel import library

    extensions = [ext_math.ExtMath(), ext_optional.ExtOptional(), ext_strings.ExtStrings(), ext_bindings.ExtBindings()]
    return cel.NewEnv(
        None,
        variables={name: getattr(cel.Type, kind.upper()) for name, kind in variables},
        extensions=extensions,
        functions=[_declared(cel, one) for one in library.functions()],
    )


def _declared(cel: Any, functions: Any) -> Any:
    """Declare all overloads of one function name."""
    name, overloads = functions
    return cel.FunctionDecl(
        name,
        [
            cel.Overload(
                f"{name}_{'_'.join(one.takes)}",
                return_type=_type(cel, one.gives),
                parameters=[_type(cel, kind) for kind in one.takes],
                is_member=one.is_member,
                impl=one.call,
            )
            for one in overloads
        ],
    )


def _type(cel: Any, kind: str) -> Any:
    if kind == "list":
        return cel.Type.List(cel.Type.DYN)
    return getattr(cel.Type, kind.upper())


def _told(text: str) -> str:
    found = _STATUS.match(text)
    told = found[1] if found else text
    for pattern, instead in _ERRORS:
        if pattern.match(told):
            return pattern.sub(instead, told)
    return told
