"""Which routes a host needs, what stands in their way, and what is to be changed: pure.

Every address of the node's own range and of the Services' is local to the host (AnyIP), so that a process may listen
on it; every other node's range lies behind that node's address. Decision 0036.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect, insort
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

Object = Mapping[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

RUNTIME_LABEL = "oarlock.dev/runtime"
_PARSED_MAX = 16_384


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """To a range by way of `via`, or, where that is "", to this host itself.

    `source` is the address that a connection to the range comes from unless it has chosen one.
    """

    destination: str
    via: str
    source: str


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route that isn't ours; `direct`: its range is that of a network that the host is connected to."""

    destination: str
    direct: bool


@dataclass(frozen=True, slots=True)
class Host:
    """What there is besides our routes: addresses with the device that has them, and routes."""

    addresses: Mapping[str, str] = field(default_factory=dict[str, str])
    routes: Collection[HostRoute] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """`own` is this node's range, "" while it has none. `routes` tells for each whose it is, "" for our own ones.

    `conflicts` are the nodes whose range somebody else had before, with a sentence for each.
    """

    own: str
    routes: Mapping[Route, str]
    conflicts: Mapping[str, str]


@dataclass(slots=True)
class _Claims:
    """Ranges that don't overlap, and whose they are."""

    _held: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])

    def claim(self, network: Network, owner: str) -> str:
        """Return who has some of the range already; "" if nobody has, and from now on `owner` does."""
        first, last = int(network.network_address), int(network.broadcast_address)
        place = bisect(self._held, (first, last, ""))
        for start, end, holder in self._held[max(0, place - 1) : place + 1]:
            if start <= last and first <= end:
                return holder
        insort(self._held, (first, last, owner))
        return ""


def plan(name: str, ip: str, nodes: Iterable[Object], service_cidrs: Iterable[Object]) -> Plan:
    """Return the routes of the host of node `name`, whose address is `ip`: those of that address' family.

    Where ranges overlap the Services come first and then the older node. Simulated nodes have no routes, for nobody is
    there, nor has a node that says it is at our own address.
    """
    version = ipaddress.ip_address(ip).version
    claims = _Claims()
    routes: dict[Route, str] = {}
    for cidr in _service_ranges(service_cidrs, version):
        if not claims.claim(network_of(cidr), "the Services"):
            routes[Route(cidr, "", ip)] = ""
    own, conflicts = "", {}
    for node in sorted(nodes, key=_age):
        its_name, cidr = node["metadata"]["name"], pod_range(node, version)
        if not cidr or (node["metadata"].get("labels") or {}).get(RUNTIME_LABEL) == "hollow":
            continue
        own = cidr if its_name == name else own
        via = "" if its_name == name else internal_ip(node, version)
        if its_name != name and via in ("", ip):
            continue
        holder = claims.claim(network_of(cidr), f"node {its_name}")
        if holder:
            conflicts[its_name] = f"the range {cidr} of node {its_name} overlaps that of {holder}"
        else:
            routes[Route(cidr, via, ip)] = "" if its_name == name else its_name
    return Plan(own, routes, conflicts)


def difference(present: Collection[Route], wanted: Collection[Route]) -> tuple[list[Route], list[Route]]:
    """Return which routes are to go and which are to come, in that order; those to the host itself come first."""
    coming = set(wanted) - set(present)
    return sorted(set(present) - set(wanted)), sorted(coming, key=lambda route: (bool(route.via), route))


def obstacle(route: Route, host: Host) -> str:
    """Return in a sentence what of the host a route would get in the way of, "" if nothing.

    That is an address of the host's own in the range, a network that it is connected to, or a route to a part of it. A
    wider route by way of a gateway goes on leading to all the rest.
    """
    network = network_of(route.destination)
    for address, device in host.addresses.items():
        if ipaddress.ip_address(address) in network:
            return f"the range {route.destination} holds this host's own address {address} ({device})"
    for other in host.routes:
        its = network_of(other.destination)
        if its.version == network.version and its.prefixlen and its.overlaps(network):
            if other.direct:
                return f"the range {route.destination} overlaps the network {other.destination} that this host is in"
            if its.prefixlen >= network.prefixlen:
                return f"this host has a route of its own to {other.destination}, in the range {route.destination}"
    return ""


def pod_range(node: Object, version: int) -> str:
    """Return the node's range of pod addresses of an IP family, in its canonical form; "" if it has none."""
    return next((cidr for cidr in _ranges(node["spec"].get("podCIDRs") or (), version)), "")


def internal_ip(node: Object, version: int) -> str:
    """Return the node's address of an IP family, "" if it has told none."""
    for one in (node.get("status") or {}).get("addresses") or ():
        if one.get("type") == "InternalIP" and ipaddress.ip_address(one["address"]).version == version:
            return str(one["address"])
    return ""


def relevant(node: Object | None) -> object:
    """Return what of a Node its routes depend on, to compare."""
    if node is None:
        return None
    addresses = (node.get("status") or {}).get("addresses")
    return node["metadata"].get("uid"), (node.get("spec") or {}).get("podCIDRs"), addresses


@lru_cache(_PARSED_MAX)
def network_of(cidr: str) -> Network:
    return ipaddress.ip_network(cidr, strict=False)


def _ranges(cidrs: Iterable[str], version: int) -> Iterator[str]:
    for cidr in cidrs:
        network = network_of(cidr)
        if network.version == version:
            yield str(network)


def _service_ranges(service_cidrs: Iterable[Object], version: int) -> Iterator[str]:
    """Narrower ones that a wider one covers add nothing."""
    found = {cidr for one in service_cidrs for cidr in _ranges(one["spec"].get("cidrs") or (), version)}
    yield from sorted(found, key=lambda cidr: (network_of(cidr).prefixlen, cidr))


def _age(node: Object) -> tuple[str, str]:
    metadata = node["metadata"]
    return metadata.get("creationTimestamp") or "", metadata["name"]
