"""What is to be said of addresses and ranges that are accepted as they are written, and shouldn't be written so.

Source: apimachinery `pkg/util/validation/ip.go` (GetWarningsForIP, GetWarningsForCIDR).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from oarlock.cluster.objects.gotext import quote


def of_address(path: str, text: str) -> Iterator[str]:
    """Say that an address has leading zeros, is an IPv4 address within IPv6, or isn't in canonical form."""
    try:
        address = ipaddress.ip_address(_without_zeros(text))
    except ValueError:
        return
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if mapped is not None or _without_zeros(text) != text:
        better = quote(str(mapped or address))
        yield (
            f"{path}: non-standard IP address {quote(text)} will be considered invalid in a future Kubernetes release: "
            f"use {better}"
        )
    elif address.version == 6 and str(address) != text:
        yield f"{path}: IPv6 address {quote(text)} should be in RFC 5952 canonical format ({quote(str(address))})"


def of_range(path: str, text: str) -> Iterator[str]:
    """The same for a range, which should also have no bits set beyond its prefix."""
    plain, _, length = text.partition("/")
    try:
        interface = ipaddress.ip_interface(f"{_without_zeros(plain)}/{int(length)}")
    except ValueError:
        return
    network = str(interface.network)
    mapped = interface.ip.ipv4_mapped if isinstance(interface, ipaddress.IPv6Interface) else None
    if mapped is not None or f"{_without_zeros(plain)}/{int(length)}" != text:
        yield (
            f"{path}: non-standard CIDR value {quote(text)} will be considered invalid in a future Kubernetes release: "
            f"use {quote(network)}"
        )
    elif interface.ip != interface.network.network_address:
        alone = quote(f"{interface.ip}/{interface.max_prefixlen}")
        yield f"{path}: CIDR value {quote(text)} is ambiguous in this context (should be {quote(network)} or {alone}?)"
    elif interface.version == 6 and str(interface) != text:
        yield f"{path}: IPv6 CIDR value {quote(text)} should be in RFC 5952 canonical format ({quote(str(interface))})"


def _without_zeros(text: str) -> str:
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts):
        return text
    return ".".join(str(int(part)) for part in parts)
