"""JSON paths of fields and map keys, as `fieldPath` and `selectableFields` write them: `.spec.labels['a.b']`.

Source: apiextensions `pkg/apiserver/schema/cel/validation.go`, `ValidFieldPath`.
"""

from __future__ import annotations

import re
from typing import Final

from oarlock.cluster.objects.extensions.structural import Structural

_PARTS: Final = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]]+")
_ESCAPES: Final = re.compile(r"\\(.)")
_UNESCAPED: Final = {"\\": "\\", "'": "'", "n": "\n", "r": "\r", "t": "\t"}
_NO_FIELD: Final = "does not refer to a valid field"
_TOO_SHORT: Final = "unexpected end of JSON path"


class NoSuchField(Exception):
    """A path is malformed or leads nowhere; the message is upstream's."""


def resolve(path: str, schema: Structural, *, brackets: bool = True) -> tuple[tuple[str, ...], Structural | None]:
    """The steps of a path and the schema at its end. Raises NoSuchField, for brackets too unless they may be used."""
    parts = _PARTS.findall(path)
    steps: list[str] = []
    here: Structural | None = schema
    while parts:
        part = parts.pop(0)
        if part == ".":
            name = _next(parts)
            here = _field(here, name)
        elif part == "[":
            if not brackets:
                raise NoSuchField("array notation is not allowed")
            name = _quoted(_next(parts))
            here = _key(here, name)
            closing = _next(parts)
            if closing != "]":
                raise NoSuchField(f"expected ] but got {closing}")
        else:
            raise NoSuchField(f"expected [ or . but got: {part}")
        steps.append(name)
    return tuple(steps), here


def _next(parts: list[str]) -> str:
    if not parts:
        raise NoSuchField(_TOO_SHORT)
    return parts.pop(0)


def _quoted(part: str) -> str:
    if len(part) < 2 or part[0] != "'" or part[-1] != "'":
        raise NoSuchField(f"expected single quoted string but got {part}")
    return _ESCAPES.sub(lambda found: _UNESCAPED.get(found[1], found[1]), part[1:-1])


def _field(schema: Structural | None, name: str) -> Structural:
    found = schema.properties.get(name) if schema is not None else None
    if found is None:
        raise NoSuchField(_NO_FIELD)
    return found


def _key(schema: Structural | None, name: str) -> Structural | None:
    if schema is not None and schema.properties:
        return _field(schema, name)
    if schema is None or schema.additional is None:
        raise NoSuchField(_NO_FIELD)
    return schema.additional if isinstance(schema.additional, Structural) else None
