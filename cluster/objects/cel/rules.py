"""The rules in a schema, compiled once, and what they say of an object.

Source: apiextensions `pkg/apiserver/schema/cel/{compilation,validation}.go`; KEP-2876, KEP-4008 (ratcheting).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, required
from oarlock.cluster.objects.cel import values
from oarlock.cluster.objects.cel.engine import CompileError, EvaluationError, Program, program
from oarlock.cluster.objects.extensions.structural import ABSENT, Json, Structural
from oarlock.cluster.objects.status import Cause

_OLD: Final = re.compile(r"\boldSelf\b")
_MESSAGE_BYTES_MAX: Final = 5 * 1024
_OPTIONAL: Final = "cel.bind(oldSelf, hasOldSelf ? optional.of(givenOldSelf) : optional.none(), {})"


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule; `message` is its messageExpression."""

    source: Json
    check: Program
    message: Program | None
    uses_old: bool
    old_is_optional: bool


@dataclass(frozen=True, slots=True)
class Node:
    """The rules at one place of a schema, and the places below that have any."""

    schema: Structural
    rules: tuple[Rule, ...]
    properties: Mapping[str, Node]
    items: Node | None
    additional: Node | None


def compiled(schema: Structural) -> Node | None:
    """The tree of a schema's rules; None where there are none. Raises CompileError."""
    below = {name: node for name, one in schema.properties.items() if (node := compiled(one)) is not None}
    items = compiled(schema.items) if schema.items is not None else None
    additional = compiled(schema.additional) if isinstance(schema.additional, Structural) else None
    written = [*schema.rules, *(rule for one in schema.limits.all_of for rule in one.rules)]
    rules = tuple(rule(one, schema) for one in written)
    if not (rules or below or items or additional):
        return None
    return Node(schema, rules, below, items, additional)


def rule(source: Json, schema: Structural) -> Rule:
    """Compile one rule that stands at a place of a schema. Raises CompileError."""
    text, told = source["rule"], source.get("messageExpression", "")
    optional = bool(source.get("optionalOldSelf"))
    check = _program(text, schema, optional=optional)
    if check.kind not in ("bool", "dyn"):
        raise CompileError("cel expression must evaluate to a bool")
    message = _program(told, schema, optional=optional) if told else None
    if message is not None and message.kind not in ("string", "dyn"):
        raise CompileError("messageExpression must evaluate to a string")
    return Rule(source, check, message, bool(_OLD.search(text)), optional)


def _program(text: str, schema: Structural, *, optional: bool) -> Program:
    kind = values.kind(schema)
    if optional and _OLD.search(text):
        variables = (("self", kind), ("givenOldSelf", kind), ("hasOldSelf", "bool"))
        return program(_OPTIONAL.format(text), variables)
    return program(text, (("self", kind), ("oldSelf", kind)))


def causes(node: Node | None, obj: Any, old: Any = None, path: str = "", *, root: bool = True) -> Iterator[Cause]:
    """What the rules say of `obj`, which replaces `old` (None: is new).

    Places that have not changed are judged by transitions only.
    """
    if node is None or obj is None:
        return
    for one in node.rules:
        yield from _judged(node.schema, one, obj, old, path, root=root)
    if isinstance(obj, Mapping):
        yield from _of_map(node, obj, old if isinstance(old, Mapping) else {}, path)
    elif isinstance(obj, list) and node.items is not None:
        partners = _partners(node.schema, old) if isinstance(old, list) else {}
        for index, one in enumerate(obj):
            partner = partners.get(_identity(node.schema, one))
            yield from causes(node.items, one, partner, f"{path}[{index}]", root=False)


def _of_map(node: Node, obj: Mapping[str, Any], old: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for name, one in obj.items():
        below = node.properties.get(name)
        if below is not None:
            yield from causes(below, one, old.get(name), f"{path}.{name}" if path else name, root=False)
        elif node.additional is not None and name not in node.schema.properties:
            yield from causes(node.additional, one, old.get(name), f"{path}[{name}]", root=False)


def _partners(schema: Structural, old: Sequence[Any]) -> dict[Any, Any]:
    """The old items that new ones can be compared with: only those of a list with keys."""
    return {_identity(schema, one): one for one in old} if schema.list_type == "map" else {}


def _identity(schema: Structural, item: Any) -> Any:
    if not isinstance(item, Mapping) or schema.items is None:
        return None
    defaults = {key: one.default for key, one in schema.items.properties.items() if one.default is not ABSENT}
    return tuple(str(item.get(key, defaults.get(key))) for key in schema.list_keys)


def _judged(schema: Structural, one: Rule, obj: Any, old: Any, path: str, *, root: bool) -> Iterator[Cause]:
    if one.uses_old and old is None and not one.old_is_optional:
        return  # a transition needs something to come from
    if not one.uses_old and old is not None and old == obj:
        return
    variables = _variables(schema, one, obj, old, root=root)
    try:
        if one.check.evaluate(variables) is True:
            return
    except EvaluationError as error:
        yield invalid(path, schema.type, _failure(str(error), one.source))
        return
    place = f"{path}{one.source.get('fieldPath', '')}"
    yield _cause(place.removeprefix("."), schema.type, _message(one, variables), one.source.get("reason", ""))


def _variables(schema: Structural, one: Rule, obj: Any, old: Any, *, root: bool) -> dict[str, Any]:
    found = {"self": values.of(schema, obj, root=root)}
    if one.uses_old:
        before = values.of(schema, old, root=root)
        found |= {"givenOldSelf": before, "hasOldSelf": old is not None} if one.old_is_optional else {"oldSelf": before}
    return found


def _failure(why: str, source: Json) -> str:
    if why.startswith("no such overload"):
        told = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'{why}': {told}: {_shown(source)}"
    if why.startswith("operation cancelled"):
        told = "no further validation rules will be run due to call cost exceeds limit for rule"
        return f"'{why}': {told}: {_shown(source)}"
    return f"{why} evaluating rule: {_shown(source)}"


def _message(one: Rule, variables: Mapping[str, Any]) -> str:
    if one.message is not None:
        try:
            told = str(one.message.evaluate(variables)).strip()
        except EvaluationError:
            told = ""
        if told and "\n" not in told and len(told.encode()) <= _MESSAGE_BYTES_MAX:
            return told
    written = one.source.get("message", "").strip()
    return written or f"failed rule: {_shown(one.source)}"


def _shown(source: Json) -> str:
    return str(source.get("message", "").strip() or source["rule"].strip())


def _cause(path: str, value: str, detail: str, reason: str) -> Cause:
    if reason == "FieldValueForbidden":
        return forbidden(path, detail)
    if reason == "FieldValueRequired":
        return required(path, detail)
    if reason == "FieldValueDuplicate":
        return duplicate(path, value)
    return invalid(path, value, detail)
