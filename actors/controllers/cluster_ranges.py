"""The cluster's ranges of pod addresses, divided into blocks of one size, one for each node: pure.

Source: upstream's flags --cluster-cidr and --node-cidr-mask-size; `pkg/controller/nodeipam`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PREFIXES = {4: 24, 6: 64}
_IPV6_STEP_MAX = 16
"""Upstream's bound: an IPv6 range has at most 65,536 blocks."""
_PARSED_MAX = 65_536


@dataclass(frozen=True)
class ClusterRange:
    """One range of the cluster; each block in it has the given prefix length."""

    network: Network
    prefix: int

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return 1 << (self.prefix - self.network.prefixlen)

    def block(self, number: int) -> str:
        """Return block `number`, counted from 0, as a CIDR."""
        first = int(self.network.network_address) + (number << (self.network.max_prefixlen - self.prefix))
        kind = ipaddress.IPv4Address if self.network.version == 4 else ipaddress.IPv6Address
        return f"{kind(first)}/{self.prefix}"

    def touched(self, cidr: str) -> range:
        """Return the numbers of the blocks that a CIDR has an address of; none for one that lies elsewhere."""
        return _touched(self, cidr)

    def free(self, used: Container[int], first: int) -> int | None:
        """Return the first block from `first` on, and then from 0, that is not used; None if all are."""
        for step in range(self.count):
            number = (first + step) % self.count
            if number not in used:
                return number
        return None


@lru_cache(_PARSED_MAX)
def _touched(one: ClusterRange, cidr: str) -> range:
    try:
        other = ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return range(0)
    if other.version != one.network.version or not other.overlaps(one.network):
        return range(0)
    shift, base = one.network.max_prefixlen - one.prefix, int(one.network.network_address)
    first = max(int(other.network_address), base)
    last = min(int(other.broadcast_address), int(one.network.broadcast_address))
    return range((first - base) >> shift, ((last - base) >> shift) + 1)


def cluster_ranges(settings: Mapping[str, object]) -> tuple[ClusterRange, ...]:
    """Read `cluster_cidr` (one range, or one of each family with a comma between) and the blocks' prefix lengths.

    `node_cidr_mask_size` is for a cluster of one family, `node_cidr_mask_size_ipv4` and `…_ipv6` are for either.
    None without `cluster_cidr`. Raises ValueError with a sentence for whoever set it.
    """
    text = str(settings.get("cluster_cidr") or "")
    networks = [_network(one.strip()) for one in text.split(",")] if text else []
    if len(networks) > 2 or len({one.version for one in networks}) < len(networks):
        raise ValueError(f"cluster_cidr {text} is neither one range nor one of each IP family")
    if len(networks) == 2 and settings.get("node_cidr_mask_size"):
        raise ValueError("node_cidr_mask_size fits one IP family: set node_cidr_mask_size_ipv4 and _ipv6 instead")
    return tuple(_range(one, settings) for one in networks)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"cluster_cidr: {error}") from None


def _range(network: Network, settings: Mapping[str, object]) -> ClusterRange:
    own = settings.get(f"node_cidr_mask_size_ipv{network.version}")
    prefix = int(str(settings.get("node_cidr_mask_size") or own or _PREFIXES[network.version]))
    if not network.prefixlen <= prefix <= network.max_prefixlen:
        raise ValueError(f"cluster_cidr {network} has no blocks of /{prefix} for nodes")
    if network.version == 6 and prefix - network.prefixlen > _IPV6_STEP_MAX:
        raise ValueError(f"cluster_cidr {network} has more than 65,536 blocks of /{prefix}: choose shorter ones")
    return ClusterRange(network, prefix)
