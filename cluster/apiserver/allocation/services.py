"""What a Service is given before it is validated, and what its transaction takes and gives back.

Source: upstream's `pkg/registry/core/service/storage/alloc.go`. There, as here, allocation comes before validation, so
its errors are told first. A dry run is given the network's own address and ports outside of the range.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from oarlock.cluster.apiserver.allocation.addresses import Addresses
from oarlock.cluster.apiserver.allocation.ports import TAKEN, Ports, Refused, Taking
from oarlock.cluster.apiserver.allocation.ranges import Full
from oarlock.cluster.apiserver.claims import CLAIMS_MAX, Claim, Claims, require
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.objects import resources, service_families, service_strategy, status
from oarlock.cluster.objects.causes import invalid
from oarlock.cluster.objects.status import ApiError, Cause

Obj = dict[str, Any]
_NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True)
class Given:
    """A Service with what it was given; `guards` must hold where that was chosen."""

    obj: Obj
    guards: Claims = ()


@dataclass(slots=True)
class _Draft:
    """One write under way: its spec is changed in place."""

    name: str
    spec: Obj
    ports: Taking
    dry_run: bool
    guards: list[Claim] = field(default_factory=list)

    def refuse(self, causes: Sequence[Cause]) -> ApiError:
        return status.invalid("Service", "", self.name, causes)

    def any_port(self, purpose: str = "a nodePort") -> int:
        try:
            return self.ports.any()
        except Full as error:
            raise status.internal(f"failed to allocate {purpose}: {error}") from None


class ServiceAllocation:
    """Gives Services addresses and node ports. Raises ApiError 422, 500 and StoreError."""

    def __init__(self, storage: Storage, addresses: Addresses, ports: Ports) -> None:
        self._storage = storage
        self.addresses = addresses
        self._ports = ports
        services = resources.lookup("", "v1", "services")
        assert services is not None
        self._services = services

    async def give(self, service: Obj, old: Obj | None, *, dry_run: bool) -> Given:
        """Return a new Service (or, of `old`, an updated one) with what it lacks; the given one is left alone."""
        obj = {**service, "spec": copy.deepcopy(service["spec"])}
        spec, before = obj["spec"], old["spec"] if old is not None else None
        if before is not None:
            service_strategy.carry_over(spec, before)
        else:
            service_strategy.same_address(spec, None)
        draft = _Draft(service["metadata"].get("name", ""), spec, Taking(self._ports, dry_run=dry_run), dry_run)
        causes = service_families.settle(spec, before, self.addresses.families)
        if causes:
            raise draft.refuse(causes)
        await self._give_addresses(draft, before)
        await self._give_ports(draft, before)
        return Given(obj, tuple(dict.fromkeys(draft.guards)))

    async def _give_addresses(self, draft: _Draft, before: Obj | None) -> None:
        spec = draft.spec
        if spec["type"] == "ExternalName" or service_families.is_headless(spec):
            return
        first = 0
        if before is not None and before["type"] != "ExternalName":
            # An update gives a second address at most.
            first = len(before.get("clusterIPs") or ())
            if service_families.is_headless(before) or len(before.get("ipFamilies") or ()) != 1:
                return
        for index, family in list(enumerate(spec["ipFamilies"]))[first:]:
            given: list[str] = spec.setdefault("clusterIPs", [])
            if index < len(given):
                await self._give_named(draft, given[index])
            else:
                given.append(self._give_any(draft, family))
        if spec.get("clusterIPs"):
            spec["clusterIP"] = spec["clusterIPs"][0]

    def _give_any(self, draft: _Draft, family: str) -> str:
        try:
            if draft.dry_run:
                return self.addresses.network(family)
            address, where = self.addresses.free(family)
        except Full as error:
            raise status.internal(f"failed to allocate a serviceIP: {error}") from None
        draft.guards.append(where.guard())
        return address

    async def _give_named(self, draft: _Draft, address: str) -> None:
        where = self.addresses.covering(address)
        why = ""
        if draft.dry_run:
            why = "" if where is not None else self._out_of_range(address)
        elif where is None:
            why = "the provided network does not match the current range"
        elif self.addresses.is_taken(address) and await self._is_present(self.addresses.key(address)):
            why = "provided IP is already allocated"
        else:
            draft.guards.append(where.guard())
        if why:
            text = f"failed to allocate IP {address}: {why}"
            raise draft.refuse([invalid("spec.clusterIPs", draft.spec["clusterIPs"], text)])

    def _out_of_range(self, address: str) -> str:
        ready = self.addresses.ready(service_families.family_of(address))
        if not ready:
            return "allocator not ready"
        return f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {ready[0].range.cidr}"

    async def _give_ports(self, draft: _Draft, before: Obj | None) -> None:
        spec = draft.spec
        if spec["type"] in _NODE_PORT_TYPES:
            if before is None:
                await self._give_new_ports(draft)
            else:
                await self._give_updated_ports(draft, before)
        checked = service_strategy.needs_health_check(spec)
        if checked and not (before is not None and service_strategy.needs_health_check(before)):
            await self._give_health_check(draft)

    async def _give_new_ports(self, draft: _Draft) -> None:
        """Ports of one number share a node port, unless each names its own. Source: initNodePorts."""
        ports: list[Obj] = draft.spec.get("ports") or []
        asked: dict[int, int] = {}
        for port in reversed(ports):
            if port.get("nodePort"):
                asked[port.get("port", 0)] = port["nodePort"]
        chosen: dict[int, int] = {}
        for index, port in enumerate(ports):
            number, wanted = port.get("port", 0), port.get("nodePort")
            if not wanted and not _allocates(draft.spec):
                continue
            if number not in chosen:
                if number in asked:
                    await self._name_port(draft, index, asked[number])
                chosen[number] = asked.get(number) or draft.any_port()
                port["nodePort"] = chosen[number]
            elif not wanted:
                port["nodePort"] = chosen[number]
            elif wanted != chosen[number]:
                await self._name_port(draft, index, wanted)

    async def _give_updated_ports(self, draft: _Draft, before: Obj) -> None:
        had = {port["nodePort"] for port in before.get("ports") or () if port.get("nodePort")}
        named: set[int] = set()
        used: set[tuple[str, int]] = set()
        for index, port in enumerate(draft.spec.get("ports") or ()):
            wanted = port.get("nodePort")
            if not wanted and not _allocates(draft.spec):
                continue
            if not wanted:
                port["nodePort"] = draft.any_port()
            elif wanted not in had and wanted not in named:
                await self._name_port(draft, index, wanted)
                named.add(wanted)
            use = (port.get("protocol", ""), port["nodePort"])
            if use in used:
                raise status.unreasoned(f"duplicate nodePort: {{{use[0]} {use[1]}}}")
            used.add(use)

    async def _name_port(self, draft: _Draft, index: int, number: int) -> None:
        why = await self._refusal(draft, number)
        if why:
            raise draft.refuse([invalid(f"spec.ports[{index}].nodePort", number, why)])

    async def _refusal(self, draft: _Draft, number: int) -> str:
        try:
            draft.ports.named(number)
        except Refused as refused:
            return str(refused)
        is_taken = self._ports.is_taken(number) and await self._is_present(self._ports.key(number))
        return TAKEN if is_taken else ""

    async def _give_health_check(self, draft: _Draft) -> None:
        number = draft.spec.get("healthCheckNodePort")
        if number:
            why = await self._refusal(draft, number)
            if why:
                raise status.internal(f"failed to allocate requested HealthCheck NodePort {number}: {why}")
            return
        draft.spec["healthCheckNodePort"] = draft.any_port("a HealthCheck NodePort 0")

    async def _is_present(self, key: bytes) -> bool:
        """Ask the store itself: the cache may show what is already given back."""
        return bool(await self._storage.present((key,)))

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
        return Given(self.addresses.object(name, owner["namespace"], owner["name"]), (require(key, service.revision),))

    def missing(self, service: Obj) -> Claims:
        """Return claims on what a Service has and, as the cache shows, doesn't hold."""
        return tuple(claim for claim in self.claims(service, None) if not self._is_shown(claim.key))

    def _is_shown(self, key: bytes) -> bool:
        return self._storage.cache.entry(key) is not None

    def claims(self, new: Obj | None, old: Obj | None) -> Claims:
        """Return what a write of `new` over `old` takes and gives back; None: there is no Service before or after it.

        Raises ApiError 500 if it is more than a transaction can hold.
        """
        metadata = (new or old or {})["metadata"]
        whose = (metadata.get("namespace", ""), metadata["name"])
        addresses, had_addresses = _addresses(new), _addresses(old)
        ports, had_ports = _ports(new), _ports(old)
        claims = (
            *(self.addresses.claim(one, *whose) for one in addresses if one not in had_addresses),
            *(self.addresses.give_back(one, *whose) for one in had_addresses if one not in addresses),
            *(self._ports.claim(one, *whose) for one in ports if one not in had_ports),
            *(self._ports.give_back(one, *whose) for one in had_ports if one not in ports),
        )
        if len(claims) > CLAIMS_MAX:
            raise status.internal(f"a write can take and give back {CLAIMS_MAX} addresses and node ports at most")
        return claims


def _allocates(spec: Obj) -> bool:
    return spec["type"] == "NodePort" or spec.get("allocateLoadBalancerNodePorts") is not False


def _addresses(service: Obj | None) -> list[str]:
    spec = (service or {}).get("spec", {})
    if spec.get("type") == "ExternalName":
        return []
    return [service_families.canonical(one) for one in spec.get("clusterIPs") or () if one != "None"]


def _ports(service: Obj | None) -> list[int]:
    spec = (service or {}).get("spec", {})
    found = [port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")]
    if spec.get("healthCheckNodePort"):
        found.append(spec["healthCheckNodePort"])
    return list(dict.fromkeys(found))
