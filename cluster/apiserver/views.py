"""Kinds that are served in two forms: the stored one, and a view of it in another group or version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oarlock.cluster.apiserver import conversion
from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.objects import codec
from oarlock.cluster.objects.resources import Resource


class Converted(Entry):
    """A custom object in the form of the version that it is asked for in."""

    __slots__ = ()


def as_stored(resource: Resource, entry: Entry) -> bool:
    """Tell whether `resource` shows an object in the very form in which it is stored."""
    custom = resource.custom
    if custom is None:
        return is_stored_form(resource)
    if isinstance(entry, Converted):
        return True
    if entry.revision < custom.revision:
        return False
    return entry.wire.startswith(resource.head)


def is_stored_form(resource: Resource) -> bool:
    """Tell whether objects of a built-in kind are stored in the form that `resource` shows."""
    return (resource.group, resource.version) == resource.stored_as


def wire(resource: Resource, entry: Entry) -> bytes:
    """Return the object's JSON as `resource` shows it."""
    if as_stored(resource, entry):
        return entry.wire
    shown = parsed(resource, entry)
    revision = shown["metadata"].get("resourceVersion", "")
    encoded = codec.encode(shown)
    return codec.with_revision(encoded, int(revision)) if revision else encoded


def wires(resource: Resource, entries: Sequence[Entry]) -> list[bytes]:
    """Return the JSON of each."""
    if resource.custom is None and is_stored_form(resource):
        return [one.wire for one in entries]
    return [wire(resource, one) for one in entries]


def parsed(resource: Resource, entry: Entry) -> dict[str, Any]:
    """Return a fresh parsed object as `resource` shows it."""
    obj = entry.object()
    if as_stored(resource, entry):
        return obj
    if resource.custom is None:
        return conversion.from_storage(resource, obj)
    return conversion.of_custom(resource, obj)


def stored(resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
    """Return `obj`, given in the form of `resource`, which is built in, in the form that is stored."""
    if (resource.group, resource.version) != resource.stored_as:
        return conversion.to_storage(resource, obj)
    return obj


def unsaved(obj: dict[str, Any]) -> Entry:
    """Return an entry for an object that is only shown, not stored."""
    revision = obj["metadata"].get("resourceVersion", "")
    encoded = codec.encode(obj)
    if revision:
        encoded = codec.with_revision(encoded, int(revision))
    return Entry(b"", encoded, 0, int(revision or 0))
