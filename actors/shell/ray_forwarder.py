"""One address for the GCS on every host: connections are relayed to wherever the GCS is now.

What dials while there is no GCS waits for the next; when the GCS moves, connections to the old one are cut, and its
clients, which dial again by themselves, reach the new one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, cast

CONNECTIONS_MAX: Final = 1_000
WAIT_S: Final = 60.0
"""How long a connection waits for a GCS before its client may try another."""
_AGAIN_S: Final = 0.02
_DIAL_S: Final = 1.0

_log = logging.getLogger(__name__)

Address = tuple[str, int]


class Forwarder:
    """Listens on one address and relays to the target, which may change at any time."""

    def __init__(self) -> None:
        self._target: Address | None = None
        self._known = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._pairs: set[_Client] = set()

    async def start(self, host: str, port: int) -> None:
        """Raises OSError if the address can't be listened on."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Client(self), host, port)

    def stop(self) -> None:
        """Listen no more and cut all connections. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._cut()

    def point(self, target: Address | None) -> None:
        """Relay to `target` from now on; None makes clients wait."""
        if target == self._target:
            return
        _log.info("gcs target=%s before=%s", target, self._target)
        self._target = target
        self._cut()
        if target is None:
            self._known.clear()
        else:
            self._known.set()

    async def target(self) -> Address:
        """Return the target as soon as there is one."""
        while self._target is None:
            await self._known.wait()
        return self._target

    def admit(self, client: _Client) -> bool:
        if len(self._pairs) >= CONNECTIONS_MAX:
            return False
        self._pairs.add(client)
        return True

    def leave(self, client: _Client) -> None:
        self._pairs.discard(client)

    def _cut(self) -> None:
        """Cut what is relayed; whoever waits still goes to the new target."""
        for client in list(self._pairs):
            client.cut()


class _End(asyncio.Protocol):
    """One side of a relayed connection: what comes in goes out at the other side, at its pace."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass the end of one direction on; the other goes on."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.transport = None
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _Client(_End):
    """The side that has dialled us. What it says before the GCS has been reached is kept, and then no more is read."""

    def __init__(self, forwarder: Forwarder) -> None:
        super().__init__()
        self._forwarder = forwarder
        self._early = bytearray()
        self._ended = False
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        if self._forwarder.admit(self):
            self._dialling = asyncio.get_running_loop().create_task(self._dial())
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            super().data_received(data)
        elif self.transport is not None:
            # Not before: an event loop may begin to read after it has told of the connection, whatever was asked then.
            self.transport.pause_reading()
            self._early += data

    def eof_received(self) -> bool:
        self._ended = True
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forwarder.leave(self)
        if self._dialling is not None:
            self._dialling.cancel()

    def cut(self) -> None:
        if self.other is not None:
            for end in (self, self.other):
                if end.transport is not None:
                    end.transport.abort()

    async def _dial(self) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                while not await self._reached(await self._forwarder.target()):  # noqa: ASYNC110 - dialling has no event
                    await asyncio.sleep(_AGAIN_S)
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()

    async def _reached(self, target: Address) -> bool:
        """Join both sides if somebody listens there."""
        end = _End()
        end.other = self
        try:
            async with asyncio.timeout(_DIAL_S):
                await asyncio.get_running_loop().create_connection(lambda: end, *target)
        except (OSError, TimeoutError):
            return False
        self.other = end
        if self.transport is None or end.transport is None:
            self.cut()
            return True
        end.transport.write(bytes(self._early))
        self._early.clear()
        if self._ended:
            end.transport.write_eof()
        else:
            self.transport.resume_reading()
        return True
