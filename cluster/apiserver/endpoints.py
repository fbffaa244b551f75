"""Where a Service's backends are, as the watch cache shows its EndpointSlices."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import resources
from oarlock.cluster.objects.gotext import quote


class NoEndpoint(Exception):
    """A Service leads nowhere; the message is why, in upstream's words."""


class Endpoints:
    """Looks Services and their ready endpoints up."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache
        slices = resources.lookup("discovery.k8s.io", "v1", "endpointslices")
        services = resources.lookup("", "v1", "services")
        assert slices is not None
        assert services is not None
        self._slices, self._services = slices, services

    def ready(self, namespace: str, service: str, port: str) -> Iterator[tuple[str, int]]:
        """Yield ready addresses and their numbers for a port's name; as new as the cache is."""
        prefix = self._slices.key(namespace, "")
        for entry in self._cache.collection(self._slices.key_prefix).between(prefix, prefix + b"\xff"):
            found = entry.object()
            if found["metadata"].get("labels", {}).get("kubernetes.io/service-name") != service:
                continue
            numbers = [one["port"] for one in found.get("ports") or () if (one.get("name") or "") == port]
            for endpoint in (found.get("endpoints") or ()) if numbers else ():
                if endpoint.get("conditions", {}).get("ready") is not False:
                    yield endpoint["addresses"][0], numbers[0]

    def behind(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """One address and number behind a Service's port; of an external one its name. Raises NoEndpoint.

        Source: apiserver pkg/util/proxy (ResolveEndpoint, ResolveCluster).
        """
        spec = self._service(namespace, name)
        if spec.get("type") == "ExternalName":
            return spec["externalName"], port
        named = [one.get("name") or "" for one in spec.get("ports") or () if one["port"] == port]
        if not named:
            raise NoEndpoint(f"no service port {port} found for service {quote(name)}")
        found = list(self.ready(namespace, name, named[0]))
        if not found:
            raise NoEndpoint(f"no endpoints available for service {quote(name)}")
        return random.choice(found)

    def _service(self, namespace: str, name: str) -> dict[str, Any]:
        entry = self._cache.entry(self._services.key(namespace, name))
        if entry is None:
            raise NoEndpoint(f"service {quote(name)} not found")
        spec: dict[str, Any] = entry.object()["spec"]
        return spec
