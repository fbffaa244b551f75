"""What a Service holds, and how its transaction takes it and gives it back."""

from __future__ import annotations

from typing import Any

from oarlock.cluster.apiserver.allocation.addresses import Addresses
from oarlock.cluster.apiserver.allocation.ports import Ports
from oarlock.cluster.apiserver.allocation.services import NODE_PORT_TYPES, Given
from oarlock.cluster.apiserver.claims import CLAIMS_MAX, Claims, require
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.objects import resources, service_families, service_strategy, status
from oarlock.cluster.objects.causes import too_many

Obj = dict[str, Any]


class Holdings:
    """Makes the claims of Services."""

    def __init__(self, storage: Storage, addresses: Addresses, ports: Ports) -> None:
        self._storage = storage
        self._addresses = addresses
        self._ports = ports
        services = resources.lookup("", "v1", "services")
        assert services is not None
        self._services = services

    def claims(self, new: Obj | None, old: Obj | None) -> Claims:
        """Return what a write of `new` over `old` takes and gives back; None: there is no Service before or after it.

        Raises ApiError 422 if `new` holds more than can be given back at once, or changes more than that.
        """
        metadata = (new or old or {})["metadata"]
        whose = (metadata.get("namespace", ""), metadata["name"])
        addresses, had_addresses = _addresses(new), _addresses(old)
        ports, had_ports = _ports(new), _ports(old)
        claims = (
            *(self._addresses.claim(one, *whose) for one in addresses if one not in had_addresses),
            *(self._addresses.give_back(one, *whose) for one in had_addresses if one not in addresses),
            *(self._ports.claim(one, *whose) for one in ports if one not in had_ports),
            *(self._ports.give_back(one, *whose) for one in had_ports if one not in ports),
        )
        count = max(len(claims), len(addresses) + len(ports))
        if new is not None and count > HOLDINGS_MAX:
            raise status.invalid("Service", "", whose[1], [too_many("spec.ports", count, HOLDINGS_MAX)])
        return claims

    def missing(self, service: Obj) -> Claims:
        """Return claims on what a Service has and, as the cache shows, doesn't hold."""
        cache = self._storage.cache
        return tuple(claim for claim in self.claims(service, None) if cache.entry(claim.key) is None)

    async def renewed(self, address: Obj) -> Given | None:
        """Return a fresh object for an address that a Service has, None if no Service has it.

        Whoever deletes the object doesn't take the address from its Service: were the object gone even for a moment,
        another Service could get it. Upstream makes it again a little later (ipallocator/controller/repairip.go).
        """
        owner = address.get("spec", {}).get("parentRef") or {}
        if owner.get("resource") != "services" or owner.get("group"):
            return None
        key = self._services.key(owner.get("namespace", ""), owner.get("name", ""))
        service = await self._storage.live(key)
        name = address["metadata"]["name"]
        if service is None or name not in _addresses(service.object()):
            return None
        fresh = self._addresses.object(name, owner["namespace"], owner["name"])
        return Given(fresh, (require(key, service.revision),))


HOLDINGS_MAX = CLAIMS_MAX - 4
"""Addresses and node ports of one Service: all go in the transaction that deletes it, with room for its guards."""


def _addresses(service: Obj | None) -> list[str]:
    spec = (service or {}).get("spec", {})
    if spec.get("type") == "ExternalName":
        return []
    return [service_families.canonical(one) for one in spec.get("clusterIPs") or () if one != "None"]


def _ports(service: Obj | None) -> list[int]:
    spec = (service or {}).get("spec", {})
    found: list[int] = []
    if spec.get("type") in NODE_PORT_TYPES:
        found += [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
        if service_strategy.needs_health_check(spec) and spec.get("healthCheckNodePort"):
            found.append(spec["healthCheckNodePort"])
    return list(dict.fromkeys(found))
