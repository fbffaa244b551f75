"""Structural schemas of the built-in kinds: field types, required fields, merge keys, list and map kinds.

Source: `data/schemas-*.json`, written by `compile.py`. Reading it costs a few milliseconds at the first lookup; the
nodes of a schema are made when they are first looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import orjson

from oarlock.cluster.objects.resources import Resource

#: Kinds of a schema node. `any` takes every value; `quantity`, `int-or-string`, `time` and `micro-time` are scalars
#: with their own syntax; an `object` has fields; a `map` and a `list` have items.
KINDS: Final = frozenset(
    {
        *("string", "bool", "int32", "int64", "double", "bytes", "any"),
        *("quantity", "int-or-string", "time", "micro-time", "object", "map", "list"),
    }
)

_ZEROS: Final[Mapping[str, Any]] = {"string": "", "bool": False, "int32": 0, "int64": 0, "double": 0, "quantity": "0"}
#: Required fields that Go holds by pointers: left out they are null, not zero, and validation refuses them.
_REQUIRED_POINTERS: Final = frozenset(
    {
        "io.k8s.api.networking.v1.HTTPIngressPath.pathType",
        *(
            f"io.k8s.api.admissionregistration.{version}.{kind}Webhook.sideEffects"
            for version in ("v1", "v1beta1")
            for kind in ("Mutating", "Validating")
        ),
        *(f"io.k8s.api.resource.{version}.CapacityRequestPolicyRange.min" for version in ("v1", "v1beta1", "v1beta2")),
    }
)
_LIST_KINDS: Final = ("[]", "{}")


class Schema:
    """What is known of one place in an object: its type and how patches and applies merge it.

    - `kind`: one of KINDS; `type_name`: the definition's full name for objects, else empty.
    - `patch_strategy`: upstream's list, e.g. ("merge", "retainKeys"); `patch_merge_key`: the key of a merged list.
    - `list_type`: "atomic", "set", "map" or None; `list_map_keys`: the keys of a "map" list.
    - `map_type`: "atomic", "granular" or None. `keeps_zero`: whether an empty or zero scalar is written out.
    - `schema_or`: for an `any` that is a schema of a CustomResourceDefinition or else a "list" of them or a "bool".
    """

    __slots__ = (
        "_fields",
        "_item_text",
        "_items",
        "_written_zeros",
        "keeps_zero",
        "kind",
        "list_map_keys",
        "list_type",
        "map_type",
        "patch_merge_key",
        "patch_strategy",
        "schema_or",
        "type_name",
    )

    def __init__(self, text: str, more: Mapping[str, Any]) -> None:
        self._fields: Mapping[str, Schema] | None = None
        self._items: Schema | None = None
        self._written_zeros: tuple[tuple[str, Any], ...] | None = None
        self._item_text = text[2:] if text.startswith(_LIST_KINDS) else ""
        self.type_name = text[1:] if text.startswith("#") else ""
        self.kind = _kind(text)
        self.keeps_zero: bool = more.get("zero", False)
        self.patch_strategy: tuple[str, ...] = tuple(more["strategy"].split(",")) if "strategy" in more else ()
        self.patch_merge_key: str | None = more.get("merge")
        self.list_type: str | None = more.get("list")
        self.list_map_keys: tuple[str, ...] = tuple(more.get("keys", ()))
        self.schema_or: str | None = more.get("schema-or")
        self.map_type: str | None = more.get("map") or (_type(self.type_name).get("map") if self.type_name else None)

    @property
    def fields(self) -> Mapping[str, Schema]:
        """The fields of an object by JSON name; empty for everything else."""
        if self._fields is None:
            self._fields = _fields(self.type_name) if self.type_name else {}
        return self._fields

    @property
    def items(self) -> Schema | None:
        """The schema of a list's or a map's values; None for everything else."""
        if self._items is None and self._item_text:
            self._items = _unadorned(self._item_text)
        return self._items

    @property
    def written_zeros(self) -> tuple[tuple[str, Any], ...]:
        """What Go writes out even where a client left it out, with its zero value: the required scalars, and a few."""
        if self._written_zeros is None:
            told = (name for name in self.required if f"{self.type_name}.{name}" not in _REQUIRED_POINTERS)
            zeros = [(name, _ZEROS.get(self.fields[name].kind)) for name in told]
            written = _type(self.type_name).get("written", ()) if self.type_name else ()
            zeros += [(name, _ZEROS.get(self.fields[name].kind, {})) for name in written]
            self._written_zeros = tuple((name, zero) for name, zero in zeros if zero is not None)
        return self._written_zeros

    @property
    def required(self) -> Sequence[str]:
        """The fields that upstream's documents call required."""
        found: Sequence[str] = _type(self.type_name).get("required", ()) if self.type_name else ()
        return found

    def field(self, name: str) -> Schema | None:
        """The schema of one field, of a map's value, or None where the name is not known."""
        if self.kind == "map":
            return self.items
        return self.fields.get(name)

    def at(self, path: Sequence[str | int]) -> Schema | None:
        """The schema at a path of field names and list indexes."""
        node: Schema | None = self
        for step in path:
            if node is None:
                return None
            node = node.items if isinstance(step, int) else node.field(step)
        return node

    def __repr__(self) -> str:
        return f"Schema({self.kind}{' ' + self.type_name if self.type_name else ''})"


def _kind(text: str) -> str:
    if text.startswith("#"):
        return "object"
    return {"[]": "list", "{}": "map"}.get(text[:2], text)


@cache
def _document() -> dict[str, Any]:
    data = Path(__file__).parent / "data" / "schemas-1.36.json"
    document: dict[str, Any] = orjson.loads(data.read_bytes())
    return document


def _type(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _document()["types"][name]
    return found


@cache
def _fields(name: str) -> Mapping[str, Schema]:
    return {field: _node(spec) for field, spec in _type(name)["fields"].items()}


def _node(spec: str | list[Any]) -> Schema:
    if isinstance(spec, str):
        return _unadorned(spec)
    return Schema(spec[0], spec[1])


@cache
def _unadorned(text: str) -> Schema:
    return Schema(text, {})


def schema_of_type(name: str) -> Schema:
    """The schema of a definition by its full name, e.g. `io.k8s.api.core.v1.PodSpec`. KeyError if there is none."""
    _type(name)
    return _unadorned("#" + name)


def schema_of_kind(group: str, version: str, kind: str) -> Schema | None:
    """The schema of a kind, served as a resource or not (Scale, Eviction, DeleteOptions, …)."""
    name = _document()["kinds"].get(f"{group}/{version}/{kind}")
    if name is None and kind == "DeleteOptions":
        name = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
    return schema_of_type(name) if name else None


def schema_for(resource: Resource) -> Schema:
    """The schema of a resource's objects. KeyError for one that is neither built in nor custom."""
    if resource.custom is not None:
        return resource.custom.shape
    schema = schema_of_kind(resource.group, resource.version, resource.kind)
    if schema is None:
        raise KeyError(resource.qualified_kind)
    return schema
