"""exec and attach: a process' streams joined with a client's.

Source: upstream's kubelet/pkg/cri/streaming/remotecommand and KEP-4006.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from multidict import MultiMapping

from oarlock.cluster.kubelet.runtime import RuntimeFailure, Sink, Source, Streams
from oarlock.cluster.kubelet.streaming import upgrades
from oarlock.cluster.kubelet.streaming.channels import Channels
from oarlock.cluster.kubelet.streaming.session import Session, SpdyStream
from oarlock.cluster.kubelet.streaming.stream import Stream
from oarlock.cluster.objects import status
from oarlock.cluster.takeover import Taken

STREAMS_TIMEOUT_S = 30.0
"""How long a client may take to open its streams. Source: DefaultStreamCreationTimeout."""
LEAVE_TIMEOUT_S = 10.0
RESIZE_BYTES_MAX = 4096

VERSIONS = ("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
SOCKET_VERSIONS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
)
_WITH_STATUS = ("v5.", "v4.")
_WITHOUT_RESIZE = ("v2.channel.k8s.io", "channel.k8s.io", "")


@dataclass(frozen=True, slots=True)
class Terms:
    """Which streams the client wants."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


def read_terms(query: MultiMapping[str]) -> Terms:
    """Return the terms of a query. Raises ValueError with upstream's sentence."""
    stdin, stdout, stderr, tty = (query.get(name) in ("1", "true") for name in ("input", "output", "error", "tty"))
    # A terminal has one stream for both.
    stderr = stderr and not tty
    if not (stdin or stdout or stderr):
        raise ValueError("you must specify at least 1 of stdin, stdout, stderr")
    return Terms(stdin, stdout, stderr, tty)


@dataclass
class _Client:
    """The client's streams. `run` returns when it is gone, `leave` says goodbye."""

    protocol: str
    run: asyncio.Task[None]
    leave: Callable[[], Awaitable[None]]
    streams: Mapping[str, Stream] = field(default_factory=dict)

    async def tell(self, outcome: Mapping[str, Any]) -> None:
        """Send the outcome, a Status, as the protocol's version has it."""
        error = self.streams["error"]
        if self.protocol.startswith(_WITH_STATUS):
            await error.write(json.dumps(outcome, separators=(",", ":")).encode())
        elif outcome.get("status") != "Success":
            await error.write(str(outcome.get("message", "")).encode())


Begin = Callable[[], Awaitable[Streams]]


async def serve(request: web.Request, terms: Terms, begin: Begin) -> web.StreamResponse:
    """Join the client's streams with those of `begin()` until one side ends. What failed is told to the client."""
    if upgrades.is_upgrade(request, "websocket"):
        async with _on_socket(request, terms) as (response, client):
            await _converse(client, begin)
        return response
    async with _on_spdy(request, terms) as client:
        if client is not None:
            await _converse(client, begin)
    return Taken()


@asynccontextmanager
async def _on_socket(request: web.Request, terms: Terms) -> AsyncIterator[tuple[web.WebSocketResponse, _Client]]:
    socket = await upgrades.open_socket(request, SOCKET_VERSIONS)
    channels = Channels(socket, (terms.stdin, False, False, False, terms.tty))
    names = ("stdin", "stdout", "stderr", "error", "resize")
    wanted = {"error", "resize", *_wanted(terms)}
    streams = {name: channel for name, channel in zip(names, channels.channels, strict=True) if name in wanted}
    # An empty message tells the client that the connection stands.
    first = next(name for name in ("stdout", "stderr", "error") if name in wanted)
    with suppress(ConnectionError):
        await streams[first].write(b"")
    run = asyncio.create_task(channels.run())
    try:
        yield socket.response, _Client(socket.protocol, run, channels.leave, streams)
    finally:
        await _finish(run)
        await socket.close()


