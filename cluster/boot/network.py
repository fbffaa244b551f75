"""Addresses of a cluster on one machine: free ports, and a slot of loopback networks of its own.

Every address in 127.0.0.0/8 is local on Linux, so pods and Services get addresses there without any privilege.
Decision 0003.
"""

from __future__ import annotations

import random
import socket
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from oarlock.cluster.boot.errors import BootError

LOOPBACK = "127.0.0.1"
SLOTS = 60
GUARD_PORT = 47474
PORTS = range(20_000, 30_000)
"""Where ports are chosen from: below those of Services (node ports) and of outgoing connections."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One cluster's share of 127.0.0.0/8: 127.(64+n).0.0/16 for nodes and pods, 127.(128+n).0.0/16 for Services.

    It has a share of the ports too, so that clusters that start at the same time never choose the same one.
    """

    number: int

    @property
    def ports(self) -> range:
        share = len(PORTS) // SLOTS
        return PORTS[self.number * share : (self.number + 1) * share]

    @property
    def service_cidr(self) -> str:
        return f"127.{128 + self.number}.0.0/16"

    @property
    def first_service_ip(self) -> str:
        return f"127.{128 + self.number}.0.1"

    def node_ip(self, node: int) -> str:
        """The InternalIP of node `node`, counted from 1."""
        return f"127.{64 + self.number}.0.{node}"

    def pod_ip_prefix(self, node: int) -> str:
        """The first three numbers of the addresses of that node's pods."""
        return f"127.{64 + self.number}.{node}"

    def hold(self) -> socket.socket:
        """Claim the slot for as long as the returned socket is open. Raises OSError if another cluster holds it.

        A listening socket is the lock: the kernel frees it however its process ends, and it works between users.
        """
        guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            guard.bind((f"127.{64 + self.number}.255.254", GUARD_PORT))
            guard.listen(1)
        except OSError:
            guard.close()
            raise
        return guard


def hold_slot(seed: str) -> tuple[Slot, socket.socket]:
    """Choose a free slot and hold it; the same seed gets the same one while nobody else holds it. Raises BootError."""
    first = zlib.crc32(seed.encode()) % SLOTS
    for step in range(SLOTS):
        slot = Slot((first + step) % SLOTS)
        try:
            return slot, slot.hold()
        except OSError:
            continue
    raise BootError(f"all {SLOTS} network slots of this machine are taken", "Stop a cluster: oarlock down --name NAME.")


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on the port right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int, host: str = LOOPBACK, among: Sequence[int] = PORTS) -> list[int]:
    """Return `count` different ports that nothing listened on just now, of the kernel's choice if `among` lacks them.

    They aren't of those that the kernel gives to outgoing connections, which could take one before it is used.
    """
    low, high = _outgoing()
    candidates = [port for port in among if not low <= port <= high]
    random.shuffle(candidates)
    found = list(islice((port for port in candidates if is_free(port, host)), count))
    return found + _any_ports(count - len(found), host)


def _outgoing() -> tuple[int, int]:
    """Return the first and the last port that outgoing connections may have. Source: ip(7)."""
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(low), int(high)


def _any_ports(count: int, host: str) -> list[int]:
    """Return free ports of the kernel's choice."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((host, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
