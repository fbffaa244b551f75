"""Take from a value what its schema doesn't specify.

Source: apiextensions `pkg/apiserver/schema/pruning/algorithm.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects.extensions.structural import Structural

_WHOLE_OBJECT: Final = ("apiVersion", "kind", "metadata")


def pruned(schema: Structural, value: Any, *, whole: bool = False) -> Any:
    """The value without unknown fields; `whole` tells that it is an object with kind and metadata of its own."""
    if whole and isinstance(value, Mapping):
        kept = {name: value[name] for name in _WHOLE_OBJECT if name in value}
        rest = {name: one for name, one in value.items() if name not in kept}
        below = _pruned(schema, rest)
        return {name: kept.get(name, below.get(name)) for name in value if name in kept or name in below}
    return _pruned(schema, value)


def _pruned(schema: Structural | None, value: Any) -> Any:
    if schema is not None and schema.keeps_unknown:
        return _kept(schema, value)
    if isinstance(value, Mapping):
        return {name: _below(below, one) for name, one in value.items() if (below := _of(schema, name)) is not None}
    if isinstance(value, list):
        return [_below(schema.items if schema else None, one) for one in value]
    return value


def _kept(schema: Structural, value: Any) -> Any:
    """Unknown fields stay, known ones are pruned by their own schemas."""
    if isinstance(value, Mapping):
        return {
            name: _below(below, one) if isinstance(below := _of(schema, name), Structural) else one
            for name, one in value.items()
        }
    if isinstance(value, list) and schema.items is not None:
        return [_below(schema.items, one) for one in value]
    return value


def _of(schema: Structural | None, name: str) -> Structural | bool | None:
    """What is known of a field: its schema, True where anything goes, None where nothing is known."""
    if schema is None:
        return None
    found = schema.properties.get(name)
    if found is not None:
        return found
    return schema.additional or None


def _below(schema: Structural | bool | None, value: Any) -> Any:
    if isinstance(schema, bool):
        return value
    return pruned(schema, value, whole=schema.embedded) if schema is not None else _pruned(None, value)
