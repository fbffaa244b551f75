"""Expressions over `self` and `oldSelf`, checked against what a schema declares.

Source: apiextensions `pkg/apiserver/schema/cel/compilation.go`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from oarlock.cluster.objects.cel import checking, costs, engine, evaluation
from oarlock.cluster.objects.cel.declared import REQUEST_BYTES_MAX, Declared, objects
from oarlock.cluster.objects.cel.evaluation import Run
from oarlock.cluster.objects.cel.syntax import Ident, Parsed, walk
from oarlock.cluster.objects.cel.types import optional

SELF: Final = "self"
OLD_SELF: Final = "oldSelf"
_WANTED: Final = {
    "bool": "cel expression must evaluate to a bool",
    "string": "messageExpression must evaluate to a string",
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """What is known of an expression: what is wrong with it, what it may cost, whether it looks at `oldSelf`.

    `run` evaluates it; it is None if there is something wrong. `times_max` tells how often it may be evaluated for one
    object if nothing else bounds that.
    """

    error: str = ""
    cost_max: int = 0
    times_max: int = 1
    uses_old: bool = False
    run: Run | None = None


def compiled(text: str, root: Declared, *, wanted: str, optional_old: bool = False) -> Compiled:
    """Check an expression that stands at a place declared as `root`; it must give a bool or a string."""
    named = "messageExpression compilation failed" if wanted == "string" else "compilation failed"
    try:
        parsed = engine.parsed(text)
    except engine.CompileError as error:
        return Compiled(error=f"{named}: {error}")
    old = optional(root.type) if optional_old else root.type
    checked = checking.check(parsed, {SELF: root.type, OLD_SELF: old}, objects(root))
    complaint = checked.complaint()
    if complaint:
        return Compiled(error=f"{named}: {complaint}")
    if checked.type.kind != wanted:
        return Compiled(error=_WANTED[wanted])
    cost_max = costs.cost_max(checked, root)
    return Compiled("", cost_max, times_max(root), uses_old(parsed), evaluation.compiled(checked))


def uses_old(parsed: Parsed) -> bool:
    """Whether an expression asks for the value before a change."""
    return any(isinstance(one, Ident) and one.name == OLD_SELF for one in walk(parsed.root))


def times_max(root: Declared) -> int:
    """How many values of a place fit into one request, beside their commas."""
    return REQUEST_BYTES_MAX // (root.bytes_min + 1)
