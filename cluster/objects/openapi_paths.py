"""The `paths` of the OpenAPI documents: what each resource's URLs accept and answer.

Source: upstream's OpenAPI documents; for custom kinds apiextensions `pkg/controller/openapi/builder`. The order of
operations is get, put, post, delete, patch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects.custom import documents
from oarlock.cluster.objects.resources import Resource, Subresource
from oarlock.cluster.objects.schemas import schema_of_kind

Document = dict[str, Any]
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
#: What requests and answers of every group use.
COMMON_TYPES: Final = (_META + "DeleteOptions", _META + "Patch", _META + "Status", _META + "APIResourceList")
_FORMATS: Final = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_PATCHES: Final = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
#: Custom objects know no protobuf and no strategic merge. kubectl reads here which kind of patch `apply` is to send.
_CUSTOM_FORMATS: Final = ("application/json", "application/yaml")
_CUSTOM_PATCHES: Final = tuple(one for one in _PATCHES if "strategic" not in one)

#: Query parameters: name, type, description.
_Row = tuple[str, str, str]
_DRY_RUN: Final[_Row] = (
    "dryRun",
    "string",
    (
        "When present, indicates that modifications should not be persisted. An invalid or unrecognized dryRun "
        "directive will result in an error response and no further processing of the request. Valid values are: "
        "- All: all dry run stages will be processed"
    ),
)
_MANAGER: Final[_Row] = (
    "fieldManager",
    "string",
    (
        "fieldManager is a name associated with the actor or entity that is making these changes. The value must be "
        "less than or 128 characters long, and only contain printable characters."
    ),
)
_VALIDATION: Final[_Row] = (
    "fieldValidation",
    "string",
    (
        "fieldValidation instructs the server on how to handle objects in the request containing unknown or duplicate "
        "fields. Valid values are: Ignore, Warn, Strict."
    ),
)
_FORCE: Final[_Row] = (
    "force",
    "boolean",
    'Force is going to "force" Apply requests. It means user will re-acquire conflicting fields owned by other people.',
)
_PRETTY: Final[_Row] = ("pretty", "string", "If 'true', then the output is pretty printed.")
_LIST: Final[Sequence[_Row]] = (
    ("allowWatchBookmarks", "boolean", 'allowWatchBookmarks requests watch events with type "BOOKMARK".'),
    ("continue", "string", "The continue option should be set when retrieving more results from the server."),
    ("fieldSelector", "string", "A selector to restrict the list of returned objects by their fields."),
    ("labelSelector", "string", "A selector to restrict the list of returned objects by their labels."),
    ("limit", "integer", "limit is a maximum number of responses to return for a list call."),
    (
        "resourceVersion",
        "string",
        "resourceVersion sets a constraint on what resource versions a request may be served from.",
    ),
    ("resourceVersionMatch", "string", "resourceVersionMatch determines how resourceVersion is applied to list calls."),
    ("sendInitialEvents", "boolean", "sendInitialEvents may be set together with watch=true."),
    ("timeoutSeconds", "integer", "Timeout for the list/watch call."),
    ("watch", "boolean", "Watch for changes to the described resources and return them as a stream of notifications."),
)
_DELETE: Final[Sequence[_Row]] = (
    _DRY_RUN,
    ("gracePeriodSeconds", "integer", "The duration in seconds before the object should be deleted."),
    ("orphanDependents", "boolean", "Deprecated: please use the PropagationPolicy."),
    ("propagationPolicy", "string", "Whether and how garbage collection will be performed."),
)
_WRITE: Final = (_DRY_RUN, _MANAGER, _VALIDATION)
_PATH_ROWS: Final[Mapping[str, str]] = {
    "namespace": "object name and auth scope, such as for teams and projects",
    "name": "name of the object",
}
_ACTIONS: Final[Mapping[str, str]] = {
    "get": "get",
    "list": "list",
    "create": "post",
    "update": "put",
    "patch": "patch",
    "delete": "delete",
    "deletecollection": "deletecollection",
}


def definition_name(resource: Resource, group: str, version: str, kind: str) -> str:
    """The full name of the definition of a kind that a resource's requests or answers hold.

    Empty where it has none (options of connect requests).
    """
    if resource.custom is not None and group == resource.group:
        return documents.definition_name(group, version, kind)
    schema = schema_of_kind(group, version, kind)
    return schema.type_name if schema else ""


def v2_paths(resource: Resource) -> Iterator[tuple[str, Document]]:
    """The paths of one resource, in OpenAPI v2's form."""
    return _paths(resource, _v2_operation, _v2_parameter)


