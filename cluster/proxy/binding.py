"""Sockets bound to the addresses that Services are served on."""

from __future__ import annotations

import socket

_IP_FREEBIND, _IPV6_FREEBIND = 15, 78
"""Linux: bind to an address that may become this host's only later, as ClusterIPs do by a route to them."""


def bound(protocol: str, host: str, port: int) -> socket.socket:
    """Return a TCP or UDP socket that has the address. Raises OSError if somebody else has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM)
    try:
        made.settimeout(0)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if protocol == "TCP":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made
