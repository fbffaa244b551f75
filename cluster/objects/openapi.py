"""OpenAPI documents of what is served: v2 as a whole, v3 by group and version.

Built when they are asked for, out of the kubernetes-validate package's definitions (with their descriptions): callers
keep the encoded form. `kubectl explain`, client-side validation and `--validate` read these.
Source: the OpenAPI documents of upstream v1.36; KEP-2896 for v3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from oarlock.cluster.objects import openapi_paths
from oarlock.cluster.objects.compile import RELEASE, definitions
from oarlock.cluster.objects.custom import documents
from oarlock.cluster.objects.resources import RESOURCES, Resource

Document = dict[str, Any]
V2_PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_INFO: Final = {"title": "Kubernetes", "version": f"v{RELEASE}.0"}
_V2_REFS: Final = "#/definitions/"
_V3_REFS: Final = "#/components/schemas/"
_SOURCE_REFS: Final = "#/$defs/"
#: Types that JSON schema tells by alternatives and OpenAPI by a format.
_REPLACED: Final[Mapping[str, Document]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": "string"},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": "string", "format": "int-or-string"},
}


def _v2_definitions(resources: Sequence[Resource]) -> Iterator[tuple[str, Document]]:
    """Every definition by name; those of custom kinds are made one after another, since all at once are large."""
    for source in (definitions(), *(documents.definitions((one,), v2=True) for one in resources if one.custom)):
        for name, body in source.items():
            yield name, _definition(name, body, _V2_REFS)


def v2(resources: Sequence[Resource] = RESOURCES) -> bytes:
    """The OpenAPI v2 (swagger) document of everything, as JSON."""
    paths = (path for one in resources for path in openapi_paths.v2_paths(one))
    parts = {"paths": _encoded(paths), "definitions": _encoded(_v2_definitions(resources))}
    return orjson.dumps({"swagger": "2.0", "info": _INFO, **parts})


def _encoded(parts: Iterable[tuple[str, Document]]) -> dict[str, orjson.Fragment]:
    """Each part as bytes, which take a tenth of the memory."""
    return {name: orjson.Fragment(orjson.dumps(body)) for name, body in parts}


def v2_protobuf(resources: Sequence[Resource] = RESOURCES) -> bytes:
    """The v2 document in gnostic's protobuf encoding (V2_PROTOBUF)."""
    from oarlock.cluster.objects import openapi_protobuf

    paths = (path for one in resources for path in openapi_paths.v2_paths(one))
    return openapi_protobuf.encode(_INFO, paths, _v2_definitions(resources))


def v3_index(resources: Sequence[Resource] = RESOURCES) -> Document:
    """The index of `/openapi/v3`: for each group and version its document's URL, with a hash for caches."""
    return {
        "paths": {
            _v3_path(group_version): {
                "serverRelativeURL": f"/openapi/v3/{_v3_path(group_version)}?hash={_v3_hash(served)}"
            }
            for group_version, served in by_version(resources).items()
        }
    }


def by_version(resources: Iterable[Resource]) -> dict[str, list[Resource]]:
    """The resources of each group and version."""
    found: dict[str, list[Resource]] = {}
    for one in resources:
        found.setdefault(one.api_version, []).append(one)
    return found


def v3_hash(group_version: str, resources: Sequence[Resource] = RESOURCES) -> str:
    """A hash that changes when the document of a group and version does: with the release or what is served."""
    return _v3_hash([one for one in resources if one.api_version == group_version])


def _v3_hash(served: Iterable[Resource]) -> str:
    rows = [f"{one!r} {one.custom.revision if one.custom else ''}" for one in served]
    return hashlib.sha512("\n".join((RELEASE, *sorted(rows))).encode()).hexdigest().upper()


def v3(group_version: str, resources: Sequence[Resource] = RESOURCES) -> Document:
    """The OpenAPI v3 document of `v1`, `apps/v1`, … KeyError where that is not served."""
    served = [one for one in resources if one.api_version == group_version]
    if not served:
        raise KeyError(group_version)
    source = {**definitions(), **documents.definitions(served)}
    paths = {path: item for one in served for path, item in openapi_paths.v3_paths(one)}
    names = _reachable(_kinds_of(served, source), source)
    return {
        "openapi": "3.0.0",
        "info": dict(_INFO),
        "paths": paths,
        "components": {"schemas": {name: _v3_schema(name, source[name]) for name in sorted(names)}},
    }


def _v3_path(group_version: str) -> str:
    return f"apis/{group_version}" if "/" in group_version else f"api/{group_version}"


def _kinds_of(resources: Sequence[Resource], source: Mapping[str, Any]) -> set[str]:
    """The definitions of all kinds that the resources' requests and answers hold."""
    wanted = {*openapi_paths.COMMON_TYPES}
    for one in resources:
        wanted |= {
            openapi_paths.definition_name(one, one.group, one.version, kind) for kind in (one.kind, one.list_kind)
        }
        wanted |= {
            openapi_paths.definition_name(one, sub.group, sub.version, sub.kind) for sub in one.subresources.values()
        }
    return wanted & source.keys()


def _reachable(start: Iterable[str], source: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(_references(source[name]))
    return found


def _references(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):  # a property may have that name
                yield value.removeprefix(_SOURCE_REFS)
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _definition(name: str, body: Mapping[str, Any], refs: str) -> Document:
    if name in _REPLACED:
        described = {"description": body["description"]} if "description" in body else {}
        return {**described, **_REPLACED[name]}
    return _schema(body, refs)


def _schema(node: Mapping[str, Any], refs: str) -> Document:
    """A JSON schema of the package as OpenAPI writes it: one type, no nulls, references at `refs`."""
    out: Document = {}
    for key, value in node.items():
        if key == "$ref":
            out[key] = refs + value.removeprefix(_SOURCE_REFS)
        elif key == "type" and not isinstance(value, str):
            out[key] = next(kind for kind in value if kind != "null")
        elif key == "properties" and isinstance(value, dict):
            out[key] = {name: _schema(_without_enum(name, member), refs) for name, member in value.items()}
        elif key in {"items", "additionalProperties"} and isinstance(value, dict):
            out[key] = _schema(value, refs)
        else:
            out[key] = value
    return out


def _without_enum(name: str, member: Mapping[str, Any]) -> Mapping[str, Any]:
    """The package narrows `kind` and `apiVersion` of each kind to its own; upstream's documents do not."""
    if name not in {"kind", "apiVersion"}:
        return member
    return {key: value for key, value in member.items() if key != "enum"}


def _v3_schema(name: str, body: Mapping[str, Any]) -> Document:
    out = _definition(name, body, _V3_REFS)
    if name in _REPLACED:
        alternative = "integer" if name.endswith("IntOrString") else "number"
        out = {**out, "oneOf": [{"type": "string"}, {"type": alternative}]}
        del out["type"]
    return _with_wrapped_refs(out)


def _with_wrapped_refs(node: Document) -> Document:
    """OpenAPI v3 ignores what stands beside a `$ref`: described references are wrapped in `allOf`."""
    out: Document = {}
    for key, value in node.items():
        if key == "properties":
            out[key] = {name: _with_wrapped_refs(member) for name, member in value.items()}
        elif key in {"items", "additionalProperties"} and isinstance(value, dict):
            out[key] = _with_wrapped_refs(value)
        else:
            out[key] = value
    if "$ref" in out and len(out) > 1:
        out["allOf"] = [{"$ref": out.pop("$ref")}]
    return out
