"""Judge a value by a compiled schema: its type, its limits, what it must hold.

Source: kube-openapi `pkg/validation/{validate,errors}` and apiextensions `pkg/apiserver/validation/validation.go`. CEL
rules aren't looked at here, nor is what pruning takes away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oarlock.cluster.objects.causes import invalid, not_supported, required, shown, too_long, too_many
from oarlock.cluster.objects.extensions import patterns
from oarlock.cluster.objects.extensions.formats import FORMATS
from oarlock.cluster.objects.extensions.structural import Limits, Structural
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.status import Cause


@dataclass(slots=True)
class Outcome:
    """What was found wrong, and how many checks a value met: of several alternatives the nearest is told."""

    wrong: list[Problem] = field(default_factory=list)
    met: int = 0

    def add(self, other: Outcome) -> None:
        """Take over another outcome."""
        self.wrong += other.wrong
        self.met += other.met


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong at `place` (a path below the value, empty for the value itself)."""

    place: str
    make: Callable[[str], Cause]


def causes(schema: Structural, value: Any, path: str) -> list[Cause]:
    """What is wrong with a value that stands at `path`."""
    return [
        one.make(f"{path}.{one.place.removeprefix('.')}" if one.place else path)
        for one in _judge(schema, value, "").wrong
    ]


def _judge(schema: Structural, value: Any, place: str) -> Outcome:
    outcome = Outcome()
    if value is None:
        for problem in (*_type(schema, value, place), *_choice(schema.limits, value, place)):
            outcome.wrong.append(problem)
        return outcome
    limits = schema.limits
    parts: list[Outcome] = []
    if schema.type or schema.int_or_string or limits.format:
        parts.append(_checked(_type(schema, value, place), 1))
    parts.append(_logic(limits, value, place))
    if isinstance(value, str):
        parts.append(_checked(_text(limits, value, place)))
        if limits.format in FORMATS:
            parts.append(_checked(_format(limits.format, value, place)))
    elif _is_number(value):
        parts.append(_checked(_number(limits, value, place)))
    elif isinstance(value, list):
        parts.append(_list(schema, value, place))
    parts.append(_checked(_choice(limits, value, place)))
    if isinstance(value, dict):
        parts.append(_object(schema, value, place))
    for part in parts:
        outcome.add(part)
    outcome.met += len(parts) + 1
    return outcome


def _checked(problems: Iterator[Problem], met: int = 0) -> Outcome:
    wrong = list(problems)
    return Outcome(wrong, 0 if wrong else met)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds: Mapping[type, str] = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return kinds.get(type(value), "null")


def _type(schema: Structural, value: Any, place: str) -> Iterator[Problem]:
    wanted = ("integer", "string") if schema.int_or_string and not schema.type else (schema.type,)
    if wanted == ("",):
        return
    if value is None:
        if not schema.nullable:
            yield _wrong_type(place, ",".join(wanted), "null")
        return
    found = _json_type(value)
    numeric = {"number", "integer"} & set(wanted)
    if not numeric and schema.limits.format and found in {"string", "array"}:
        return  # upstream leaves these to the format's own check
    whole = found == "number" and value == int(value) and "integer" in wanted
    if found in wanted or whole or (found == "integer" and "number" in wanted):
        return
    if schema.limits.format in FORMATS and found not in {"string", "array"}:
        yield _wrong_type(place, schema.limits.format, _NUMBER_FORMATS.get(found, ""))
    else:
        yield _wrong_type(place, ",".join(wanted), found)


_NUMBER_FORMATS: Mapping[str, str] = {"integer": "int64", "number": "float64"}
"""What a number's own format is called, where a value of some format was wanted."""


def _wrong_type(place: str, wanted: str, found: str) -> Problem:
    why = f"{place} in body must be of type {wanted}: {quote(found)}"
    return Problem(place, lambda at: Cause("FieldValueTypeInvalid", f"Invalid value: {shown(found)}: {why}", at))


def _broken(place: str, value: Any, rule: str) -> Problem:
    """An ordinary breach; upstream's words begin with the place below the value, if any."""
    return Problem(place, lambda at: invalid(at, "" if value is None else value, f"{place} in body {rule}"))


def _format(name: str, value: str, place: str) -> Iterator[Problem]:
    if not FORMATS[name](value):
        why = f"{place} in body must be of type {name}: {quote(value)}"
        yield Problem(place, lambda at: Cause("FieldValueTypeInvalid", f"Invalid value: {shown(value)}: {why}", at))


def _text(limits: Limits, value: str, place: str) -> Iterator[Problem]:
    if limits.length_max is not None and len(value) > limits.length_max:
        bound = limits.length_max
        yield Problem(place, lambda at: too_long(at, bound))
    elif limits.length_min is not None and len(value) < limits.length_min:
        yield _broken(place, value, f"should be at least {limits.length_min} chars long")
    elif limits.pattern and not patterns.search(limits.pattern, value):
        yield _broken(place, value, f"should match '{limits.pattern}'")


