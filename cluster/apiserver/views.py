"""Kinds that are served in two forms: the stored one, and a view of it in another group or version."""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver import conversion
from oarlock.cluster.apiserver.watchcache import Entry
from oarlock.cluster.objects import codec
from oarlock.cluster.objects.resources import Resource


def is_view(resource: Resource) -> bool:
    """Tell whether the resource's objects are stored in another form."""
    return (resource.group, resource.version) != resource.stored_as


def head(resource: Resource) -> bytes:
    """Return what every JSON object of the kind begins with."""
    return b'{"kind":"%b","apiVersion":"%b",' % (resource.kind.encode(), resource.api_version.encode())


def wire(resource: Resource, entry: Entry) -> bytes:
    """Return the object's JSON as `resource` shows it."""
    if not is_view(resource):
        return entry.wire
    shown = parsed(resource, entry)
    revision = shown["metadata"].get("resourceVersion", "")
    encoded = codec.encode(shown)
    return codec.with_revision(encoded, int(revision)) if revision else encoded


def parsed(resource: Resource, entry: Entry) -> dict[str, Any]:
    """Return a fresh parsed object as `resource` shows it."""
    obj = entry.object()
    if is_view(resource):
        return conversion.from_storage(resource, obj)
    return obj


def stored(resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
    """Return `obj`, given in `resource`'s form, in the form that is stored."""
    if is_view(resource):
        return conversion.to_storage(resource, obj)
    return obj


def unsaved(obj: dict[str, Any]) -> Entry:
    """Return an entry for an object that is only shown, not stored."""
    revision = obj["metadata"].get("resourceVersion", "")
    encoded = codec.encode(obj)
    if revision:
        encoded = codec.with_revision(encoded, int(revision))
    return Entry(b"", encoded, 0, int(revision or 0))
