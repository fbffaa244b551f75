"""The rules in a schema, compiled once, and what they say of an object.

Source: apiextensions `pkg/apiserver/schema/cel/{compilation,validation}.go`; KEP-2876, KEP-4008 (ratcheting).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, required
from oarlock.cluster.objects.cel import compiling, values
from oarlock.cluster.objects.cel.compiling import OLD_SELF, SELF, Compiled
from oarlock.cluster.objects.cel.declared import declared
from oarlock.cluster.objects.cel.evaluation import CostExceeded, EvaluationError, Meter
from oarlock.cluster.objects.cel.values import Optional
from oarlock.cluster.objects.extensions.structural import ABSENT, Json, Structural
from oarlock.cluster.objects.status import Cause

EXPRESSION_COST_MAX: Final = 1_000_000
"""What one evaluation may cost."""
OBJECT_COST_MAX: Final = 10_000_000
"""What all evaluations for one object may cost."""
OBJECT_CPU_MAX_S: Final = 1.0
"""Processor time for all evaluations for one object; upstream takes about as long for OBJECT_COST_MAX."""
_MESSAGE_BYTES_MAX: Final = 5 * 1024
_EXHAUSTED: Final = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule; `message` is its messageExpression."""

    source: Json
    check: Compiled
    message: Compiled | None
    old_is_optional: bool


@dataclass(frozen=True, slots=True)
class Node:
    """The rules at one place of a schema, and the places below that have any."""

    schema: Structural
    rules: tuple[Rule, ...]
    properties: Mapping[str, Node]
    items: Node | None
    additional: Node | None
    root: bool


def compiled(schema: Structural, *, root: bool = True) -> Node | None:
    """The tree of a schema's rules; None where there are none."""
    properties = schema.properties.items()
    below = {name: node for name, one in properties if (node := compiled(one, root=False)) is not None}
    items = compiled(schema.items, root=False) if schema.items is not None else None
    additional = compiled(schema.additional, root=False) if isinstance(schema.additional, Structural) else None
    written = [*schema.rules, *(rule for one in schema.limits.all_of for rule in one.rules)]
    rules = tuple(rule(one, schema, root=root) for one in written if one.get("rule", "").strip())
    if not (rules or below or items or additional):
        return None
    return Node(schema, rules, below, items, additional, root or schema.embedded)


def rule(source: Json, schema: Structural, *, root: bool = False) -> Rule:
    """Compile one rule that stands at a place of a schema; what is wrong with it is told when it is asked."""
    place = declared(schema, root=root or schema.embedded)
    told, optional = source.get("messageExpression", ""), bool(source.get("optionalOldSelf"))
    if place is None:
        return Rule(source, Compiled("rule declared on a schema that nothing is known of"), None, optional)
    check = compiling.compiled(source["rule"], place, wanted="bool", optional_old=optional)
    message = compiling.compiled(told, place, wanted="string", optional_old=optional) if told.strip() else None
    return Rule(source, check, message, optional)


class Exhausted(Exception):
    """No further rules are to be asked about an object; the causes are what is left to say."""

    def __init__(self, *causes: Cause) -> None:
        super().__init__()
        self.causes = causes


@dataclass(slots=True)
class Budget:
    """What is left for one object. `clock` is in seconds; it is this thread's processor time."""

    clock: Callable[[], float] = time.thread_time
    cost: int = OBJECT_COST_MAX
    ends: float = field(init=False)

    def __post_init__(self) -> None:
        self.ends = self.clock() + OBJECT_CPU_MAX_S

    def expired(self) -> bool:
        """Whether time is up."""
        return self.clock() > self.ends

    def meter(self) -> Meter:
        """A meter for one evaluation."""
        return Meter(EXPRESSION_COST_MAX, expired=self.expired)

    def pay(self, spent: int) -> bool:
        """Take what an evaluation has cost; False if there isn't so much."""
        if spent > self.cost or self.expired():
            return False
        self.cost -= spent
        return True


def causes(node: Node | None, obj: Any, old: Any = None, budget: Budget | None = None) -> Iterator[Cause]:
    """What the rules say of `obj`, which replaces `old` (None: is new).

    Places that have not changed are judged by transitions only.
    """
    if node is None:
        return
    try:
        yield from _causes(node, obj, old, "", budget or Budget())
    except Exhausted as exhausted:
        yield from exhausted.causes


def _causes(node: Node, obj: Any, old: Any, path: str, budget: Budget) -> Iterator[Cause]:
    if obj is None:
        return
    if node.rules:
        yield from _at(node, obj, old, path, budget)
    if isinstance(obj, Mapping):
        paired = isinstance(old, Mapping) and node.schema.map_type != "atomic"
        yield from _of_map(node, obj, old if paired else {}, path, budget)
    elif isinstance(obj, list) and node.items is not None:
        partners = _partners(node.schema, old) if isinstance(old, list) else {}
        for index, one in enumerate(obj):
            partner = partners.get(_identity(node.schema, one))
            yield from _causes(node.items, one, partner, f"{path}[{index}]", budget)


