"""`oarlock haproxy-config`: prints the configuration of a HAProxy in front of a cluster's API servers."""

from __future__ import annotations

from typing import TextIO

from oarlock.cluster.balancer.haproxy import HaproxySettings, configuration
from oarlock.cluster.balancer.settings import Address
from oarlock.cluster.boot.access import access_to
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.state import StateFolder

CONNECTIONS_MAX = 1_000_000
CHECKS_MAX = 1000


def show(
    folder: StateFolder, name: str, bind: str, metrics: str, connections_max: int, checks_max: int, out: TextIO
) -> None:
    """Print the configuration; the cluster need not run. Raises BootError."""
    access = access_to(folder)
    if access is None:
        raise BootError(f"there is no cluster {name} in {folder.path}", f"Make it: oarlock up --name {name}.")
    for flag, number, most in (
        ("--connections", connections_max, CONNECTIONS_MAX),
        ("--checks", checks_max, CHECKS_MAX),
    ):
        if not 1 <= number <= most:
            raise BootError(f"{flag} {number} is out of range", f"Use a number from 1 to {most}.")
    settings = HaproxySettings(
        address("--bind", bind),
        access.api_servers,
        str(folder.pki / "ca.crt"),
        checks_failed_max=checks_max,
        connections_max=connections_max,
        metrics=address("--metrics", metrics) if metrics else None,
    )
    out.write(configuration(settings))


def address(flag: str, text: str) -> Address:
    """Return HOST:PORT as a pair; an IPv6 address stands in brackets, as HAProxy has it. Raises BootError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise BootError(f"{flag} {text!r} is no address", "Use HOST:PORT, such as 0.0.0.0:7443 or [::]:7443.")
    if any(letter.isspace() or letter in "\"'#\\$" for letter in host):
        raise BootError(f"{flag} {text!r} is no address", "Use HOST:PORT, such as 0.0.0.0:7443 or [::]:7443.")
    return host, int(port)
