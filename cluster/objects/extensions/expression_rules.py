"""Judge the CEL rules of a structural schema: their types, what they may cost at worst, where `oldSelf` can't be known.

Source: apiextensions `ValidateCustomResourceDefinitionOpenAPISchema` and `cel_validation.go`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from oarlock.cluster.objects.causes import forbidden, invalid
from oarlock.cluster.objects.cel import compiling
from oarlock.cluster.objects.cel.compiling import Compiled
from oarlock.cluster.objects.cel.costs import UNBOUNDED
from oarlock.cluster.objects.cel.declared import Declared, declared
from oarlock.cluster.objects.extensions import go_form
from oarlock.cluster.objects.extensions.structural import Json, Structural
from oarlock.cluster.objects.status import Cause

EXPRESSION_COST_MAX: Final = 10_000_000
DEFINITION_COST_MAX: Final = 100_000_000
_NAMED_MAX: Final = 4
_HINT: Final = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)
_CONTRIBUTED: Final = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
_TOTAL: Final = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
_RULES: Final = "x-kubernetes-validations"


@dataclass(slots=True)
class Total:
    """What all expressions of a schema cost, and the most expensive of them."""

    cost: int = 0
    dearest: list[tuple[int, str]] = field(default_factory=list)

    def add(self, path: str, cost: int) -> None:
        self.cost = min(self.cost + cost, UNBOUNDED)
        if cost >= DEFINITION_COST_MAX // 100:
            ordered = sorted([*self.dearest, (cost, path)], key=lambda one: -one[0])
            self.dearest = ordered[:_NAMED_MAX]

    def causes(self, path: str) -> Iterator[Cause]:
        """What there is to say about the schema at `path`."""
        if self.cost > DEFINITION_COST_MAX:
            for _, place in self.dearest:
                yield forbidden(place, _CONTRIBUTED)
            yield forbidden(path, _exceeding(_TOTAL, self.cost, DEFINITION_COST_MAX))


@dataclass(frozen=True, slots=True)
class _Place:
    """How often a place may occur in an object (None: without bound), and above which `oldSelf` loses its partner."""

    times_max: int | None = 1
    unpaired: str = ""
    root: bool = False


def expressions(
    document: Json, schema: Structural, path: str, found: Sequence[Cause], *, each_limited: bool = True
) -> Iterator[Cause]:
    """What is wrong with the rules of a structural schema.

    `found` is what is wrong with the schema otherwise: rules there and above are passed over. `each_limited` tells
    whether a single expression's cost counts, or only that of all of them.
    """
    walk = _Walk(tuple(cause.field for cause in found), each_limited=each_limited)
    yield from walk.node(document, schema, path, _Place(root=True))
    yield from walk.total.causes(path)


class _Walk:
    def __init__(self, faulty: tuple[str, ...], *, each_limited: bool) -> None:
        self.total = Total()
        self._faulty = faulty
        self._each_limited = each_limited

    def node(self, document: Json, schema: Structural, path: str, place: _Place) -> Iterator[Cause]:
        """What is below a place comes before what is at it."""
        below = replace(place, root=False, times_max=_product(place.times_max, _times(schema)))
        if schema.map_type == "atomic" and not place.unpaired:
            below = replace(below, unpaired=path)
        if isinstance(schema.additional, Structural):
            inner = f"{path}.additionalProperties"
            yield from self.node(document["additionalProperties"], schema.additional, inner, below)
        for name, one in schema.properties.items():
            yield from self.node(document["properties"][name], one, f"{path}.properties[{name}]", below)
        if schema.items is not None:
            if schema.list_type != "map" and not place.unpaired:
                below = replace(below, unpaired=path)
            yield from self.node(document["items"], schema.items, f"{path}.items", below)
        if schema.rules and not any(self._is_within(one, path) for one in self._faulty):
            yield from self._rules(document, schema, path, place)

    def _is_within(self, fault: str, path: str) -> bool:
        return fault.startswith(path) and fault[len(path) : len(path) + 1] in ("", ".", "[")

    def _rules(self, document: Json, schema: Structural, path: str, place: _Place) -> Iterator[Cause]:
        root = declared(schema, root=place.root or schema.embedded)
        if root is None:
            why = "failed to construct type information for x-kubernetes-validations rules"
            detail = f"{why}: unable to convert structural schema to CEL declarations"
            yield Cause("InternalError", f"Internal error: internal error: {detail}", f"{path}.{_RULES}")
            return
        for index, one in enumerate(document[_RULES]):
            if one.get("rule", "").strip():
                yield from self._rule(one, root, f"{path}.{_RULES}[{index}]", place)

    def _rule(self, one: Json, root: Declared, path: str, place: _Place) -> Iterator[Cause]:
        is_optional = bool(one.get("optionalOldSelf"))
        rule = compiling.compiled(one["rule"], root, wanted="bool", optional_old=is_optional)
        yield from self._cost(rule, f"{path}.rule", "estimated rule cost", place)
        if rule.error:
            yield go_form.invalid(f"{path}.rule", go_form.rule(one), rule.error)
        elif one.get("messageExpression", "").strip():
            message = compiling.compiled(one["messageExpression"], root, wanted="string", optional_old=is_optional)
            place_of_it = f"{path}.messageExpression"
            if message.error:
                yield go_form.invalid(place_of_it, go_form.rule(one), message.error)
            else:
                yield from self._cost(message, place_of_it, "estimated messageExpression cost", _Place())
        if rule.uses_old and place.unpaired:
            why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.unpaired}"
            yield invalid(f"{path}.rule", one["rule"], why)
        elif not rule.uses_old and one.get("optionalOldSelf") is not None:
            why = "may not be set if oldSelf is not used in rule"
            yield invalid(f"{path}.optionalOldSelf", one["optionalOldSelf"], why)

    def _cost(self, one: Compiled, path: str, named: str, place: _Place) -> Iterator[Cause]:
        times = place.times_max if place.times_max is not None else one.times_max
        cost = min(one.cost_max * times, UNBOUNDED)
        if self._each_limited and cost > EXPRESSION_COST_MAX:
            yield forbidden(path, _exceeding(named, cost, EXPRESSION_COST_MAX))
        self.total.add(path, cost)


def _exceeding(named: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{named} exceeds budget by factor of {shown} {_HINT}"


def _times(schema: Structural) -> int | None:
    """How often what is inside a place may occur in it."""
    if schema.type == "array":
        return schema.limits.items_max
    if schema.type == "object" and schema.additional is not None:
        return schema.limits.properties_max
    return 1


def _product(one: int | None, two: int | None) -> int | None:
    return None if one is None or two is None else min(one * max(two, 0), UNBOUNDED)
