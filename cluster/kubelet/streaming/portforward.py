"""Port forwarding: pairs of streams, each joined with a TCP connection to the pod.

Source: upstream's kubelet/pkg/cri/streaming/portforward; KEP-4006 for SPDY in a WebSocket.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiohttp import web
from multidict import MultiMapping

from oarlock.cluster.kubelet.streaming import upgrades
from oarlock.cluster.kubelet.streaming.channels import Channels
from oarlock.cluster.kubelet.streaming.session import Session, SpdyStream
from oarlock.cluster.kubelet.streaming.stream import BytePipe, Stream
from oarlock.cluster.kubelet.streaming.websocket import Messages, Tunnel
from oarlock.cluster.takeover import Taken

PROTOCOL = "portforward.k8s.io"
TUNNEL = f"{upgrades.SPDY}+{PROTOCOL}"
SOCKET_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")
CONNECT_TIMEOUT_S = 10.0
PAIR_TIMEOUT_S = 30.0
"""How long the second stream of a pair may take. Source: DefaultStreamCreationTimeout."""
READ_BYTES = 32 << 10
BUFFER_BYTES = 64 << 10
PORTS_MAX = 100
"""Of one WebSocket: its channels are numbered by a byte."""


@dataclass(frozen=True, slots=True)
class Target:
    """A pod's address and how messages name the pod."""

    address: str
    pod: str
    uid: str


def read_ports(query: MultiMapping[str]) -> list[int]:
    """Return the ports that a WebSocket's query names. Raises ValueError with upstream's sentence."""
    texts = query.getall("ports", query.getall("port", []))
    if not texts:
        raise ValueError('query parameter "port" is required')
    ports = []
    for text in texts:
        if not text:
            raise ValueError('query parameter "port" cannot be empty')
        ports += [_port(part) for part in text.split(",")]
    if len(ports) > PORTS_MAX:
        raise ValueError(f"at most {PORTS_MAX} ports can be forwarded at once")
    return ports


async def serve(request: web.Request, target: Target) -> web.StreamResponse:
    """Forward until the client leaves. A port that can't be reached is told on its error stream."""
    if not upgrades.is_upgrade(request, "websocket"):
        _, connection = await upgrades.open_spdy(request, (PROTOCOL,))
        await _serve_pairs(connection, target)
        return Taken()
    if TUNNEL in upgrades.socket_protocols(request):
        socket = await upgrades.open_socket(request, (TUNNEL,))
        await _serve_pairs(Tunnel(socket), target)
        return socket.response
    try:
        ports = read_ports(request.query)
    except ValueError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    socket = await upgrades.open_socket(request, SOCKET_PROTOCOLS)
    await _serve_channels(socket, ports, target)
    return socket.response


async def _serve_channels(socket: Messages, ports: Sequence[int], target: Target) -> None:
    """Each port has two channels, data and error, on both of which its number comes first."""
    channels = Channels(socket, (True, False) * len(ports))
    pairs = list(zip(ports, channels.channels[::2], channels.channels[1::2], strict=True))
    async with _tasks() as group:
        run = group.create(channels.run())
        with suppress(ConnectionError):
            for port, data, error in pairs:
                number = struct.pack("<H", port)
                await data.write(number)
                await error.write(number)
            forwards = [group.create(_forward(target, port, data, error)) for port, data, error in pairs]
            done = group.create(_all(forwards))
            await asyncio.wait({run, done}, return_when=asyncio.FIRST_COMPLETED)
        await channels.leave()


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)


async def _serve_pairs(pipe: BytePipe, target: Target) -> None:
    async with _tasks() as group:
        pairs = _Pairs(target, group)
        session = Session(pipe, pairs.accept)
        await session.run()
    await pipe.close()


class _Tasks:
    """Tasks that end with a connection."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def create(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Pairs:
    """Streams that wait for the other one of their request: data and error."""

    def __init__(self, target: Target, tasks: _Tasks) -> None:
        self._target = target
        self._tasks = tasks
        self._waiting: dict[str, tuple[SpdyStream, asyncio.TimerHandle]] = {}

    def accept(self, stream: SpdyStream) -> bool:
        """Take one stream; with its other one here, forward. Refuses streams without a proper port or type."""
        kind, number = stream.headers.get("streamtype", ""), stream.headers.get("port", "")
        try:
            port = _port(number)
        except ValueError:
            return False
        if kind not in ("data", "error"):
            return False
        # Old clients name no request: the error stream comes first, the data stream right after it.
        request = stream.headers.get("requestid") or str(stream.number - 2 * (kind == "data"))
        if request not in self._waiting:
            timer = asyncio.get_running_loop().call_later(PAIR_TIMEOUT_S, self._give_up, request)
            self._waiting[request] = stream, timer
            return True
        other, timer = self._waiting[request]
        if other.headers.get("streamtype") == kind:
            return False
        del self._waiting[request]
        timer.cancel()
        data, error = (stream, other) if kind == "data" else (other, stream)
        self._tasks.create(_forward(self._target, port, data, error))
        return True

    def _give_up(self, request: str) -> None:
        stream, _ = self._waiting.pop(request)
        self._tasks.create(_reset(stream))


async def _reset(stream: SpdyStream) -> None:
    with suppress(ConnectionError):
        await stream.reset()


async def _forward(target: Target, port: int, data: Stream, error: Stream) -> None:
    """Join one stream with one TCP connection until both sides have ended or one breaks off."""
    error.discard()
    with suppress(ConnectionError):
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(target.address, port, limit=BUFFER_BYTES)
        except (OSError, TimeoutError) as failure:
            data.discard()
            cause = os.strerror(failure.errno).lower() if failure.errno else "i/o timeout"
            where = f"failed to connect to {target.address}:{port}: connect: {cause}"
            await error.write(f"error forwarding port {port} to pod {target.pod}, uid {target.uid}: {where}".encode())
        else:
            await _join(data, reader, writer)
        await data.close()
        await error.close()


async def _join(data: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    upward = asyncio.create_task(_up(data, writer))
    try:
        while piece := await reader.read(READ_BYTES):
            await data.write(piece)
    except ConnectionError:
        # The pod's side broke off, or the client's: either way there is nobody to copy for.
        return
    finally:
        upward.cancel()
        await asyncio.gather(upward, return_exceptions=True)
        data.discard()
        writer.close()


async def _up(data: Stream, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await data.read():
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except ConnectionError:
        writer.transport.abort()


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 5 or int(text) > 0xFFFF:
        raise ValueError(f'unable to parse "{text}" as a port: strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) < 1:
        raise ValueError(f'port "{text}" must be > 0')
    return int(text)


@asynccontextmanager
async def _tasks() -> AsyncIterator[_Tasks]:
    tasks = _Tasks()
    try:
        yield tasks
    finally:
        await tasks.end()