def _number(limits: Limits, value: float, place: str) -> Iterator[Problem]:
    if limits.multiple_of:
        ratio = value / limits.multiple_of
        if not math.isclose(ratio, round(ratio), rel_tol=0, abs_tol=1e-9):
            yield _broken(place, value, f"should be a multiple of {_bound(limits.multiple_of, value)}")
    if limits.maximum is not None:
        high = _bound(limits.maximum, value)
        if limits.exclusive_maximum and value >= limits.maximum:
            yield _broken(place, value, f"should be less than {high}")
        elif value > limits.maximum:
            yield _broken(place, value, f"should be less than or equal to {high}")
    if limits.minimum is not None:
        low = _bound(limits.minimum, value)
        if limits.exclusive_minimum and value <= limits.minimum:
            yield _broken(place, value, f"should be greater than {low}")
        elif value < limits.minimum:
            yield _broken(place, value, f"should be greater than or equal to {low}")


def _bound(bound: float, value: float) -> str:
    """A bound as Go's %v prints it: as an integer beside one, else as a float."""
    if isinstance(value, int):
        return str(int(bound))
    exponent = math.floor(math.log10(abs(bound))) if bound else 0
    text = repr(float(bound)).removesuffix(".0")
    if -5 < exponent < 21 and "e" not in text:
        return text
    mantissa, _, power = f"{float(bound):e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{power}"


def _choice(limits: Limits, value: Any, place: str) -> Iterator[Problem]:
    if not limits.enum or any(_same(value, one) for one in limits.enum):
        return
    listed = [one if isinstance(one, str) else shown(one) for one in limits.enum]
    yield Problem(place, lambda at: not_supported(at, value, listed))


def _same(value: Any, other: Any) -> bool:
    return value is not None and isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _list(schema: Structural, value: Sequence[Any], place: str) -> Outcome:
    outcome, limits = Outcome(), schema.limits
    if schema.items is not None:
        for index, one in enumerate(value):
            outcome.add(_judge(schema.items, one, f"{place}[{index}]"))
    if limits.items_min is not None and len(value) < limits.items_min:
        outcome.wrong.append(_broken(place, len(value), f"should have at least {limits.items_min} items"))
    if limits.items_max is not None and len(value) > limits.items_max:
        count_max = limits.items_max
        outcome.wrong.append(Problem(place, lambda at: too_many(at, len(value), count_max)))
    if limits.unique_items and any(one in value[:index] for index, one in enumerate(value)):
        outcome.wrong.append(_broken(place, None, "shouldn't contain duplicates"))
    outcome.met += 1
    return outcome


def _object(schema: Structural, value: Mapping[str, Any], place: str) -> Outcome:
    limits = schema.limits
    if limits.properties_min is not None and len(value) < limits.properties_min:
        rule = f"should have at least {limits.properties_min} properties"
        return Outcome([_broken(place, len(value), rule)])
    if limits.properties_max is not None and len(value) > limits.properties_max:
        count_max = limits.properties_max
        return Outcome([Problem(place, lambda at: too_many(at, len(value), count_max))])
    outcome = Outcome()
    for name in sorted(set(value) - set(schema.properties)):
        if schema.additional is False:
            why = f"{place}.{name} in body is a forbidden property"
            outcome.wrong.append(Problem(place, lambda at, name=name, why=why: invalid(at, name, why)))  # type: ignore[misc]
        elif isinstance(schema.additional, Structural):
            outcome.add(_judge(schema.additional, value[name], f"{place}.{name}"))
    for name in sorted(set(value) & set(schema.properties)):
        outcome.add(_judge(schema.properties[name], value[name], f"{place}.{name}" if place else name))
    for name in limits.required:
        if name not in value:
            outcome.wrong.append(Problem(f"{place}.{name}", required))
    return outcome


def _logic(limits: Limits, value: Any, place: str) -> Outcome:
    outcome = Outcome(met=1)
    if limits.any_of:
        best = _nearest([_judge(one, value, place) for one in limits.any_of])
        if best.wrong:
            outcome.wrong.append(_unmet(place, "must validate at least one schema (anyOf)"))
        outcome.add(best)
    if limits.one_of:
        tried = [_judge(one, value, place) for one in limits.one_of]
        good = [one for one in tried if not one.wrong]
        if len(good) == 1:
            outcome.add(good[0])
        else:
            found = f"Found {len(good)} valid alternatives" if good else "Found none valid"
            outcome.wrong.append(_unmet(place, f"must validate one and only one schema (oneOf). {found}"))
            if not good:
                outcome.add(_nearest(tried))
    if limits.all_of:
        tried = [_judge(one, value, place) for one in limits.all_of]
        for one in tried:
            outcome.add(one)
        if any(one.wrong for one in tried):
            none = "" if any(not one.wrong for one in tried) else ". None validated"
            outcome.wrong.append(_unmet(place, f"must validate all the schemas (allOf){none}"))
    if limits.none_of is not None and not _judge(limits.none_of, value, place).wrong:
        outcome.wrong.append(_unmet(place, "must not validate the schema (not)"))
    return outcome


def _nearest(tried: Sequence[Outcome]) -> Outcome:
    good = next((one for one in tried if not one.wrong), None)
    return good if good is not None else max(tried, key=lambda one: one.met)


def _unmet(place: str, rule: str) -> Problem:
    """Upstream tells these with quotes around the place."""
    return Problem("", lambda at: invalid(at, "", f'"{place}" {rule}'))
