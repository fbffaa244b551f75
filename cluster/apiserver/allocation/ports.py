"""Which node ports are free, how one is held, and the ports of one write as they are taken one after the other.

A port is the key `/registry/ranges/servicenodeports/PORT` (upstream has one bitmap under that name), so the watch cache
knows all of them and `etcdctl` shows whose each is. Source: upstream's portallocator package.
"""

from __future__ import annotations

import random

from oarlock.cluster.apiserver.allocation.ranges import Full, node_ports
from oarlock.cluster.apiserver.claims import Claim, release, require, take
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects import codec

PREFIX = b"/registry/ranges/servicenodeports/"
GUESSES = 32
_DRY_RUN_BASE = 32768
TAKEN = "provided port is already allocated"


class Refused(Exception):
    """A requested port can't be had; the text says why."""


class Ports:
    """Chooses node ports and makes claims on them."""

    def __init__(self, limits: tuple[int, int], cache: WatchCache) -> None:
        self._span = node_ports(*limits)
        self._cache = cache
        self._random = random.Random()

    def __contains__(self, port: int) -> bool:
        return port in self._span

    def __str__(self) -> str:
        return f"{self._span.first}-{self._span.last}"

    def key(self, port: int) -> bytes:
        """Return the store key of a port."""
        return PREFIX + str(port).encode()

    def is_taken(self, port: int) -> bool:
        """Tell whether the cache shows that `port` is somebody's."""
        return self.key(port) in self._cache.collection(PREFIX).entries

    def free(self, chosen: set[int]) -> int:
        """Return a port that seems free and is not among those `chosen`. Raises Full."""
        used = self._cache.collection(PREFIX).entries
        band = self._span.dynamic
        for _ in range(GUESSES if len(band) else 0):
            port = self._random.randint(band.first, band.last)
            if port not in chosen and self.key(port) not in used:
                return port
        for port in self._span.around(self._random):
            if port not in chosen and self.key(port) not in used:
                return port
        raise Full

    def claim(self, port: int, namespace: str, name: str) -> Claim:
        """Take `port` for a Service."""
        holder = {"resource": "services", "namespace": namespace, "name": name}
        held = {"kind": "NodePort", "apiVersion": "internal.oarlock/v1", "metadata": {"name": str(port)}}
        return take(self.key(port), codec.encode({**held, "parentRef": holder}))

    def give_back(self, port: int, namespace: str, name: str) -> Claim:
        """Return what becomes of a Service's port that it no longer has: see `Addresses.give_back`."""
        entry = self._cache.collection(PREFIX).entries.get(self.key(port))
        if entry is None:
            return require(self.key(port), 0)
        holder = entry.object().get("parentRef") or {}
        is_ours = (holder.get("namespace"), holder.get("name")) == (namespace, name)
        return release(entry.key, entry.revision) if is_ours else require(entry.key, entry.revision)


class Taking:
    """The ports of one write."""

    def __init__(self, ports: Ports, *, dry_run: bool) -> None:
        self._ports = ports
        self._dry_run = dry_run
        self._chosen: set[int] = set()

    def named(self, port: int) -> None:
        """Take the port that a client names. Raises Refused; whether another Service has it is for the caller to ask.

        A dry run doesn't look at the range. Source: upstream's portallocator/operation.go.
        """
        if not self._dry_run and port not in self._ports:
            raise Refused(f"provided port is not in the valid range. The range of valid ports is {self._ports}")
        if port in self._chosen:
            raise Refused(TAKEN)
        self._chosen.add(port)

    def any(self) -> int:
        """Take a free port. Raises Full. A dry run shows a made-up one, outside of the range."""
        port = self._made_up() if self._dry_run else self._ports.free(self._chosen)
        self._chosen.add(port)
        return port

    def _made_up(self) -> int:
        return max(0, *self._chosen) + 1 if self._chosen else _DRY_RUN_BASE + 1
