"""Bring a parsed document of a custom kind into shape: metadata typed, unknown fields left out, defaults put in.

Source: apiextensions `pkg/apiserver/customresource_handler.go` (schemaCoercingDecoder, unstructuredDefaulter) and
`pkg/apiserver/schema/objectmeta`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from oarlock.cluster.objects.conforming import Conforming, count_members, dotted
from oarlock.cluster.objects.custom.kind import CustomKind
from oarlock.cluster.objects.extensions.pruning import pruned
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
    unknown += [dotted(path) for path in _lost(whole, kept, ())]
    return kept, unknown, count_members(document)


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