def _of_map(node: Node, obj: Json, old: Json, path: str, budget: Budget) -> Iterator[Cause]:
    for name, one in obj.items():
        below = node.properties.get(name)
        if below is not None:
            yield from _causes(below, one, old.get(name), f"{path}.{name}" if path else name, budget)
        elif node.additional is not None and name not in node.schema.properties:
            yield from _causes(node.additional, one, old.get(name), f"{path}[{name}]", budget)


def _partners(schema: Structural, old: Sequence[Any]) -> dict[Any, Any]:
    """The old items that new ones can be compared with: only those of a list with keys."""
    return {_identity(schema, one): one for one in old} if schema.list_type == "map" else {}


def _identity(schema: Structural, item: Any) -> Any:
    if not isinstance(item, Mapping) or schema.items is None:
        return None
    defaults = {key: one.default for key, one in schema.items.properties.items() if one.default is not ABSENT}
    return tuple(str(item.get(key, defaults.get(key))) for key in schema.list_keys)


def _at(node: Node, obj: Any, old: Any, path: str, budget: Budget) -> Iterator[Cause]:
    """What the rules at one place say. The values are made once for all of them."""
    if budget.cost <= 0 or budget.expired():
        raise Exhausted(invalid(path, node.schema.type, _EXHAUSTED))
    unchanged = old is not None and old == obj
    due = [one for one in node.rules if _is_due(one, unchanged=unchanged, has_old=old is not None)]
    if not due:
        return
    self_ = values.of(node.schema, obj, root=node.root)
    before = None
    if old is not None and any(one.check.uses_old for one in due):
        before = values.of(node.schema, old, root=node.root)
    for one in due:
        names = {SELF: self_}
        if one.old_is_optional:
            names[OLD_SELF] = Optional(before, is_there=old is not None)
        elif old is not None:
            names[OLD_SELF] = before
        yield from _judged(node.schema, one, names, path, budget)


def _is_due(one: Rule, *, unchanged: bool, has_old: bool) -> bool:
    if one.check.uses_old:
        return has_old or one.old_is_optional  # a transition needs something to come from
    return not unchanged


def _judged(schema: Structural, one: Rule, names: dict[str, Any], path: str, budget: Budget) -> Iterator[Cause]:
    if one.check.run is None:
        yield invalid(path, schema.type, f"rule compile error: {one.check.error}")
        return
    meter = budget.meter()
    holds, failure = False, ""
    try:
        holds = one.check.run(names, meter) is True
    except EvaluationError as error:
        failure = _failure(str(error), one.source)
    except CostExceeded:
        if not budget.expired():
            raise Exhausted(invalid(path, schema.type, _cut_off(one.source))) from None
    if not budget.pay(meter.spent):
        raise Exhausted(invalid(path, schema.type, _EXHAUSTED))
    if failure:
        yield invalid(path, schema.type, failure)
    elif not holds:
        place = f"{path}{one.source.get('fieldPath', '')}".removeprefix(".")
        message = _message(schema, one, names, place, budget)
        yield _cause(place, schema.type, message, one.source.get("reason", ""))


def _failure(why: str, source: Json) -> str:
    if why.startswith("no such overload"):
        told = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'{why}': {told}: {_shown(source)}"
    return f"{why} evaluating rule: {_shown(source)}"


def _cut_off(source: Json) -> str:
    why = "operation cancelled: actual cost limit exceeded"
    return f"'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {_shown(source)}"


def _message(schema: Structural, one: Rule, names: dict[str, Any], path: str, budget: Budget) -> str:
    told = _evaluated_message(schema, one, names, path, budget)
    if told and "\n" not in told and len(told.encode()) <= _MESSAGE_BYTES_MAX:
        return told
    written: str = one.source.get("message", "")
    return written.strip() if written else f"failed rule: {_shown(one.source)}"


def _evaluated_message(schema: Structural, one: Rule, names: dict[str, Any], path: str, budget: Budget) -> str:
    """What a messageExpression gives; empty if it can't be used."""
    if one.message is None or one.message.run is None:
        return ""
    meter = budget.meter()
    told = ""
    try:
        told = str(one.message.run(names, meter)).strip()
    except EvaluationError:
        pass
    except CostExceeded:
        if not budget.expired():
            why = "no further validation rules will be run due to call cost exceeds limit for messageExpression"
            shown = json.dumps(one.source["messageExpression"], ensure_ascii=False)
            raise Exhausted(invalid(path, schema.type, f"{why}: {shown}")) from None
    if not budget.pay(meter.spent):
        why = "messageExpression evaluation failed due to running out of cost budget"
        raise Exhausted(invalid(path, schema.type, f"{why}, no further validation rules will be run"))
    return told


def _shown(source: Json) -> str:
    written: str = source.get("message", "") or source["rule"]
    return written.strip()


def _cause(path: str, value: str, detail: str, reason: str) -> Cause:
    if reason == "FieldValueForbidden":
        return forbidden(path, detail)
    if reason == "FieldValueRequired":
        return required(path, detail)
    if reason == "FieldValueDuplicate":
        return duplicate(path, value)
    return invalid(path, value, detail)