@asynccontextmanager
async def _on_spdy(request: web.Request, terms: Terms) -> AsyncIterator[_Client | None]:
    protocol, connection = await upgrades.open_spdy(request, VERSIONS)
    wanted = {"error", *_wanted(terms)}
    if terms.tty and protocol not in _WITHOUT_RESIZE:
        wanted.add("resize")
    streams: dict[str, Stream] = {}
    complete = asyncio.Event()

    def accept(stream: SpdyStream) -> bool:
        name = stream.headers.get("streamtype", "")
        if name not in wanted or name in streams:
            return False
        streams[name] = stream
        if wanted == streams.keys():
            complete.set()
        return True

    session = Session(connection, accept)
    run = asyncio.create_task(session.run())
    try:
        yield _Client(protocol, run, session.leave, streams) if await _first(complete.wait(), run) else None
    finally:
        await _finish(run)
        await connection.close()


async def _first(complete: Awaitable[Any], run: asyncio.Task[None]) -> bool:
    """Tell whether all streams came before the client left and the time was over."""
    waiting = asyncio.ensure_future(complete)
    done, _ = await asyncio.wait({waiting, run}, timeout=STREAMS_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return waiting in done


def _wanted(terms: Terms) -> set[str]:
    return {name for name in ("stdin", "stdout", "stderr") if getattr(terms, name)}


async def _converse(client: _Client, begin: Begin) -> None:
    with suppress(ConnectionError):
        try:
            streams = await begin()
        except RuntimeFailure as failure:
            await client.tell(_failed(f"error executing command in container: {failure}"))
        else:
            code = await _join(client, streams)
            if code is None:
                return
            await client.tell(_ended(code))
        for name, stream in client.streams.items():
            if name not in ("stdin", "resize"):
                await stream.close()
        await client.leave()
        # The client ends the connection: were it us, what it hasn't read yet could be lost.
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await asyncio.shield(client.run)


async def _join(client: _Client, streams: Streams) -> int | None:
    """Copy both ways; return the exit code, or None if the client went away before."""
    async with streams:
        outputs = [
            asyncio.create_task(_send(source, client.streams.get(name)))
            for name, source in (("stdout", streams.stdout), ("stderr", streams.stderr))
            if source is not None
        ]
        inputs = [asyncio.create_task(_resize(client.streams["resize"], streams))] if "resize" in client.streams else []
        if "stdin" in client.streams and streams.stdin is not None:
            inputs.append(asyncio.create_task(_receive(client.streams["stdin"], streams.stdin, tty=streams.tty)))
        ended = asyncio.create_task(_end(streams, outputs))
        try:
            await asyncio.wait({ended, client.run}, return_when=asyncio.FIRST_COMPLETED)
            return ended.result() if ended.done() else None
        finally:
            for task in (ended, *outputs, *inputs):
                task.cancel()
            await asyncio.gather(ended, *outputs, *inputs, return_exceptions=True)


async def _end(streams: Streams, outputs: Sequence[asyncio.Task[None]]) -> int:
    code = await streams.wait()
    await asyncio.gather(*outputs)
    return code


async def _send(source: Source, stream: Stream | None) -> None:
    """Copy what the process writes; without a stream for it, it is dropped."""
    while data := await source.read():
        if stream is not None:
            await stream.write(data)


async def _receive(stream: Stream, sink: Sink, *, tty: bool) -> None:
    try:
        while data := await stream.read():
            await sink.write(data)
        # A terminal has no end of its own: it shows the command's output too.
        if not tty:
            await sink.end()
    except BrokenPipeError:
        stream.discard()
    except ConnectionError:
        return


async def _resize(stream: Stream, streams: Streams) -> None:
    """Take sizes, JSON objects one after the other, as they come."""
    decoder, text = json.JSONDecoder(), ""
    with suppress(ConnectionError):
        while data := await stream.read():
            text = (text + data.decode(errors="replace")).lstrip()
            while text:
                try:
                    size, end = decoder.raw_decode(text)
                    streams.resize(_cells(size["Width"]), _cells(size["Height"]))
                except (ValueError, KeyError, TypeError):
                    break
                text = text[end:].lstrip()
            if len(text) > RESIZE_BYTES_MAX:
                stream.discard()
                return


def _cells(number: object) -> int:
    if not isinstance(number, int) or not 0 <= number <= 0xFFFF:
        raise ValueError("no terminal is that large")
    return number


async def _finish(run: asyncio.Task[None]) -> None:
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


def _failed(message: str) -> dict[str, Any]:
    return status.internal(message).status()


def _ended(code: int) -> dict[str, Any]:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: command terminated with exit code {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
