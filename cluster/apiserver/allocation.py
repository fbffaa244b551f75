"""Service addresses and node ports: chosen here, taken in the Service's own transaction.

An address is a store key `/oarlock/allocations/ips/ADDRESS`, a port `/oarlock/allocations/nodeports/PORT`; the value
is the Service's store key. A choice that turns out to be taken is simply made again.
"""

from __future__ import annotations

import ipaddress
import random

from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import resources

IPS = b"/oarlock/allocations/ips/"
PORTS = b"/oarlock/allocations/nodeports/"
PROBES_MAX = 32
SMALL_RANGE = 1024
"""In smaller ranges a blind guess is likely to be taken, so what is in use is looked up first."""


class Full(Exception):
    """Nothing is left to allocate; the text says of what."""


class Pool:
    """Chooses free Service addresses and node ports.

    What is in use is known from the watch cache's Services, possibly a moment late, which only costs another attempt;
    `avoid` holds what a transaction has just found taken.
    """

    def __init__(self, service_cidr: str, node_ports: tuple[int, int], cache: WatchCache) -> None:
        self._network = ipaddress.ip_network(service_cidr)
        self.port_range = node_ports
        self._cache = cache
        self._avoid: set[bytes] = set()
        self._services = resources.lookup("", "v1", "services")
        self.api_server_address = str(self._network[1])

    def contains(self, address: str) -> bool:
        """Tell whether `address` is one that a Service may have. Raises ValueError for what is no address."""
        ip = ipaddress.ip_address(address)
        return ip in self._network and ip not in (self._network[0], self._network[-1])

    def contains_port(self, port: int) -> bool:
        """Tell whether `port` is in the node port range."""
        return self.port_range[0] <= port <= self.port_range[1]

    def avoid(self, keys: tuple[bytes, ...]) -> None:
        """Remember keys that were found taken, until they are seen in use."""
        if len(self._avoid) > 4096:
            self._avoid.clear()
        self._avoid.update(keys)

    def free_address(self) -> str:
        """Return an address that seems free. Raises Full."""
        last = self._network.num_addresses - 2
        used = self._used()[0] if last < SMALL_RANGE else set()
        for _ in range(PROBES_MAX):
            address = str(self._network[random.randint(2, max(last, 2))])
            if address not in used and IPS + address.encode() not in self._avoid:
                return address
        self._avoid.clear()
        used = self._used()[0]
        for number in range(2, last + 1):
            address = str(self._network[number])
            if address not in used:
                return address
        raise Full("range is full")

    def free_port(self, chosen: set[int]) -> int:
        """Return a port that seems free and is not among those `chosen`. Raises Full."""
        first, last = self.port_range
        used = chosen | self._used()[1] if last - first < SMALL_RANGE else chosen
        for _ in range(PROBES_MAX):
            port = random.randint(first, last)
            if port not in used and PORTS + str(port).encode() not in self._avoid:
                return port
        self._avoid.clear()
        used = chosen | self._used()[1]
        for port in range(first, last + 1):
            if port not in used:
                return port
        raise Full("range is full")

    def _used(self) -> tuple[set[str], set[int]]:
        assert self._services is not None
        addresses: set[str] = set()
        ports: set[int] = set()
        for entry in self._cache.collection(self._services.key_prefix).entries.values():
            spec = entry.object().get("spec", {})
            addresses.update(spec.get("clusterIPs") or ())
            ports.update(port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort"))
        return addresses, ports
