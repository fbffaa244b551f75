"""Serving one UDP frontend: a flow for each client address, with an endpoint and a socket of its own."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, cast

from oarlock.cluster.proxy.binding import bound
from oarlock.cluster.proxy.choice import Choice
from oarlock.cluster.proxy.rules import Address, Frontend

QUEUED_MAX = 16


class UdpListener(asyncio.DatagramProtocol):
    """Relays datagrams both ways. A flow ends after `idle_s` without one; at most `flows_max` are kept."""

    def __init__(self, frontend: Frontend, choice: Choice, idle_s: float, flows_max: int) -> None:
        self._frontend = frontend
        self.choice = choice
        self._idle_s, self._flows_max = idle_s, flows_max
        self._flows: OrderedDict[Any, Flow] = OrderedDict()
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> None:
        """Listen. Raises OSError if the address can't be had."""
        listening = bound("UDP", self._frontend.host, self._frontend.port)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=listening)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        for flow in list(self._flows.values()):
            flow.close()
        self._flows.clear()

    abort = close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        flow = self._flows.get(addr)
        if flow is None or flow.backend not in self.choice.rule.backends:
            if flow is not None:
                flow.close()
            flow = self._open(addr)
            if flow is None:
                return
        self._flows.move_to_end(addr)
        flow.send(data)

    def answer(self, data: bytes, client: Any) -> None:
        if self._transport is not None:
            self._transport.sendto(data, client)

    def forget(self, client: Any, flow: Flow) -> None:
        if self._flows.get(client) is flow:
            del self._flows[client]

    def _open(self, client: Any) -> Flow | None:
        candidates = self.choice.candidates(client[0])
        if not candidates:
            return None
        self.choice.chose(client[0], candidates[0])
        flow = self._flows[client] = Flow(self, client, candidates[0], self._idle_s)
        if len(self._flows) > self._flows_max:
            self._flows.popitem(last=False)[1].close()
        return flow


class Flow(asyncio.DatagramProtocol):
    """The datagrams between one client and its endpoint."""

    def __init__(self, listener: UdpListener, client: Any, backend: Address, idle_s: float) -> None:
        self.backend = backend
        self._listener, self._client, self._idle_s = listener, client, idle_s
        self._transport: asyncio.DatagramTransport | None = None
        self._queued: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._used_s = self._loop.time()
        self._timer = self._loop.call_later(idle_s, self._check_idle)
        self._opening = self._loop.create_task(self._connect())

    def send(self, data: bytes) -> None:
        self._used_s = self._loop.time()
        if self._transport is not None:
            self._transport.sendto(data)
        elif len(self._queued) < QUEUED_MAX:
            self._queued.append(data)

    def close(self) -> None:
        self._timer.cancel()
        self._opening.cancel()
        self._listener.forget(self._client, self)
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        for data in self._queued:
            self._transport.sendto(data)
        self._queued.clear()

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002 - the socket is connected
        self._used_s = self._loop.time()
        self._listener.answer(data, self._client)

    async def _connect(self) -> None:
        try:
            await self._loop.create_datagram_endpoint(lambda: self, remote_addr=self.backend)
        except OSError:
            self.close()

    def _check_idle(self) -> None:
        left_s = self._used_s + self._idle_s - self._loop.time()
        if left_s <= 0:
            self.close()
        else:
            self._timer = self._loop.call_later(left_s, self._check_idle)
