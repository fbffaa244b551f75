"""Which kinds the API server serves at present: built-in, custom and aggregated ones, by discovery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.objects.resources import Resource

Object = dict[str, Any]

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
_COLLECTABLE = frozenset({"delete", "list", "watch"})


class Kinds:
    """The kinds of one moment. `stale` are the group versions whose server didn't answer discovery."""

    def __init__(self, served: Iterable[Resource], stale: Iterable[str] = ()) -> None:
        self.stale = tuple(stale)
        self._by_kind: dict[tuple[str, str, str], Resource] = {}
        self._preferred: dict[tuple[str, str], Resource] = {}
        for one in served:
            self._by_kind.setdefault((one.group, one.version, one.kind), one)
            self._preferred.setdefault((one.group, one.plural), one)

    def __iter__(self) -> Iterator[Resource]:
        """Every resource once, in the version that its group prefers; Events only under their old name."""
        return (one for one in self._preferred.values() if (one.group, one.plural) != ("events.k8s.io", "events"))

    def of(self, api_version: str, kind: str) -> Resource | None:
        """Return the resource whose objects carry that `apiVersion` and `kind`, or None."""
        group, _, version = api_version.rpartition("/")
        return self._by_kind.get((group, version, kind))

    def collectable(self) -> list[Resource]:
        """Return what may own and be owned: all that can be deleted, listed and watched, Events apart."""
        return [one for one in self if one.verbs >= _COLLECTABLE and one.plural != "events"]


async def discover(client: ApiClient) -> Kinds:
    """Ask the API server what it serves. Raises ApiError, Unreachable."""
    served: list[Resource] = []
    stale: list[str] = []
    for root in ("/api", "/apis"):
        for group in (await client.get(root, accept=_AGGREGATED))["items"]:
            name = group["metadata"].get("name", "")
            for version in group["versions"]:
                if version.get("freshness") == "Stale":
                    stale.append(f"{name}/{version['version']}")
                served += [_resource(name, version["version"], one) for one in version.get("resources") or ()]
    return Kinds(served, stale)


def _resource(group: str, version: str, found: Mapping[str, Any]) -> Resource:
    return Resource(
        group=group,
        version=version,
        kind=(found.get("responseKind") or {}).get("kind", ""),
        plural=found["resource"],
        singular=found.get("singularResource", ""),
        namespaced=found["scope"] == "Namespaced",
        verbs=frozenset(found.get("verbs") or ()),
    )
