"""A structural schema in the form that ownership, merging and strategic lists use for built-in kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects.extensions.structural import Structural
from oarlock.cluster.objects.schemas import Schema, schema_of_type

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_SCALARS: Final[Mapping[str, str]] = {"string": "string", "integer": "int64", "number": "double", "boolean": "bool"}
_ANY: Final = Schema("any", {})


def shape_of(schema: Structural) -> Schema:
    """The shape of a whole object."""
    return _Derived(schema, whole=True)


class _Derived(Schema):
    """Made of one place of a structural schema; what lies below is made when it is looked at."""

    __slots__ = ("_source", "_whole")

    def __init__(self, source: Structural, *, whole: bool) -> None:
        super().__init__(_text(source), _more(source))
        self._source = source
        self._whole = whole

    @property
    def fields(self) -> Mapping[str, Schema]:
        if self._fields is None:
            self._fields = {name: _derived(one) for name, one in self._source.properties.items()}
            if self._whole:
                string = Schema("string", {})
                self._fields |= {"apiVersion": string, "kind": string, "metadata": schema_of_type(_META)}
        return self._fields

    @property
    def items(self) -> Schema | None:
        if self._items is None:
            source = self._source
            if self.kind == "list":
                self._items = _derived(source.items) if source.items is not None else _ANY
            elif self.kind == "map":
                self._items = _derived(source.additional) if isinstance(source.additional, Structural) else _ANY
        return self._items

    @property
    def required(self) -> Sequence[str]:
        return self._source.limits.required

    def field(self, name: str) -> Schema | None:
        found = super().field(name)
        if found is None and self.kind == "object" and self._source.keeps_unknown:
            return _ANY
        return found


def _derived(source: Structural) -> Schema:
    return _Derived(source, whole=source.embedded)


def _text(source: Structural) -> str:
    if source.int_or_string:
        return "int-or-string"
    if source.type == "array":
        return "[]any"
    if source.type == "object" or source.properties or source.embedded:
        if source.properties or source.embedded:
            return "#"
        return "{}any" if source.additional or not source.keeps_unknown else "any"
    return _SCALARS.get(source.type, "any")


def _more(source: Structural) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if source.list_type is not None:
        more["list"] = source.list_type
    if source.list_keys:
        more["keys"] = source.list_keys
    if source.map_type is not None:
        more["map"] = source.map_type
    return more
