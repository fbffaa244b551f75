"""What a Service is given before it is validated: addresses, families, node ports, or upstream's word why not.

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
from oarlock.cluster.apiserver.claims import Claim, Claims
from oarlock.cluster.apiserver.storage import Storage
from oarlock.cluster.objects import service_families, service_strategy, status
from oarlock.cluster.objects.causes import invalid
from oarlock.cluster.objects.status import ApiError, Cause

Obj = dict[str, Any]
NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


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
        self._addresses = addresses
        self._ports = ports

    async def give(self, service: Obj, old: Obj | None, *, dry_run: bool) -> Given:
        """Return a new Service (or, of `old`, an updated one) with what it lacks; the given one is left alone."""
        obj = {**service, "spec": copy.deepcopy(service["spec"])}
        spec, before = obj["spec"], old["spec"] if old is not None else None
        if before is not None:
            service_strategy.carry_over(spec, before)
        else:
            service_strategy.same_address(spec, None)
        draft = _Draft(service["metadata"].get("name", ""), spec, Taking(self._ports, dry_run=dry_run), dry_run)
        causes = service_families.settle(spec, before, self._addresses.families)
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
                return self._addresses.network(family)
            address, where = self._addresses.free(family)
        except Full as error:
            raise status.internal(f"failed to allocate a serviceIP: {error}") from None
        draft.guards.append(where.guard())
        return address

    async def _give_named(self, draft: _Draft, address: str) -> None:
        where = self._addresses.covering(address)
        why = ""
        if draft.dry_run:
            why = "" if where is not None else self._out_of_range(address)
        elif where is None:
            why = "the provided network does not match the current range"
        elif self._addresses.is_taken(address) and await self._is_present(self._addresses.key(address)):
            why = "provided IP is already allocated"
        else:
            draft.guards.append(where.guard())
        if why:
            text = f"failed to allocate IP {address}: {why}"
            raise draft.refuse([invalid("spec.clusterIPs", draft.spec["clusterIPs"], text)])

    def _out_of_range(self, address: str) -> str:
        ready = self._addresses.ready(service_families.family_of(address))
        if not ready:
            return "allocator not ready"
        return f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {ready[0].range.cidr}"

    async def _give_ports(self, draft: _Draft, before: Obj | None) -> None:
        spec = draft.spec
        if spec["type"] in NODE_PORT_TYPES:
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


def _allocates(spec: Obj) -> bool:
    return spec["type"] == "NodePort" or spec.get("allocateLoadBalancerNodePorts") is not False
