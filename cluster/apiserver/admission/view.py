"""The objects that plugins decide by: cached ones, and the store's own where a cache that is behind would be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.objects import resources
from oarlock.cluster.objects.resources import Resource

Obj = dict[str, Any]


@cache
def resource(group: str, plural: str) -> Resource:
    """Return the stored version's resource; an unknown one is our own bug."""
    found = next((one for one in resources.RESOURCES if (one.group, one.plural) == (group, plural)), None)
    assert found is not None, (group, plural)
    return found


class View:
    """Reads of other objects. What `get` and `list` return is fresh and may be changed."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def get(self, group: str, plural: str, name: str, namespace: str = "") -> Obj | None:
        """Return a cached object."""
        kind = resource(group, plural)
        entry = self.storage.cache.collection(kind.key_prefix).entries.get(kind.key(namespace, name))
        return None if entry is None else entry.object()

    def lacks(self, group: str, plural: str, name: str, text: str, namespace: str = "") -> bool:
        """Tell whether an object is cached and `text` stands nowhere in it: cheaper than to parse it."""
        kind = resource(group, plural)
        entry = self.storage.cache.collection(kind.key_prefix).entries.get(kind.key(namespace, name))
        return entry is not None and text.encode() not in entry.wire

    async def get_live(self, group: str, plural: str, name: str, namespace: str = "") -> Obj | None:
        """Return a cached object, or what the store itself has under a name that the cache doesn't know."""
        found = self.get(group, plural, name, namespace)
        if found is not None:
            return found
        entry = await self.storage.live(resource(group, plural).key(namespace, name))
        return None if entry is None else entry.object()

    def entries(self, group: str, plural: str, namespace: str = "") -> Iterator[Entry]:
        """Yield the cached objects of a kind, in one namespace or all, in key order."""
        kind = resource(group, plural)
        collection = self.storage.cache.collection(kind.key_prefix)
        if not namespace:
            return iter(list(collection.entries.values()))
        prefix = kind.key_prefix + namespace.encode() + b"/"
        return collection.between(prefix, prefix[:-1] + b"0")

    def list(self, group: str, plural: str, namespace: str = "") -> list[Obj]:
        """Return the cached objects of a kind, in one namespace or all."""
        return [entry.object() for entry in self.entries(group, plural, namespace)]