def v3_paths(resource: Resource) -> Iterator[tuple[str, Document]]:
    """The paths of one resource, in OpenAPI v3's form."""
    return _paths(resource, _v3_operation, _v3_parameter)


class _Operation:
    """One verb at one path, before it is written in either form."""

    def __init__(
        self, resource: Resource, verb: str, path: str, body: str, answer: str, sub: Subresource | None = None
    ) -> None:
        self.verb = verb
        self.body = body
        self.answer = answer
        self.rows = _query(verb)
        custom = resource.custom is not None
        self.produced = _CUSTOM_FORMATS if custom else _FORMATS
        self.consumed: Sequence[str] = _CUSTOM_FORMATS if custom else ("*/*",)
        if verb == "patch":
            self.consumed = _CUSTOM_PATCHES if custom else _PATCHES
        owner: Resource | Subresource = sub or resource
        self.kind = {"group": owner.group, "kind": owner.kind, "version": owner.version}
        self.tag = (resource.group.partition(".")[0] or "core") + "_" + resource.version
        self.identity = _identity(resource, verb, path, sub)
        self.description = (
            f"{verb} {resource.kind}" if sub is None else f"{verb} {sub.name} of the specified {resource.kind}"
        )


def _identity(resource: Resource, verb: str, path: str, sub: Subresource | None) -> str:
    group = "".join(part.capitalize() for part in (resource.group.partition(".")[0] or "core").split("-"))
    scope = "Namespaced" if "{namespace}" in path else ""
    everywhere = "ForAllNamespaces" if resource.namespaced and not scope else ""
    tail = sub.name.capitalize() if sub else ""
    words = {"update": "replace", "deletecollection": "deleteCollection"}.get(verb, verb)
    return f"{words}{group}{resource.version.capitalize()}{scope}{resource.kind}{tail}{everywhere}"


def _query(verb: str) -> Sequence[_Row]:
    rows: Mapping[str, Sequence[_Row]] = {
        "list": _LIST,
        "create": _WRITE,
        "update": _WRITE,
        "patch": (*_WRITE, _FORCE),
        "delete": _DELETE,
        "deletecollection": (*_DELETE, *_LIST[1:-1]),
    }
    return (*rows.get(verb, ()), _PRETTY)


def _paths(
    resource: Resource,
    write: Callable[[_Operation], Document],
    parameter: Callable[[str, str, str], Document],
) -> Iterator[tuple[str, Document]]:
    namespaced = resource.path("{namespace}") if resource.namespaced else resource.path()
    for path, operations in _operations(resource, namespaced):
        if not operations:
            continue
        item: Document = {_method(operation.verb): write(operation) for operation in operations}
        placed = [name for name in _PATH_ROWS if f"{{{name}}}" in path]
        if placed:
            item["parameters"] = [parameter(name, _PATH_ROWS[name], "path") for name in placed]
        yield path, item


