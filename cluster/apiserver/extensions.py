"""Groups that APIServices say others serve: told of in discovery, and not to be reached through this server yet.

Source: kube-aggregator's pkg/apiserver (handler_apis.go, apiservice.go).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.apiserver.exchange import TEXT, Response
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import resources
from oarlock.cluster.objects.discovery import Extension

Obj = dict[str, Any]
_SERVICES: Final = next(one for one in resources.RESOURCES if one.plural == "apiservices")


def unavailable() -> Response:
    """Return the answer for a group that others are to serve."""
    return Response(503, b"service unavailable\n", TEXT)


class Extensions:
    """Reads the APIServices that name a Service from the watch cache."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache
        self._stamp = (-1, 0)
        self._groups: Mapping[str, Extension] = {}

    def stamp(self) -> tuple[int, int]:
        """What changes whenever an APIService does."""
        entries = self._cache.collection(_SERVICES.key_prefix).entries
        return len(entries), max((entry.revision for entry in entries.values()), default=0)

    def groups(self) -> Mapping[str, Extension]:
        """The groups with the versions that others serve, preferred ones first."""
        stamp = self.stamp()
        if stamp != self._stamp:
            self._stamp, self._groups = stamp, self._read()
        return self._groups

    def holds(self, group: str, version: str) -> bool:
        """Whether somebody else is to serve this version."""
        found = self.groups().get(group)
        return found is not None and version in found.versions

    def _read(self) -> Mapping[str, Extension]:
        found: dict[str, list[Obj]] = {}
        for entry in self._cache.collection(_SERVICES.key_prefix).entries.values():
            spec = entry.object()["spec"]
            if spec.get("service") and spec.get("group"):
                found.setdefault(spec["group"], []).append(spec)
        return {group: _extension(specs) for group, specs in found.items()}


def _extension(specs: list[Obj]) -> Extension:
    ranked = sorted(specs, key=lambda spec: (-int(spec.get("versionPriority", 0)), str(spec["version"])))
    rank = max(int(spec.get("groupPriorityMinimum", 0)) for spec in specs)
    return Extension(rank, tuple(str(spec["version"]) for spec in ranked))
