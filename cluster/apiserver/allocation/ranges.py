"""Ranges to choose from: which numbers they hold, and which band of them is given out unasked. Pure.

The lower band of a range is left to those who ask for a number of their own, until the upper one is full.
Source: KEP-3070, KEP-3668; calculateRangeOffset in upstream's ipallocator and portallocator.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator
from dataclasses import dataclass


class Full(Exception):
    """Nothing is left to allocate."""

    def __init__(self) -> None:
        super().__init__("range is full")


@dataclass(frozen=True, slots=True)
class Band:
    """Numbers `first` to `last`, both included; none if `last` is smaller."""

    first: int
    last: int

    def __len__(self) -> int:
        return max(0, self.last - self.first + 1)

    def around(self, randomness: random.Random) -> Iterator[int]:
        """Yield every number once, from a random one on."""
        count = len(self)
        start = randomness.randrange(count) if count else 0
        for step in range(count):
            yield self.first + (start + step) % count


@dataclass(frozen=True, slots=True)
class Span:
    """A range in its two bands: `dynamic` numbers are chosen first, `static` ones when those are used up."""

    static: Band
    dynamic: Band

    @property
    def first(self) -> int:
        """The lowest number."""
        return self.static.first

    @property
    def last(self) -> int:
        """The highest number."""
        return self.dynamic.last

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def around(self, randomness: random.Random) -> Iterator[int]:
        """Yield every number once: the dynamic band from a random one on, then the static one likewise."""
        yield from self.dynamic.around(randomness)
        yield from self.static.around(randomness)


def _span(first: int, last: int, static: int) -> Span:
    return Span(Band(first, first + static - 1), Band(first + static, last))


def _static(size: int, step: int, smallest: int, largest: int) -> int:
    return 0 if size <= smallest else min(max(smallest, size // step), largest)


def node_ports(first: int, last: int) -> Span:
    """Return the node ports `first` to `last`."""
    return _span(first, last, _static(last - first + 1, 32, 16, 128))


@dataclass(frozen=True, slots=True)
class AddressRange:
    """The addresses of a CIDR that Services may have, as numbers: all but the network's own and IPv4's broadcast."""

    cidr: str
    family: str
    network: int
    span: Span

    @classmethod
    def of(cls, cidr: str) -> AddressRange:
        """Read a CIDR. Raises ValueError."""
        network = ipaddress.ip_network(cidr, strict=False)
        low, high = int(network.network_address), int(network.broadcast_address)
        span = _span(low + 1, high - (network.version == 4), _static(network.num_addresses, 16, 16, 256))
        return cls(str(network), f"IPv{network.version}", low, span)

    def text(self, number: int) -> str:
        """Return the address that `number` stands for."""
        if self.family == "IPv6":
            return str(ipaddress.IPv6Address(number))
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"

    def holds(self, address: str) -> bool:
        """Tell whether a Service could have `address` (in canonical form) from here. Raises ValueError."""
        ip = ipaddress.ip_address(address)
        return f"IPv{ip.version}" == self.family and int(ip) in self.span
