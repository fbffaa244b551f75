"""Connections between simulated hosts, with the faults that TCP shows: silence, late bytes, resets, refusals.

A host is cut off in one direction or both, or has no power. Connections of replicas may be made hostile beyond TCP:
then whole frames are lost, repeated and overtaken as well.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from simulation.clock import Schedule
from simulation.connections import Connection
from simulation.process import Process

SYN_AGAIN_S = (1.0, 2.0, 4.0)


class Listener:
    """What `create_server` returns."""

    sockets: tuple[Any, ...] = ()

    def __init__(
        self, network: Network, process: Process, factory: Callable[[], Any], address: tuple[str, int]
    ) -> None:
        self.process = process
        self.factory = factory
        self._network = network
        self._address = address

    def close(self) -> None:
        self._network.close(self._address, self)

    async def wait_closed(self) -> None:
        """Closed already."""


class Network:
    """All hosts' listeners and connections, and which host reaches which."""

    def __init__(
        self,
        schedule: Schedule,
        rng: random.Random,
        stats: Counter[str],
        trace: Callable[..., None],
        *,
        hostile: Iterable[str] = (),
    ) -> None:
        """Connections among the hosts in `hostile` have hostile messages, as long as `hostility` is above 0."""
        self.schedule = schedule
        self.rng = rng
        self.stats = stats
        self.trace = trace
        self.cuts: set[tuple[str, str]] = set()
        self.down: set[str] = set()
        """Hosts without power: they refuse nothing and answer nothing."""
        self.slowness = 1.0
        """How many times slower than usual bytes travel."""
        self.hostility = 0.0
        self._hostile = frozenset(hostile)
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._connections: dict[Connection, None] = {}

    def listen(self, process: Process, factory: Callable[[], Any], host: str, port: int) -> Listener:
        address = (host, port)
        if address in self._listeners and self._listeners[address].process.alive:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        listener = self._listeners[address] = Listener(self, process, factory, address)
        return listener

    def close(self, address: tuple[str, int], listener: Listener) -> None:
        if self._listeners.get(address) is listener:
            del self._listeners[address]

    def reaches(self, one: str, other: str) -> bool:
        return (one, other) not in self.cuts and one not in self.down and other not in self.down

    def set_cuts(self, cuts: set[tuple[str, str]]) -> None:
        """Cut exactly these directions."""
        self.cuts = cuts
        self.changed()

    def changed(self) -> None:
        """Cuts or hosts have changed: connections stall or flow again."""
        for connection in list(self._connections):
            connection.changed()

    def latency(self) -> float:
        return self.rng.uniform(0.0002, 0.0012) * self.slowness

    async def dial(self, process: Process, factory: Callable[[], Any], host: str, port: int) -> tuple[Any, Any]:
        """Return (transport, protocol); waits in vain while the host is silent. Raises ConnectionRefusedError."""
        loop = process.loop
        again = iter(SYN_AGAIN_S)
        while not (self.reaches(process.host, host) and self.reaches(host, process.host)):  # noqa: ASYNC110
            # No answer to the SYN: it is sent again, ever more seldom.
            await asyncio.sleep(next(again, 60.0))
        await asyncio.sleep(self.latency())
        listener = self._listeners.get((host, port))
        if listener is None or not listener.process.alive:
            await asyncio.sleep(self.latency())
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        connection = Connection(self, process, listener.process)
        self._connections[connection] = None
        self.stats["connections"] += 1
        connection.changed()  # a cut may have come since the handshake began
        connection.far.begin(listener.factory)
        connected = loop.create_future()
        self.schedule.after(self.latency(), lambda: loop.call_soon(_succeed, connected))
        try:
            await connected
        except BaseException:
            connection.near.abort()
            raise
        if connection.near.is_closing():
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        protocol = factory()
        connection.near.protocol = protocol
        protocol.connection_made(connection.near)
        connection.near.deliver_early()
        return connection.near, protocol

    def forget(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    def reset(self, connection: Connection) -> None:
        """Break a connection under both ends, as a router or a firewall does."""
        self.stats["resets"] += 1
        error = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        for end in (connection.near, connection.far):
            end.fail(error, after_s=self.rng.choice((0.0, self.rng.uniform(0, 0.3))))

    def connections(self) -> list[Connection]:
        return list(self._connections)

    def process_died(self, process: Process, *, powerless: bool) -> None:
        """Tell those at the other ends, or leave them in ignorance if the host has no power to tell them."""
        for connection in list(self._connections):
            for end in (connection.near, connection.far):
                if end.process is process:
                    end.vanish(powerless=powerless)

    def host_returned(self, host: str) -> None:
        """A host has power again and knows nothing of its old connections."""
        self.down.discard(host)
        self.changed()
        error = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        for connection in list(self._connections):
            for end in (connection.near, connection.far):
                if end.process.host != host and not end.peer.process.alive:
                    end.fail(error, after_s=self.rng.uniform(0.05, 1.5))

    def is_hostile(self, one: str, other: str) -> bool:
        return self.hostility > 0 and one in self._hostile and other in self._hostile


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
