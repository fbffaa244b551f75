"""Hosts on one machine: network namespaces on a bridge, whose packets can be dropped in one direction.

A cut from A to B gives A a wrong hardware address for B: what A sends to B is lost in silence, as by a broken wire,
and what B sends still arrives. That needs nothing but `ip`, and no packet filter in the kernel.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
"""What it takes to make namespaces and to mount disks, with the numbers of the kernel's bits."""
CLIENT = "client"
"""The test process itself, on the bridge."""
NOWHERE = "02:00:00:00:de:ad"
_NUMBERS = count()


def missing() -> str:
    """Return what this process lacks to make hosts, "" for nothing."""
    lacks = [tool for tool in ("ip", "mount", "umount") if shutil.which(tool) is None]
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    effective = int(status["CapEff"], 16)
    lacks += [name for name, bit in CAPABILITIES.items() if not effective >> bit & 1]
    return f"hosts are network namespaces with disks of their own: that needs {', '.join(lacks)}" if lacks else ""


class Network:
    """A bridge of this process, with a namespace for every host. See `missing`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.hosts = (*names, CLIENT)
        number = next(_NUMBERS)  # what the last one of this process was made of may take a while to go
        self._tag = f"o{os.getpid() % 100_000}x{number % 100}"
        self._bridge = f"{self._tag}b"
        self._subnet = f"10.199.{(os.getpid() + number) % 250}"
        self._cuts: set[tuple[str, str]] = set()

    def address(self, host: str) -> str:
        return f"{self._subnet}.{self.hosts.index(host) + 1}"

    def namespace(self, host: str) -> str:
        return f"{self._tag}{host}"

    def _hardware(self, host: str) -> str:
        return f"02:00:00:00:01:{self.hosts.index(host) + 1:02x}"

    async def open(self) -> None:
        """Make bridge and namespaces; every host reaches every other."""
        bridge = self._bridge
        await ip("link", "add", bridge, "address", self._hardware(CLIENT), "type", "bridge")
        await ip("addr", "add", f"{self.address(CLIENT)}/24", "dev", bridge)
        await ip("link", "set", bridge, "up")
        for host in self.hosts[:-1]:
            space, outside = self.namespace(host), f"{self._tag}v{host}"
            await ip("netns", "add", space)
            inside = ("peer", "name", "eth0", "address", self._hardware(host), "netns", space)
            await ip("link", "add", outside, "type", "veth", *inside)
            await ip("link", "set", outside, "master", bridge, "up")
            await ip("-n", space, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            await ip("-n", space, "link", "set", "lo", "up")
            await ip("-n", space, "link", "set", "eth0", "up")
        for one in self.hosts:
            for other in self.hosts:
                if one != other:
                    await self._point(one, other, self._hardware(other))

    async def close(self) -> None:
        """Remove it all."""
        for host in self.hosts[:-1]:
            await ip("netns", "del", self.namespace(host), missing_ok=True)
        await ip("link", "del", self._bridge, missing_ok=True)

    async def cut(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Lose what any of the sources sends to any of the targets."""
        targets = list(targets)
        for source in sources:
            for target in targets:
                if source != target:
                    self._cuts.add((source, target))
                    await self._point(source, target, NOWHERE)

    async def part(self, some: Iterable[str], others: Iterable[str]) -> None:
        """Lose everything between two groups."""
        some, others = list(some), list(others)
        await self.cut(some, others)
        await self.cut(others, some)

    async def heal(self) -> None:
        """Let everything arrive again."""
        for source, target in sorted(self._cuts):
            await self._point(source, target, self._hardware(target))
        self._cuts.clear()

    async def _point(self, source: str, target: str, hardware: str) -> None:
        where = [] if source == CLIENT else ["-n", self.namespace(source)]
        device = self._bridge if source == CLIENT else "eth0"
        entry = ("lladdr", hardware, "dev", device, "nud", "permanent")
        await ip(*where, "neigh", "replace", self.address(target), *entry)


async def ip(*arguments: str, missing_ok: bool = False) -> None:
    """Run the ip command; raises OSError with what it said."""
    await run("ip", *arguments, missing_ok=missing_ok)


async def run(*command: str, missing_ok: bool = False) -> None:
    """Run a command; raises OSError with what it said."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode and not missing_ok:
        raise OSError(f"{' '.join(command)}: {said.decode().strip()}")