def _operations(resource: Resource, collection: str) -> Iterator[tuple[str, list[_Operation]]]:
    own = definition_name(resource, resource.group, resource.version, resource.kind)
    listed = definition_name(resource, resource.group, resource.version, resource.list_kind)

    def operations(path: str, *verbs: str) -> list[_Operation]:
        return [
            _Operation(resource, verb, path, _body(verb, own), _answer(verb, own, listed))
            for verb in verbs
            if verb in resource.verbs
        ]

    if resource.namespaced and "list" in resource.verbs:
        yield resource.path(), operations(resource.path(), "list")
    yield collection, operations(collection, "list", "create", "deletecollection")
    yield f"{collection}/{{name}}", operations(f"{collection}/{{name}}", "get", "update", "delete", "patch")
    for sub in resource.subresources.values():
        path = f"{collection}/{{name}}/{sub.name}"
        kind = definition_name(resource, sub.group, sub.version, sub.kind)
        verbs = [verb for verb in ("get", "update", "create", "delete", "patch") if verb in sub.verbs]
        yield path, [_Operation(resource, verb, path, _body(verb, kind), kind, sub) for verb in verbs]


def _method(verb: str) -> str:
    return {"list": "get", "create": "post", "update": "put", "deletecollection": "delete"}.get(verb, verb)


def _body(verb: str, kind: str) -> str:
    bodies = {"create": kind, "update": kind, "patch": _META + "Patch"}
    return bodies.get(verb, _META + "DeleteOptions" if verb.startswith("delete") else "")


def _answer(verb: str, own: str, listed: str) -> str:
    return {"list": listed, "delete": _META + "Status", "deletecollection": _META + "Status"}.get(verb, own)


def _codes(verb: str) -> Mapping[str, str]:
    codes = {"200": "OK"}
    if verb in {"create", "update", "patch"}:
        codes["201"] = "Created"
    if verb in {"create", "delete"}:
        codes["202"] = "Accepted"
    return {**codes, "401": "Unauthorized"}


def _action(verb: str) -> str:
    return _ACTIONS[verb]


def _shared(operation: _Operation) -> Document:
    return {
        "tags": [operation.tag],
        "description": operation.description,
        "operationId": operation.identity,
    }


def _extensions(operation: _Operation) -> Document:
    return {"x-kubernetes-action": _action(operation.verb), "x-kubernetes-group-version-kind": operation.kind}


def _v2_operation(operation: _Operation) -> Document:
    parameters = [_v2_parameter(name, text, "query", kind) for name, kind, text in operation.rows]
    if operation.body:
        body = {"name": "body", "in": "body", "schema": {"$ref": f"#/definitions/{operation.body}"}}
        parameters.append({**body, "required": True} if operation.verb in {"create", "update", "patch"} else body)
    schema = {"schema": {"$ref": f"#/definitions/{operation.answer}"}} if operation.answer else {}
    return {
        **_shared(operation),
        "consumes": list(operation.consumed),
        "produces": list(operation.produced),
        "schemes": ["https"],
        "parameters": parameters,
        "responses": {
            code: {"description": text, **(schema if code < "400" else {})}
            for code, text in _codes(operation.verb).items()
        },
        **_extensions(operation),
    }


def _v2_parameter(name: str, description: str, place: str, kind: str = "string") -> Document:
    out: Document = {"name": name, "in": place, "type": kind, "uniqueItems": True, "description": description}
    return {**out, "required": True} if place == "path" else out


def _v3_operation(operation: _Operation) -> Document:
    out = _shared(operation)
    out["parameters"] = [_v3_parameter(name, text, "query", kind) for name, kind, text in operation.rows]
    if operation.body:
        body: Document = {"content": _v3_content(operation.body, operation.consumed)}
        if operation.verb in {"create", "update", "patch"}:
            body["required"] = True
        out["requestBody"] = body
    content = {"content": _v3_content(operation.answer, operation.produced)} if operation.answer else {}
    out["responses"] = {
        code: {"description": text, **(content if code < "400" else {})}
        for code, text in _codes(operation.verb).items()
    }
    return {**out, **_extensions(operation)}


def _v3_content(name: str, formats: Sequence[str]) -> Document:
    return {media: {"schema": {"$ref": f"#/components/schemas/{name}"}} for media in formats}


def _v3_parameter(name: str, description: str, place: str, kind: str = "string") -> Document:
    schema = {"type": kind, "uniqueItems": True}
    out: Document = {"name": name, "in": place, "description": description, "schema": schema}
    return {**out, "required": True} if place == "path" else out
