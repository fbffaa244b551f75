"""A connection taken over from the node's HTTP server, and ended when it says nothing for too long."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from oarlock.cluster.kubelet.streaming.idle import Idle
from oarlock.cluster.takeover import TakenConnection


class Connection:
    """The bytes of a connection, as stream.BytePipe. The request's handler is cancelled when the client goes away."""

    def __init__(self, taken: TakenConnection) -> None:
        self._taken = taken
        self._idle = Idle(taken.abort)

    async def read(self) -> bytes:
        self._idle.touch()
        return await self._taken.read()

    async def write(self, data: bytes) -> None:
        self._idle.touch()
        await self._taken.write(data)

    async def close(self) -> None:
        self._idle.cancel()
        await self._taken.close()


async def take_over(request: web.Request, headers: Mapping[str, str]) -> Connection:
    """Answer 101 with `headers` and return the connection."""
    await request.read()
    assert request.transport is not None
    request.protocol.keep_alive(False)  # noqa: FBT003 - its only form
    taken = TakenConnection(request.transport, request.protocol)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    await taken.write(f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode())
    return Connection(taken)
