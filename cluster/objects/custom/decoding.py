"""Bring a parsed document of a custom kind into shape: metadata typed, unknown fields left out, defaults put in.

Source: apiextensions `pkg/apiserver/customresource_handler.go` (schemaCoercingDecoder, unstructuredDefaulter) and
`pkg/apiserver/schema/objectmeta`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from oarlock.cluster.objects.conforming import Conforming, Mismatch, count_members, dotted
from oarlock.cluster.objects.custom.kind import CustomKind
from oarlock.cluster.objects.extensions.pruning import pruned
from oarlock.cluster.objects.extensions.structural import Structural
from oarlock.cluster.objects.schemas import schema_of_type

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def conformed(custom: CustomKind, document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], int]:
    """Return the object, the paths of what its schema doesn't know, and how many keys the document holds.

    Raises conforming.Mismatch for metadata of a wrong type.
    """
    walk = Conforming()
    metadata = document.get("metadata")
    unknown: list[str] = []
    if metadata is not None:
        meta = walk.value(schema_of_type(_META), metadata)
        unknown += [f"metadata.{path}" for path in walk.unknown]
    else:
        meta = {}
    whole = {**document, "metadata": meta}
    kept = whole if custom.preserves_unknown else pruned(custom.schema, whole, whole=True)
    typed = _embedded(custom.schema, kept, root=True)
    unknown += [dotted(path) for path in (*_lost(whole, kept, ()), *_lost(kept, typed, ()))]
    return typed, unknown, count_members(document)


def _embedded(schema: Structural, value: Any, *, root: bool = False) -> Any:
    """Return a value without what is unknown in the metadata of objects embedded in it; itself if there is nothing."""
    if isinstance(value, list):
        if schema.items is None:
            return value
        items = [_embedded(schema.items, one) for one in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if not isinstance(value, Mapping):
        return value
    changed = {}
    whole = root or schema.embedded
    for name, one in value.items():
        below = schema.properties.get(name) or schema.additional
        if name == "metadata" and whole:
            known = one if root else _metadata(one)
        else:
            known = _embedded(below, one) if isinstance(below, Structural) else one
        if known is not one:
            changed[name] = known
    return {**value, **changed} if changed else value


def _metadata(value: Any) -> Any:
    """Return an embedded object's metadata without what is unknown; of a wrong type they are left to validation."""
    walk = Conforming()
    try:
        known = walk.value(schema_of_type(_META), value)
    except Mismatch:
        return value
    return known if walk.unknown else value


def _lost(before: Any, after: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if before is after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name, value in before.items():
            if name not in after:
                yield (*path, name)
            else:
                yield from _lost(value, after[name], (*path, name))
    elif isinstance(before, list) and isinstance(after, list):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _lost(one, other, (*path, index))
