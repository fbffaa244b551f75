"""Parse expressions, and call the functions that only the library has. It is loaded at the first one.

Source: apiserver `pkg/cel/environment` (which libraries there are). Why this library: decision 0020; why it evaluates
no whole expressions: decision 0024.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from oarlock.cluster.objects.cel import macros, syntax
from oarlock.cluster.objects.cel.syntax import Parsed

EXPRESSIONS_MAX: Final = 256
"""Parsed expressions kept, over all definitions."""
_STATUS: Final = re.compile(r"^[A-Z_]+: (.*?)(?: \[[A-Z_]+\])?$", re.DOTALL)


class CompileError(Exception):
    """An expression can't be compiled; the message shows where, as upstream's does."""


@lru_cache(EXPRESSIONS_MAX)
def parsed(text: str, *, binds: bool = False) -> Parsed:
    """What an expression says, whatever its names mean; `binds` lets it use `cel.bind`. Raises CompileError."""
    try:
        serialized = _environment(binds=binds).compile(text, disable_check=True).serialize()
    except RuntimeError as error:
        raise CompileError(_told(str(error))) from None
    return macros.unfolded(syntax.read(serialized, text))


@lru_cache(64)
def function(name: str, count: int, *, is_member: bool) -> Callable[..., Any]:
    """A function of so many arguments, the first of which a member is called on. It raises ValueError."""
    names = [f"a{index}" for index in range(count)]
    call = f"a0.{name}({', '.join(names[1:])})" if is_member else f"{name}({', '.join(names)})"
    expression = _environment().compile(call)

    def run(*args: Any) -> Any:
        try:
            value = expression.eval(data=dict(zip(names, args, strict=True)))
        except RuntimeError as error:
            raise ValueError(_told(str(error))) from None
        if value.type().name() == "ERROR":
            raise ValueError(_told(str(value.value())))
        return value.plain_value()

    return run


@lru_cache(2)
def _environment(*, binds: bool = False) -> Any:
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings

    extensions = [ext_optional.ExtOptional(), ext_strings.ExtStrings()]
    if binds:
        extensions.append(ext_bindings.ExtBindings())
    return cel.NewEnv(None, variables={f"a{index}": cel.Type.DYN for index in range(4)}, extensions=extensions)


def _told(text: str) -> str:
    found = _STATUS.match(text)
    return found[1] if found else text
