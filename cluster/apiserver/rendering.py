"""Objects and lists in the representation that was negotiated. Plain JSON is spliced together from stored bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from oarlock.cluster.apiserver import clock, views
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.exchange import Parts, Response
from oarlock.cluster.apiserver.negotiation import JSON, YAML, Representation
from oarlock.cluster.objects import status, tables, yamltext
from oarlock.cluster.objects.resources import Resource

WHOLE_ITEMS_MAX = JOINED_ITEMS = 32
"""Lists of more are put together while they are sent."""
_INCLUDED: dict[str, tables.IncludeObject] = {"Object": "Object", "None": "None"}


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a collection at a revision, 0 for what has none. `remaining` None: not known."""

    entries: Sequence[Entry]
    revision: int
    token: str = ""
    remaining: int | None = None

    def metadata(self) -> dict[str, Any]:
        """The list's metadata."""
        metadata: dict[str, Any] = {"resourceVersion": str(self.revision)} if self.revision else {}
        if self.token:
            metadata["continue"] = self.token
            if self.remaining is not None:
                metadata["remainingItemCount"] = self.remaining
        return metadata


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What a Table is made by. `include` is includeObject (Object, Metadata, None or ""); ages are told at `now`.

    `headers` says whether its columns are told.
    """

    include: str
    now: clock.Clock
    headers: bool = True


def document(body: dict[str, Any], representation: Representation, code: int = 200) -> Response:
    """Answer with a document that has no other form (a Status, discovery)."""
    if representation.media_type == YAML:
        return Response(code, _yaml(body), YAML)
    return Response(code, orjson.dumps(body))


def entry(
    resource: Resource, shown: Entry, representation: Representation, options: TableOptions, code: int = 200
) -> Response:
    """Answer with one object. Raises ApiError 406."""
    _refuse_list(resource, representation)
    if representation.transform == "" and representation.media_type == JSON:
        return Response(code, views.wire(resource, shown))
    body = _transformed(resource, views.parsed(resource, shown), representation, options)
    return document(body, representation, code)


def made(
    resource: Resource, obj: dict[str, Any], representation: Representation, options: TableOptions, code: int = 200
) -> Response:
    """Answer with an object that was made for this answer, and is kept nowhere. Raises ApiError 406."""
    _refuse_list(resource, representation)
    return document(_transformed(resource, obj, representation, options), representation, code)


def _refuse_list(resource: Resource, representation: Representation) -> None:
    if representation.transform == "PartialObjectMetadataList":
        text = f"you requested PartialObjectMetadataList, but the requested object is not a list ({go_type(resource)})"
        raise status.ApiError(406, "NotAcceptable", text)


def page(resource: Resource, shown: Page, representation: Representation, options: TableOptions) -> Response:
    """Answer with a list. Raises ApiError 406."""
    if representation.transform == "PartialObjectMetadata":
        text = f"you requested PartialObjectMetadata, but the requested object is a list ({go_type(resource)}List)"
        raise status.ApiError(406, "NotAcceptable", text)
    if representation.transform == "" and representation.media_type == JSON:
        return Response(200, _spliced(resource, shown))
    return document(_list_document(resource, shown, representation, options), representation)


def event_object(
    resource: Resource, shown: Entry, representation: Representation, options: TableOptions
) -> dict[str, Any]:
    """Return the object of a watch event in a transformed representation."""
    return _transformed(resource, views.parsed(resource, shown), representation, options)


def go_type(resource: Resource) -> str:
    """Return upstream's internal Go type of the kind, as its messages print it."""
    return f"*{(resource.group or 'core').partition('.')[0]}.{resource.kind}"


def _spliced(resource: Resource, shown: Page) -> bytes | Parts:
    head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":[' % (
        resource.list_kind.encode(),
        resource.api_version.encode(),
        orjson.dumps(shown.metadata()),
    )
    # Items of typed lists carry no kind and apiVersion of their own; those of custom resources do.
    skip = len(resource.head) if resource.custom is None else 1
    wires = views.wires(resource, shown.entries)

    def make() -> Iterator[bytes]:
        yield head
        lead = b"{"
        for at in range(0, len(wires), JOINED_ITEMS):
            yield lead
            yield b",{".join([memoryview(wire)[skip:] for wire in wires[at : at + JOINED_ITEMS]])
            lead = b",{"
        yield b"]}"

    commas = max(0, len(wires) - 1)
    size = len(head) + sum(map(len, wires)) + (1 - skip) * len(wires) + commas + 2
    parts = Parts(size, make)
    return parts if len(wires) > WHOLE_ITEMS_MAX else bytes(parts)


def _list_document(
    resource: Resource, shown: Page, representation: Representation, options: TableOptions
) -> dict[str, Any]:
    if representation.transform == "Table":
        objects = [views.parsed(resource, one) for one in shown.entries]
        return _table(resource, objects, shown.metadata(), representation, options)
    if representation.transform:
        kind, version = "PartialObjectMetadataList", representation.api_version
        items = [_metadata_only(views.parsed(resource, one), representation, nested=True) for one in shown.entries]
    else:
        kind, version = resource.list_kind, resource.api_version
        objects = [views.parsed(resource, one) for one in shown.entries]
        items = objects if resource.custom is not None else [_headless(one) for one in objects]
    return {"kind": kind, "apiVersion": version, "metadata": shown.metadata(), "items": items}


def _headless(obj: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}


def _transformed(
    resource: Resource, obj: dict[str, Any], representation: Representation, options: TableOptions
) -> dict[str, Any]:
    if representation.transform == "Table":
        return _table(resource, (obj,), obj["metadata"], representation, options)
    return _metadata_only(obj, representation) if representation.transform else obj


def _metadata_only(obj: dict[str, Any], representation: Representation, *, nested: bool = False) -> dict[str, Any]:
    if nested:
        return {"metadata": obj["metadata"]}
    return {"kind": "PartialObjectMetadata", "apiVersion": representation.api_version, "metadata": obj["metadata"]}


def _table(
    resource: Resource,
    objects: Sequence[dict[str, Any]],
    metadata: dict[str, Any],
    representation: Representation,
    options: TableOptions,
) -> dict[str, Any]:
    wanted = _INCLUDED.get(options.include, "Metadata")
    table = tables.render(resource, objects, metadata, wanted, options.now(), headers=options.headers)
    table["apiVersion"] = representation.api_version
    return table


def _yaml(body: dict[str, Any]) -> bytes:
    return yamltext.encode(body)
