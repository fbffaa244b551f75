"""Judge the defaults in a schema: each must fit its own place and have no field that pruning would take.

Source: apiextensions `pkg/apiserver/schema/defaulting/validation.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from oarlock.cluster.objects.causes import invalid
from oarlock.cluster.objects.extensions import values
from oarlock.cluster.objects.extensions.pruning import pruned
from oarlock.cluster.objects.extensions.structural import ABSENT, Structural
from oarlock.cluster.objects.status import Cause

_OF_WHOLE_OBJECTS: Final = frozenset({"apiVersion", "kind", "metadata"})


def defaults(schema: Structural, path: str, *, pruned_only: bool = True) -> list[Cause]:
    """What is wrong with the defaults of a structural schema; `pruned_only` wants them without unknown fields."""
    return list(_defaults(schema, path, pruned_only=pruned_only, root=True, inside_metadata=False))


def _defaults(
    schema: Structural, path: str, *, pruned_only: bool, root: bool, inside_metadata: bool
) -> Iterator[Cause]:
    whole = root or schema.embedded
    inside_metadata = inside_metadata and not whole
    if schema.default is not ABSENT and schema.default is not None:
        yield from _default(schema, schema.default, f"{path}.default", pruned_only=pruned_only and not inside_metadata)
    if schema.items is not None:
        yield from _defaults(
            schema.items, f"{path}.items", pruned_only=pruned_only, root=False, inside_metadata=inside_metadata
        )
    for name, one in schema.properties.items():
        yield from _defaults(
            one,
            f"{path}.properties[{name}]",
            pruned_only=pruned_only,
            root=False,
            inside_metadata=inside_metadata or (whole and name in _OF_WHOLE_OBJECTS),
        )


def _default(schema: Structural, value: Any, path: str, *, pruned_only: bool) -> Iterator[Cause]:
    if pruned_only and pruned(schema, value, whole=schema.embedded) != value:
        yield invalid(path, value, "must not have unknown fields")
    yield from values.causes(schema, value, path)


def are_pruned(schema: Structural) -> bool:
    """Whether no default in a schema has unknown fields."""
    value, below = schema.default, [*schema.properties.values(), *([schema.items] if schema.items else [])]
    known = value is ABSENT or pruned(schema, value, whole=schema.embedded) == value
    return known and all(map(are_pruned, below))
