"""What is served: the built-in resources, and those that CustomResourceDefinitions add.

Nothing follows the definitions: a look-up compares the revision of the definition in the watch cache with the one that
was compiled last, so what is served is never older than the cache.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from oarlock.cluster.apiserver.entries import Entry
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import resources
from oarlock.cluster.objects.custom import definition
from oarlock.cluster.objects.custom.outline import outline
from oarlock.cluster.objects.resources import RESOURCES, Resource

log = logging.getLogger(__name__)

DEFINITIONS = next(one for one in RESOURCES if one.qualified == "customresourcedefinitions.apiextensions.k8s.io")
_PREFIX = DEFINITIONS.key_prefix


class Served:
    """Looks resources up by group, version and plural name."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache
        self._compiled: dict[bytes, tuple[int, tuple[Resource, ...]]] = {}
        self._everything: tuple[tuple[int, int], tuple[Resource, ...]] = ((0, 0), RESOURCES)

    def known(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource as far as the cache has it."""
        built_in = resources.lookup(group, version, plural)
        if built_in is not None or "." not in group:
            return built_in
        entry = self._cache.collection(_PREFIX).entries.get(_PREFIX + f"{plural}.{group}".encode())
        if entry is None:
            return None
        return next((one for one in self._of(entry) if one.version == version), None)

    async def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource; one that isn't known is looked for in the present. Raises StoreError, TimeoutError."""
        found = self.known(group, version, plural)
        if found is None and "." in group and self._cache.synced:
            await self._cache.fresh()
            found = self.known(group, version, plural)
        return found

    def stamp(self) -> tuple[int, int]:
        """What changes whenever the definitions do."""
        entries = self._cache.collection(_PREFIX).entries
        return len(entries), max((entry.revision for entry in entries.values()), default=0)

    def everything(self) -> tuple[Resource, ...]:
        """All resources, built-in ones first, groups of definitions by name."""
        stamp = self.stamp()
        if self._everything[0] != stamp:
            custom = sorted(self._custom(), key=lambda one: one.group)
            self._everything = (stamp, (*RESOURCES, *custom))
        return self._everything[1]

    def _custom(self) -> Iterator[Resource]:
        entries = self._cache.collection(_PREFIX).entries
        for key in self._compiled.keys() - entries.keys():
            del self._compiled[key]
        for entry in entries.values():
            yield from self._of(entry)

    def _of(self, entry: Entry) -> tuple[Resource, ...]:
        found = self._compiled.get(entry.key)
        if found is None or found[0] != entry.revision:
            made = _resources(entry, found[1] if found is not None else ())
            found = self._compiled[entry.key] = (entry.revision, made)
        return found[1]


def _resources(entry: Entry, before: tuple[Resource, ...]) -> tuple[Resource, ...]:
    try:
        return definition.resources(outline(entry.wire), entry.object, before)
    except Exception:
        # Validation lets nothing in that can't be compiled; should it ever, the other kinds must not suffer.
        log.exception("definition can't be served key=%s", entry.key.decode())
        return ()
