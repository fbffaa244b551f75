"""An open WebSocket, as channels and tunnels use it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp import web

from oarlock.cluster.kubelet.streaming.idle import Idle

MESSAGE_BYTES_MAX = 32 << 20
"""Source: the default of the WebSocket library that upstream serves with."""
CLOSE_TIMEOUT_S = 10.0


class Messages(Protocol):
    """Messages both ways. `protocol` is the subprotocol agreed upon, "" for none."""

    @property
    def protocol(self) -> str: ...

    async def receive(self) -> bytes | None:
        """Return the next message, a text as UTF-8; None once the client is gone."""
        ...

    async def send(self, message: bytes | str) -> None:
        """Send, waiting while the client takes no more. Raises ConnectionError."""
        ...

    async def close(self) -> None:
        """Say goodbye and wait, for a time, until the client agrees. Idempotent."""
        ...


class WebSocket:
    """A WebSocket of the HTTP server, as Messages."""

    def __init__(self, request: web.Request, protocol: str) -> None:
        self._request = request
        self.protocol = protocol
        self.response = web.WebSocketResponse(
            protocols=[protocol] if protocol else [],
            max_msg_size=MESSAGE_BYTES_MAX,
            compress=False,
            timeout=CLOSE_TIMEOUT_S,
        )
        self._idle: Idle | None = None

    async def open(self) -> None:
        """Shake hands. Raises web.HTTPException for what is no proper handshake."""
        await self.response.prepare(self._request)
        transport = self._request.transport
        if isinstance(transport, asyncio.Transport):
            self._idle = Idle(transport.abort)

    async def receive(self) -> bytes | None:
        async for message in self.response:
            self._touch()
            if isinstance(message.data, str):
                return message.data.encode()
            if isinstance(message.data, bytes):
                return message.data
        return None

    async def send(self, message: bytes | str) -> None:
        self._touch()
        if isinstance(message, str):
            await self.response.send_str(message)
        else:
            await self.response.send_bytes(message)

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        await self.response.close()

    def _touch(self) -> None:
        if self._idle is not None:
            self._idle.touch()


class Tunnel:
    """The bytes of another protocol in a WebSocket's messages, as stream.BytePipe."""

    def __init__(self, socket: Messages) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        while (message := await self._socket.receive()) is not None:
            if message:
                return message
        return b""

    async def write(self, data: bytes) -> None:
        await self._socket.send(data)

    async def close(self) -> None:
        await self._socket.close()
