"""What is declared of whole kinds, to those who check expressions before there is an object.

Of built-in kinds the compiled data tells it, of others their published OpenAPI v3 document. A quantity is declared
nowhere, as upstream: its document names two types, which to an expression is none.
Source: apiserver `pkg/cel/openapi/{adaptor,extensions}.go`, `pkg/cel/openapi/resolver`, `pkg/cel/types.go` (keywords as
names of fields).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects.cel import values
from oarlock.cluster.objects.cel.declared import Declared, declared
from oarlock.cluster.objects.cel.types import DYN, STRING, Type, list_of, map_of
from oarlock.cluster.objects.extensions import structural
from oarlock.cluster.objects.schemas import Schema, schema_of_kind

Json = Mapping[str, Any]
_REFS: Final = "#/components/schemas/"
#: What every object in another one has, as upstream's documents tell.
_IDENTITY: Final[Json] = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {"$ref": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
}
#: What holds schemas, whose values may be anything; elsewhere what isn't described is an object.
_SCHEMAS: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_SCALARS: Final[Mapping[str, Type]] = {
    "string": STRING,
    "bool": Type("bool"),
    "int32": Type("int"),
    "int64": Type("int"),
    "double": Type("double"),
    "bytes": Type("bytes"),
    "time": Type("timestamp"),
    "micro-time": Type("timestamp"),
    "int-or-string": DYN,
}


def built_in(group: str, version: str, kind: str, name: str) -> Declared | None:
    """What is declared of a built-in kind, its types under `name`. LookupError if there is no such kind."""
    schema = schema_of_kind(group, version, kind)
    if schema is None:
        raise LookupError(kind)
    return _declared(schema, name, frozenset())


def _declared(schema: Schema, name: str, around: frozenset[str]) -> Declared | None:
    """`around` are the types that hold this place: one inside itself is told no further."""
    kind = schema.kind
    if kind in _SCALARS:
        return Declared(_SCALARS[kind])
    if kind == "any":
        return None if _SCHEMAS in around else Declared(Type("object", name))
    if kind == "object":
        return _object(schema, name, around)
    if schema.items is None:
        return None
    items = _declared(schema.items, f"{name}.{'@idx' if kind == 'list' else '@elem'}", around)
    if items is None:
        return None
    return Declared(list_of(items.type) if kind == "list" else map_of(STRING, items.type), items=items)


def _object(schema: Schema, name: str, around: frozenset[str]) -> Declared:
    fields: dict[str, Declared] = {}
    if schema.type_name not in around:
        inside = around | {schema.type_name}
        for key, one in schema.fields.items():
            identifier = values.escaped(key)
            found = _declared(one, f"{name}.{identifier}", inside) if identifier is not None else None
            if identifier is not None and found is not None:
                fields[identifier] = found
                if key in values.RESERVED:
                    fields[key] = found
    return Declared(Type("object", name), fields=fields)


def published(document: Json, group: str, version: str, kind: str, name: str) -> Declared | None:
    """What an OpenAPI v3 document tells of a kind, its types under `name`; None if that is nothing.

    LookupError if it doesn't tell of such a kind.
    """
    schemas = (document.get("components") or {}).get("schemas") or {}
    wanted = {"group": group, "version": version, "kind": kind}
    for schema in schemas.values():
        if wanted in schema.get("x-kubernetes-group-version-kind", ()):
            try:
                return declared(structural.compiled(_inlined(schema, schemas, frozenset())), name=name)
            except structural.NotStructural:
                return None
    raise LookupError(kind)


def _inlined(schema: Json, schemas: Json, around: frozenset[str]) -> dict[str, Any]:
    """A schema with what it refers to in place; what refers to itself is an object of which no more is known."""
    reference = _reference(schema)
    if reference is not None:
        found = schemas.get(reference)
        if found is None or reference in around:
            return {"type": "object"}
        return _inlined(found, schemas, around | {reference})
    out = {key: one for key, one in schema.items() if key not in ("allOf", "anyOf", "oneOf", "not")}
    properties: Json = out.get("properties") or {}
    if out.pop("x-kubernetes-embedded-resource", False):
        properties = {**properties, **_IDENTITY}
    if properties:
        out["properties"] = {key: _inlined(one, schemas, around) for key, one in properties.items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), Mapping):
            out[key] = _inlined(out[key], schemas, around)
    if out.get("format") == "int-or-string":
        out["x-kubernetes-int-or-string"] = True
    return out


def _reference(schema: Json) -> str | None:
    """The name that a schema refers to, also where it does so to add a description."""
    for one in (schema, *(schema.get("allOf") or ())):
        if isinstance(one.get("$ref"), str):
            name: str = one["$ref"]
            return name.removeprefix(_REFS)
    return None
