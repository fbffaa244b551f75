"""The host's routes, by the `ip` command of iproute2: the only place that reads or changes them.

Ours carry a protocol number of their own, so that we know them again and never touch another program's. They stay when
the agent ends, as the containers do; `remove_routes` takes them away.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oarlock.cluster.kubelet.network.plan import Host, HostRoute, Route

PROTOCOL = "200"
_KERNEL, _UNICAST, _LOCAL = "2", "1", "2"
"""As `ip -N` prints a route's protocol (made by the kernel for the network of an address) and types."""
TIMEOUT_S = 10.0
_CAP_NET_ADMIN = 12
_NONLOCAL_BIND = Path("/proc/sys/net/ipv6/ip_nonlocal_bind")
_GUARD = "\0oarlock-routes"
_PLACES = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class NetworkFailure(Exception):
    """Routes can't be had as they should be; a sentence for the operator."""


class IpRoute:
    """Reads and changes routes. Calls take some milliseconds and block. Raises NetworkFailure."""

    def __init__(self, program: str = "ip") -> None:
        self._program = program
        self._guard: socket.socket | None = None

    def open(self, ip: str) -> None:
        """Take the host's routes for oneself; `ip` is the host's address, whose family pods' addresses will have.

        Raises if routes can't be changed at all, if they wouldn't do, or if another agent has them.
        """
        self.check()
        if ":" in ip and _NONLOCAL_BIND.exists() and _NONLOCAL_BIND.read_text().strip() == "0":
            raise NetworkFailure(
                "Linux lets no process bind an IPv6 address that it has by a route alone: "
                "set net.ipv6.ip_nonlocal_bind to 1 with sysctl"
            )
        self._guard = claim()

    def close(self) -> None:
        """Let another agent have them; they stay as they are."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def check(self) -> None:
        """Raise if routes can't be changed: no `ip`, or not the right to."""
        if shutil.which(self._program, path=_PLACES) is None:
            raise NetworkFailure(
                f"the routed network needs the command {self._program} (package iproute2), and there is none"
            )
        if not _capabilities() >> _CAP_NET_ADMIN & 1:
            raise NetworkFailure(
                "the routed network needs the capability CAP_NET_ADMIN: run the agent as root, or give it that one"
            )

    def ours(self) -> list[Route]:
        """Return the routes that carry our mark, in either family."""
        found = []
        for entry in self._both("route", "show", "table", "all", "proto", PROTOCOL):
            via = "" if entry.get("type") == _LOCAL else str(entry.get("gateway", "?"))
            found.append(Route(_destination(entry["dst"], entry), via, str(entry.get("prefsrc", ""))))
        return found

    def host(self) -> Host:
        """Return addresses and routes that aren't ours."""
        addresses = {
            str(one["local"]): str(link["ifname"])
            for link in self._run("-j", "addr", "show")
            for one in link.get("addr_info") or ()
            if one.get("local")
        }
        routes = [
            HostRoute(_destination(entry["dst"], entry), "gateway" not in entry and entry.get("protocol") == _KERNEL)
            for entry in self._both("route", "show", "table", "main")
            if entry.get("protocol") != PROTOCOL and entry.get("type", _UNICAST) == _UNICAST
        ]
        return Host(addresses, routes)

    def add(self, route: Route) -> None:
        """Set a route. Raises if there is one to the same range already, whoever made it."""
        source = ["src", route.source] if route.source else []
        try:
            self._run(_family(route), "route", "add", *_words(route), *source)
        except NetworkFailure as failure:
            raise NetworkFailure(_reason(route, str(failure))) from None

    def remove(self, route: Route) -> None:
        """Remove a route of ours; one that is gone is not an error."""
        try:
            self._run(_family(route), "route", "del", *_words(route))
        except NetworkFailure as failure:
            if "No such process" not in str(failure):
                raise

    def _both(self, *words: str) -> list[dict[str, Any]]:
        """Ask for IPv4 and IPv6; a host without one of them has nothing there."""
        found = []
        for family in ("-4", "-6"):
            try:
                found += [{**entry, "family": family} for entry in self._run("-j", "-N", family, *words)]
            except NetworkFailure as failure:
                if "not supported" not in str(failure):
                    raise
        return found

    def _run(self, *words: str) -> list[dict[str, Any]]:
        program = shutil.which(self._program, path=_PLACES) or self._program
        command = " ".join([self._program, *words])
        try:
            done = subprocess.run(
                [program, *words], capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env={"LC_ALL": "C"}
            )
            if done.returncode:
                raise NetworkFailure(f"{command}: {_said(done.stderr)}")
            return _objects(json.loads(done.stdout)) if "-j" in words and done.stdout.strip() else []
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise NetworkFailure(f"{command}: {error}") from None


def claim() -> socket.socket:
    """Take this host's routes for oneself, for as long as the returned socket is open. Raises NetworkFailure.

    A name without a file: the kernel keeps it for each network apart, and frees it however its process ends.
    """
    guard = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        guard.bind(_GUARD)
    except OSError:
        guard.close()
        raise NetworkFailure("another agent keeps the routes of this host: one routed node fits on each") from None
    return guard


def remove_routes(ip: IpRoute | None = None) -> int:
    """Remove every route that an agent has left on this host; return how many there were. Raises NetworkFailure.

    For the end of a node, once its agent and its containers have ended.
    """
    ip = ip or IpRoute()
    with claim():
        routes = ip.ours()
        for route in routes:
            ip.remove(route)
    return len(routes)


def _words(route: Route) -> Sequence[str]:
    mark = ("proto", PROTOCOL)
    if not route.via:
        return ("local", route.destination, "dev", "lo", "table", "local", *mark)
    return (route.destination, "via", route.via, "table", "main", *mark)


def _reason(route: Route, said: str) -> str:
    """Return what an operator can do something about, where that is known."""
    if "File exists" in said:
        return f"this host has a route of its own to {route.destination}"
    if route.via and ("invalid gateway" in said or "unreachable" in said):
        return f"{route.via} is in no network that this host is connected to: all nodes must be neighbours on one"
    return said


def _family(route: Route) -> str:
    return "-6" if ":" in route.destination else "-4"


def _destination(text: str, entry: dict[str, Any]) -> str:
    if text == "default":
        return "0.0.0.0/0" if entry["family"] == "-4" else "::/0"
    return str(ipaddress.ip_network(text, strict=False))


def _objects(found: Any) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict) and one]


def _said(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line]
    return lines[-1].removeprefix("RTNETLINK answers: ").removeprefix("Error: ") if lines else "it failed"


def _capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
