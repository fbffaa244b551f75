"""OpenAPI definitions of custom kinds, in the form of the built-in ones' source.

Source: apiextensions `pkg/controller/openapi/builder`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from oarlock.cluster.objects.resources import Resource

_DEFS: Final = "#/$defs/"
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_API_VERSION: Final = {
    "type": "string",
    "description": (
        "APIVersion defines the versioned schema of this representation of an object. Servers should convert "
        "recognized schemas to the latest internal value, and may reject unrecognized values."
    ),
}
_KIND: Final = {
    "type": "string",
    "description": "Kind is a string value representing the REST resource this object represents. In CamelCase.",
}
#: What OpenAPI v2 can't say.
_ONLY_IN_V3: Final = frozenset({"oneOf", "anyOf", "allOf", "not", "nullable"})


def definition_name(group: str, version: str, kind: str) -> str:
    """`com.example.stable.v1.CronTab`."""
    return ".".join((*reversed(group.split(".")), version, kind))


def definitions(resources: Iterable[Resource], *, v2: bool = False) -> dict[str, Any]:
    """The definitions of custom kinds and their lists, by name."""
    found: dict[str, Any] = {}
    for one in resources:
        if one.custom is not None:
            name = definition_name(one.group, one.version, one.kind)
            found[name] = _object(one, one.custom.document(), v2=v2)
            found[name + "List"] = _list(one, name)
    return found


def _object(resource: Resource, document: Mapping[str, Any], *, v2: bool) -> dict[str, Any]:
    schema = _for_v2(document) if v2 else dict(document)
    properties = dict(schema.get("properties") or {})
    properties |= {
        "apiVersion": _API_VERSION,
        "kind": _KIND,
        "metadata": {"description": "Standard object's metadata.", "$ref": _DEFS + _META + "ObjectMeta"},
    }
    return {"type": "object", **schema, "properties": properties, **_identity(resource, resource.kind)}


def _list(resource: Resource, name: str) -> dict[str, Any]:
    return {
        "description": f"{resource.list_kind} is a list of {resource.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": _API_VERSION,
            "items": {"description": f"List of {resource.plural}.", "type": "array", "items": {"$ref": _DEFS + name}},
            "kind": _KIND,
            "metadata": {"description": "Standard list metadata.", "$ref": _DEFS + _META + "ListMeta"},
        },
        **_identity(resource, resource.list_kind),
    }


def _identity(resource: Resource, kind: str) -> dict[str, Any]:
    named = {"group": resource.group, "kind": kind, "version": resource.version}
    return {"x-kubernetes-group-version-kind": [named]}


def _for_v2(node: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without what v2 lacks; what takes unknown fields or several types is left open."""
    if node.get("x-kubernetes-preserve-unknown-fields") or node.get("x-kubernetes-int-or-string"):
        return {key: value for key, value in node.items() if key == "description" or key.startswith("x-kubernetes-")}
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key in _ONLY_IN_V3 or (key == "type" and node.get("nullable")):
            continue
        if key == "properties":
            out[key] = {name: _for_v2(one) for name, one in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, Mapping):
            out[key] = _for_v2(value)
        else:
            out[key] = value
    return out
