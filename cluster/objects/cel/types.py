"""CEL's types, and which of them takes a value of which.

Source: cel-go `common/types/types.go`, `checker/{types,mapping}.go`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

#: Kubernetes' own types, by the names that its functions are declared with below.
OPAQUE: Final[Mapping[str, str]] = {
    "quantity": "kubernetes.Quantity",
    "url": "kubernetes.URL",
    "ip": "net.IP",
    "cidr": "net.CIDR",
    "semver": "kubernetes.Semver",
    "format": "kubernetes.NamedFormat",
    "authorizer": "kubernetes.authorization.Authorizer",
    "path_check": "kubernetes.authorization.PathCheck",
    "group_check": "kubernetes.authorization.GroupCheck",
    "resource_check": "kubernetes.authorization.ResourceCheck",
    "decision": "kubernetes.authorization.Decision",
}
_SHOWN: Final = {"null_type": "null", "error": "!error!"}
_NULLABLE: Final = frozenset({"opaque", "duration", "object", "null", "timestamp", "optional_type"})
_TOKEN: Final = re.compile(r"\s*([A-Za-z_]+|[(),])")


@dataclass(frozen=True, slots=True)
class Type:
    """A type. `name` tells objects, opaque types and parameters apart; `of` are its own parameters."""

    kind: str
    name: str = ""
    of: tuple[Type, ...] = ()

    def __str__(self) -> str:
        """As cel-go's messages show it."""
        if self.kind in ("object", "opaque", "parameter"):
            return self.name
        inner = f"({', '.join(map(str, self.of))})" if self.of else ""
        return f"{_SHOWN.get(self.kind, self.kind)}{inner}"

    @property
    def is_open(self) -> bool:
        """Whether nothing is known of it, so that it goes with anything."""
        return self.kind in ("dyn", "error")


DYN: Final = Type("dyn")
ERROR: Final = Type("error")
BOOL: Final = Type("bool")
STRING: Final = Type("string")
NULL: Final = Type("null_type")


def list_of(one: Type) -> Type:
    """The type of lists of a type."""
    return Type("list", of=(one,))


def map_of(key: Type, value: Type) -> Type:
    """The type of maps."""
    return Type("map", of=(key, value))


def optional(one: Type) -> Type:
    """The type of values that may be missing."""
    return Type("optional_type", of=(one,))


def parameter(name: str) -> Type:
    """A type that stands for another one."""
    return Type("parameter", name)


@lru_cache(512)
def parsed(text: str) -> Type:
    """The type that a text writes, `map(string, A)`; capital letters are parameters."""
    tokens = iter(_TOKEN.findall(text))
    return _parsed(next(tokens), tokens)[0]


def _parsed(name: str, tokens: Iterator[str]) -> tuple[Type, str]:
    after, inner = next(tokens, ""), []
    if after == "(":
        while after != ")":
            one, after = _parsed(next(tokens), tokens)
            inner.append(one)
        after = next(tokens, "")
    if name in OPAQUE:
        return Type("opaque", OPAQUE[name]), after
    if len(name) == 1 and name.isupper():
        return parameter(name), after
    return Type(name, of=tuple(inner)), after


class Substitution:
    """What the parameters met so far stand for. A question that is answered with no leaves it as it was."""

    def __init__(self) -> None:
        self._known: dict[str, Type] = {}

    def assignable(self, takers: Sequence[Type], values: Sequence[Type]) -> bool:
        """Whether each of `takers` takes the value type beside it; if so, what that tells of parameters is kept."""
        before = dict(self._known)
        if len(takers) == len(values) and all(map(self._takes, takers, values)):
            return True
        self._known = before
        return False

    def resolved(self, one: Type, *, free_as_dyn: bool = False) -> Type:
        """A type with its parameters replaced."""
        if one.kind == "parameter":
            known = self._known.get(one.name)
            if known is not None:
                return self.resolved(known, free_as_dyn=free_as_dyn)
            return DYN if free_as_dyn else one
        if not one.of:
            return one
        return Type(one.kind, one.name, tuple(self.resolved(part, free_as_dyn=free_as_dyn) for part in one.of))

    def _takes(self, one: Type, two: Type) -> bool:
        if two.kind == "parameter":
            stands, known = self._stands(one, two)
            if stands or known:
                return stands
        if one.kind == "parameter":
            return self._stands(two, one)[0]
        if one.is_open or two.is_open:
            return True
        if "null_type" in (one.kind, two.kind):
            other = two if one.kind == "null_type" else one
            return other.kind in _NULLABLE
        same = one.kind == two.kind and one.name == two.name and len(one.of) == len(two.of)
        return same and all(map(self._takes, one.of, two.of))

    def _stands(self, one: Type, free: Type) -> tuple[bool, bool]:
        """Whether a parameter may stand for a type, and whether it stood for one already."""
        if one == free:
            return True, True
        known = self._known.get(free.name)
        if known is not None:
            if not self._takes(one, known):
                return False, True
            general = more_general(one, known)
            if not self._mentions(general, free):
                self._known[free.name] = general
            return True, True
        if self._mentions(one, free):
            return False, False
        self._known[free.name] = one
        return True, False

    def _mentions(self, one: Type, free: Type) -> bool:
        if one == free:
            return True
        if one.kind == "parameter":
            known = self._known.get(one.name)
            return known is not None and self._mentions(known, free)
        return any(self._mentions(part, free) for part in one.of)


def more_general(one: Type, two: Type) -> Type:
    """The more general of two types that go together."""
    return one if _covers(one, two) else two


def _covers(one: Type, two: Type) -> bool:
    if one.is_open or one.kind == "parameter":
        return True
    if two.is_open or two.kind == "parameter":
        return False
    if one.kind == "null_type" or two.kind == "null_type":
        return two.kind == "null_type"
    return all(map(_covers, one.of, two.of))
