"""Label and field selectors as values that match: what `-l`, `--field-selector` and LabelSelector objects choose.

Texts that can't be read raise ApiError 400 worded as upstream. The grammar of label selectors is in label_syntax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any

from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.status import bad_request


class Operator(Enum):
    """What a requirement asks of a label; the value is how selectors are written."""

    IN = "in"
    NOT_IN = "notin"
    EQUALS = "="
    DOUBLE_EQUALS = "=="
    NOT_EQUALS = "!="
    EXISTS = "exists"
    DOES_NOT_EXIST = "!"
    GREATER_THAN = "gt"
    LESS_THAN = "lt"


_INCLUDES = frozenset({Operator.IN, Operator.EQUALS, Operator.DOUBLE_EQUALS})
_EXCLUDES = frozenset({Operator.NOT_IN, Operator.NOT_EQUALS})
_SYMBOLS = {Operator.GREATER_THAN: ">", Operator.LESS_THAN: "<"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    @property
    def only_value(self) -> str | None:
        """The one value that the label has to have; None where it may have several or none."""
        return next(iter(self.values)) if self.operator in _INCLUDES and len(self.values) == 1 else None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it; an absent label meets only exclusions."""
        present = labels.get(self.key)
        if self.operator in _INCLUDES:
            return present in self.values
        if self.operator in _EXCLUDES:
            return present not in self.values
        if self.operator is Operator.EXISTS:
            return present is not None
        if self.operator is Operator.DOES_NOT_EXIST:
            return present is None
        return present is not None and self._compares(present)

    def _compares(self, present: str) -> bool:
        try:
            left, right = int(present), int(next(iter(self.values)))
        except ValueError:
            return False
        return left > right if self.operator is Operator.GREATER_THAN else left < right

    def __str__(self) -> str:
        if self.operator is Operator.EXISTS:
            return self.key
        if self.operator is Operator.DOES_NOT_EXIST:
            return "!" + self.key
        listed = ",".join(sorted(self.values))
        if self.operator in {Operator.IN, Operator.NOT_IN}:
            return f"{self.key} {self.operator.value} ({listed})"
        return f"{self.key}{_SYMBOLS.get(self.operator, self.operator.value)}{listed}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; none at all matches everything, `nothing` matches nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether an object with these labels (None: no labels) is chosen."""
        given = labels or {}
        return not self.nothing and all(requirement.matches(given) for requirement in self.requirements)

    @property
    def everything(self) -> bool:
        """Whether it chooses every object."""
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        """The selector as text that parses back to it, requirements in order of their keys."""
        return ",".join(map(str, sorted(self.requirements, key=lambda requirement: requirement.key)))


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(nothing=True)

_OBJECT_OPERATORS = {
    "In": Operator.IN,
    "NotIn": Operator.NOT_IN,
    "Exists": Operator.EXISTS,
    "DoesNotExist": Operator.DOES_NOT_EXIST,
}


@lru_cache(maxsize=1024)  # watches and controllers repeat a few selectors
def parse_labels(text: str) -> LabelSelector:
    """Read a `labelSelector` query value, equality or set based; empty matches everything."""
    from oarlock.cluster.objects.label_syntax import Parser

    return LabelSelector(tuple(Parser(text).parse()))


def from_object(selector: Mapping[str, Any] | None) -> LabelSelector:
    """Read a LabelSelector object: None chooses nothing, an empty one everything."""
    if selector is None:
        return NOTHING
    requirements = [
        Requirement(key, Operator.EQUALS, frozenset({value}))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    for expression in selector.get("matchExpressions") or ():
        operator = _OBJECT_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise bad_request(f"{quote(expression.get('operator', ''))} is not a valid label selector operator")
        requirements.append(Requirement(expression["key"], operator, frozenset(expression.get("values") or ())))
    return LabelSelector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


def from_labels(labels: Mapping[str, str] | None) -> LabelSelector:
    """The selector of a plain map, as Services and ReplicationControllers have: an empty one chooses nothing."""
    if not labels:
        return NOTHING
    return from_object({"matchLabels": labels})


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One field must (or, `negated`, must not) have exactly this value."""

    field: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
        return f"{self.field}{'!=' if self.negated else '='}{escaped}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All requirements must hold on an object's selectable fields."""

    requirements: tuple[FieldRequirement, ...] = field(default=())

    def matches(self, values: Mapping[str, str]) -> bool:
        """Whether an object with these fields (absent: "") is chosen."""
        for one in self.requirements:  # noqa: SIM110 - each watch asks it of each change: a generator takes twice as long
            if (values.get(one.field, "") == one.value) == one.negated:
                return False
        return True

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that it asks for."""
        return tuple(one.field for one in self.requirements)

    def exact(self, name: str) -> str | None:
        """The value that field `name` must have, if the selector says so: one look-up instead of a scan."""
        for one in self.requirements:
            if one.field == name and not one.negated:
                return one.value
        return None

    def without(self, name: str, value: str) -> FieldSelector:
        """The same but for the requirement that field `name` be `value`, which is known to hold."""
        return FieldSelector(tuple(one for one in self.requirements if one != FieldRequirement(name, value)))

    @property
    def everything(self) -> bool:
        """Whether it chooses every object."""
        return not self.requirements

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


def parse_fields(text: str) -> FieldSelector:
    """Read a `fieldSelector` query value; whether a kind knows the fields is for fields.check to say."""
    requirements = [_term(text, part) for part in sorted(_split_terms(text)) if part]
    return FieldSelector(tuple(requirements))


def _split_terms(text: str) -> list[str]:
    """Split at commas that no backslash escapes."""
    terms, start, escaped = [], 0, False
    for position, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ",":
            terms.append(text[start:position])
            start = position + 1
    return [*terms, text[start:]]


def _term(text: str, part: str) -> FieldRequirement:
    for position in range(len(part)):
        for operator in ("!=", "==", "="):
            if part.startswith(operator, position):
                value = _unescaped(part[position + len(operator) :])
                return FieldRequirement(part[:position], value, operator == "!=")
    raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")


def _unescaped(value: str) -> str:
    if not any(char in value for char in "\\,="):
        return value
    result, escaped = [], False
    for char in value:
        if escaped:
            if char not in "\\,=":
                raise bad_request(f"invalid field selector: invalid escape sequence: \\{char}")
            result.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            raise bad_request(f"invalid field selector: unescaped character in value: {ord(char)}")
        else:
            result.append(char)
    if escaped:
        raise bad_request("invalid field selector: invalid escape sequence: \\")
    return "".join(result)
