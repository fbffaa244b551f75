"""A simulated TCP connection, and its two ends as asyncio's transports.

Bytes arrive in order or not at all. A cut delays them; one that lasts ends the connection, at each end when that end
notices. What was on its way when a connection broke may still arrive, beside what its successor brings.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from zlib import crc32

from simulation.process import Process

if TYPE_CHECKING:
    from simulation.network import Network

UNACKNOWLEDGED_S = 5.0
"""Silence after which an end with unsent bytes gives up (TCP_USER_TIMEOUT)."""
IDLE_S = 11.0
"""Silence after which an idle end gives up (keep-alive probes)."""
SOCKET_BYTES = 64 << 10
"""What the kernels of both ends hold before `write` begins to queue."""


class Connection:
    """Two ends; `near` dialled."""

    def __init__(self, network: Network, near: Process, far: Process) -> None:
        self.network = network
        self.near = End(self, near)
        self.far = End(self, far)
        self.near.peer, self.far.peer = self.far, self.near
        self.name = f"{near.host}>{far.host}"
        self._stalled = 0

    @property
    def flows(self) -> bool:
        """True while both directions work: without acknowledgements nothing is known to have arrived."""
        one, other = self.near.process.host, self.far.process.host
        return self.network.reaches(one, other) and self.network.reaches(other, one)

    def changed(self) -> None:
        """Start the clock of silence, or stop it and let go what waits."""
        if self.flows:
            if self._stalled:
                self._stalled = 0
                for end in (self.near, self.far):
                    end.resend()
        elif not self._stalled:
            self._stalled = token = self.network.rng.getrandbits(62) + 1
            for end in (self.near, self.far):
                self.watch_silence(end, IDLE_S, token)
                if end.unread:
                    self.watch_silence(end, UNACKNOWLEDGED_S, token)

    def written(self, end: End) -> None:
        if self._stalled:
            self.watch_silence(end, UNACKNOWLEDGED_S, self._stalled)

    def watch_silence(self, end: End, seconds: float, token: int) -> None:
        def expire() -> None:
            if self._stalled == token:
                end.fail(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

        self.network.schedule.after(seconds * self.network.rng.uniform(1, 1.2), expire)

    def ended(self) -> None:
        if self.near.gone and self.far.gone:
            self.network.forget(self)


class End(asyncio.Transport):
    """One process' end of a connection, as asyncio's transports behave. What is written here arrives at `peer`."""

    peer: End

    def __init__(self, connection: Connection, process: Process) -> None:
        super().__init__()
        self.process = process
        self.protocol: Any = None
        self.gone = False
        """True once the protocol has been told, or its process has died."""
        self.unread = 0
        """Bytes written that the other side's protocol hasn't got."""
        self._connection = connection
        self._network = connection.network
        self._closing = False
        self._finishing = False
        self._flight: deque[tuple[float, bytes]] = deque()
        self._arrives_s = 0.0
        self._early: list[bytes] = []
        self._reading = True
        self._held: list[bytes] = []
        self._high, self._low = SOCKET_BYTES, SOCKET_BYTES // 4
        self._paused = False
        self._said_hello = False

    def begin(self, factory: Callable[[], Any]) -> None:
        """Make the protocol of an accepted connection."""

        def made() -> None:
            if self._closing:
                return
            self.protocol = factory()
            self.protocol.connection_made(self)
            self.deliver_early()

        self.process.loop.call_soon(made)

    def deliver_early(self) -> None:
        early, self._early = self._early, []
        for data in early:
            self._received(data)

    # asyncio.Transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self.peer.process.host, 0) if name == "peername" else default

    def is_closing(self) -> bool:
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = SOCKET_BYTES if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return max(self.unread - SOCKET_BYTES, 0)

    def get_protocol(self) -> Any:
        return self.protocol

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        held, self._held = self._held, []
        for data in held:
            self.process.loop.call_soon(self._received, data)

    def is_reading(self) -> bool:
        return self._reading

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write(self, data: Any) -> None:
        if self.gone or self._closing or not data:
            return
        data = bytes(data)
        self.unread += len(data)
        self._connection.written(self)
        self._post(data)
        if not self._paused and self.get_write_buffer_size() > self._high:
            self._paused = True
            self.protocol.pause_writing()

    def close(self) -> None:
        """Send what is written, then end."""
        if not self._closing:
            self._closing = True
            self._finish()

    def abort(self) -> None:
        """End at once; what is on its way may be lost."""
        if self._network.rng.random() < 0.5:
            self._drop_flight()
        self.peer.fail(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)), after_s=0.001)
        self._closing = True
        self.fail(None)

    # The way there.

    def _post(self, data: bytes) -> None:
        network, rng = self._network, self._network.rng
        now_s = network.schedule.now
        if self._said_hello and network.is_hostile(self.process.host, self.peer.process.host):
            self._post_hostile(data)
            return
        self._said_hello = True
        self._arrives_s = max(self._arrives_s, now_s + network.latency())
        if rng.random() < 0.002:
            network.stats["late_bytes"] += 1
            self._arrives_s += rng.uniform(0.01, 0.4)
        self._flight.append((self._arrives_s, data))
        if len(self._flight) == 1:
            network.schedule.at(self._arrives_s, self._arrive)

    def _post_hostile(self, data: bytes) -> None:
        network, rng = self._network, self._network.rng
        now_s, loss = network.schedule.now, network.hostility
        self.unread -= len(data)
        for copy in range(2 if rng.random() < loss else 1):
            if rng.random() < loss:
                network.stats["messages_lost"] += 1
                continue
            late = copy or rng.random() < loss
            network.stats["messages_repeated"] += copy
            network.stats["messages_late"] += bool(late)
            delay_s = rng.uniform(0.01, 0.6) if late else network.latency()
            network.schedule.at(now_s + delay_s, lambda: self._arrive_hostile(data))

    def _arrive_hostile(self, data: bytes) -> None:
        if self._network.reaches(self.process.host, self.peer.process.host):
            self.peer.enqueue(data)

    def _arrive(self) -> None:
        """Hand over what has arrived; behind a cut it stays on its way."""
        network = self._network
        if not network.reaches(self.process.host, self.peer.process.host) or not self._flight:
            return
        now_s = network.schedule.now
        arrived: list[bytes] = []
        while self._flight and self._flight[0][0] <= now_s:
            arrived.append(self._flight.popleft()[1])
        if arrived:
            data = b"".join(arrived)
            network.trace(self._connection.name, self is self._connection.near, len(data), crc32(data))
            cut = network.rng.randrange(len(data) * 8)
            if cut and cut < len(data):  # a stream has no frames
                self.peer.enqueue(data[:cut])
                self.peer.enqueue(data[cut:])
            else:
                self.peer.enqueue(data)
        if self._flight:
            network.schedule.at(self._flight[0][0], self._arrive)
        elif self._closing and self._finishing:
            self._say_end()

    def resend(self) -> None:
        """The way is free again: what waited is sent once more, after TCP's pause."""
        if self._flight:
            when_s = self._network.schedule.now + self._network.rng.uniform(0.02, 0.8)
            self._arrives_s = max(self._arrives_s, when_s)
            self._flight = deque((max(arrives_s, when_s), data) for arrives_s, data in self._flight)
            self._network.schedule.at(when_s, self._arrive)

    def enqueue(self, data: bytes) -> None:
        """Give arrived bytes to the process, which reads them when it next runs."""
        if not self.gone and self.process.alive:
            self.process.loop.call_soon(self._received, data)

    def _received(self, data: bytes) -> None:
        if self.gone or self._closing:
            return
        if self.protocol is None:
            self._early.append(data)
        elif not self._reading:
            self._held.append(data)
        else:
            self.peer.read(len(data))
            self.protocol.data_received(data)

    def read(self, size: int) -> None:
        """The other side has read that much."""
        self.unread = max(self.unread - size, 0)
        if self._paused and self.get_write_buffer_size() <= self._low:
            self._paused = False
            if self.process.alive and not self.gone:
                self.process.loop.call_soon(self._resume_writing)

    def _resume_writing(self) -> None:
        if not self.gone and self.protocol is not None:
            self.protocol.resume_writing()

    # Ends.

    def _finish(self) -> None:
        self._finishing = True
        self.process.loop.call_soon(self._lost, None)
        if not self._flight:
            self._network.schedule.after(self._network.latency(), self._say_end)

    def _say_end(self) -> None:
        if self._network.reaches(self.process.host, self.peer.process.host):
            self.peer.fail(None)
        else:
            self._network.schedule.after(0.5, self._say_end)

    def fail(self, error: Exception | None, after_s: float = 0.0) -> None:
        """Have the protocol told that the connection is lost."""

        def tell() -> None:
            if self.process.alive and not self.gone:
                self._closing = True
                self.process.loop.call_soon(self._lost, error)

        if after_s:
            self._network.schedule.after(after_s, tell)
        else:
            tell()

    def _lost(self, error: Exception | None) -> None:
        if self.gone:
            return
        self._closing = self.gone = True
        self._connection.ended()
        if self.protocol is not None:
            self.protocol.connection_lost(error)

    def vanish(self, *, powerless: bool) -> None:
        """The process has died: its kernel says so, unless that is dead too."""
        if self.gone:
            return
        self._closing = self.gone = True
        self._connection.ended()
        if powerless:
            self._drop_flight()
        elif self._flight:
            self._finishing = True
        else:
            self._network.schedule.after(self._network.latency(), self._say_end)

    def _drop_flight(self) -> None:
        self._flight.clear()
