"""A SPDY/3.1 connection as the server sees it: streams that the client opens, carried over one pipe of bytes.

Upstream's SPDY implementation, kubectl's too, keeps no windows and sends no WINDOW_UPDATE: what we send is held back by
the connection alone. What we receive is bounded for each stream, and windows are given back as it is read, for clients
that do keep them. A stream whose reader lags behind holds up the streams beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from oarlock.cluster.kubelet.streaming import spdy
from oarlock.cluster.kubelet.streaming.inbox import Inbox
from oarlock.cluster.kubelet.streaming.stream import BytePipe

STREAMS_MAX = 1024
WINDOW_UPDATE_BYTES = 32 << 10
WRITE_BYTES = 32 << 10


class SpdyStream:
    """One stream that the client opened."""

    def __init__(self, session: Session, number: int, headers: Mapping[str, str], *, one_way: bool) -> None:
        self._session = session
        self.number = number
        self.headers = headers
        self.inbox = Inbox()
        self._closed = one_way
        self._peer_closed = False
        self._unreported = 0

    async def read(self) -> bytes:
        data = await self.inbox.read()
        self._unreported += len(data)
        if self._unreported >= WINDOW_UPDATE_BYTES and not self._peer_closed:
            size, self._unreported = self._unreported, 0
            await self._session.send(spdy.WindowUpdate(self.number, size))
        return data

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), WRITE_BYTES):
            if self._closed:
                raise ConnectionResetError("the stream is closed")
            await self._session.send(spdy.Data(self.number, data[start : start + WRITE_BYTES]))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._session.send(spdy.Data(self.number, b"", fin=True))
            self._forget()

    async def reset(self, reason: int = spdy.CANCEL) -> None:
        """End the stream both ways."""
        await self._session.send(spdy.Reset(self.number, reason))
        self.broken()

    def discard(self) -> None:
        self.inbox.discard()

    def peer_closed(self) -> None:
        """The client has sent all it had."""
        self._peer_closed = True
        self.inbox.end()
        self._forget()

    def broken(self) -> None:
        """The stream is over both ways."""
        self._closed = self._peer_closed = True
        self.inbox.end(broken=True)
        self._forget()

    def _forget(self) -> None:
        if self._closed and self._peer_closed:
            self._session.streams.pop(self.number, None)


class Session:
    """Carries frames. `accept` is called for each new stream and may refuse it by returning False.

    A stream is answered before `accept` is called, so that what is written to it follows the answer.
    """

    def __init__(self, pipe: BytePipe, accept: Callable[[SpdyStream], bool], streams_max: int = STREAMS_MAX) -> None:
        self._pipe = pipe
        self._accept = accept
        self._streams_max = streams_max
        self._encoder = spdy.Encoder()
        self._sending = asyncio.Lock()
        self._last_stream = 0
        self._leaving = False
        self.streams: dict[int, SpdyStream] = {}

    async def run(self) -> None:
        """Return once the client is gone, or has sent what can't be understood; all streams are broken then."""
        decoder = spdy.Decoder()
        try:
            while data := await self._pipe.read():
                for frame in decoder.feed(data):
                    await self._take(frame)
        except spdy.ProtocolError:
            await self._go_away(spdy.PROTOCOL_ERROR)
        except ConnectionError:
            pass
        finally:
            for stream in list(self.streams.values()):
                stream.broken()

    async def send(self, frame: spdy.Frame) -> None:
        """Send one frame. Raises ConnectionError."""
        async with self._sending:
            await self._pipe.write(self._encoder.encode(frame))

    async def leave(self) -> None:
        """Tell the client that all is said; what it still sends is dropped, until it ends the connection."""
        self._leaving = True
        for stream in self.streams.values():
            stream.discard()
        await self._go_away(0)

    async def _go_away(self, reason: int) -> None:
        try:
            await self.send(spdy.GoAway(self._last_stream, reason))
        except ConnectionError:
            return

    async def _take(self, frame: spdy.Frame) -> None:
        match frame:
            case spdy.Data():
                await self._data(frame)
            case spdy.SynStream():
                await self._open(frame)
            case spdy.Reset():
                if frame.stream in self.streams:
                    self.streams[frame.stream].broken()
            case spdy.Ping():
                # Even numbers would be our own pings coming back.
                if frame.number % 2:
                    await self.send(frame)
            case spdy.Headers():
                if frame.fin and frame.stream in self.streams:
                    self.streams[frame.stream].peer_closed()
            case _:
                # SETTINGS, WINDOW_UPDATE, GOAWAY: nothing that we'd do otherwise. SYN_REPLY: we open no streams.
                return

    async def _data(self, frame: spdy.Data) -> None:
        stream = self.streams.get(frame.stream)
        if stream is None:
            return
        stream.inbox.put(frame.data)
        if frame.fin:
            stream.peer_closed()
        else:
            await stream.inbox.room()

    async def _open(self, frame: spdy.SynStream) -> None:
        if frame.stream % 2 == 0 or frame.stream <= self._last_stream:
            raise spdy.ProtocolError(f"stream {frame.stream} after {self._last_stream}")
        self._last_stream = frame.stream
        if self._leaving or len(self.streams) >= self._streams_max:
            await self.send(spdy.Reset(frame.stream, spdy.REFUSED_STREAM))
            return
        stream = SpdyStream(self, frame.stream, frame.headers, one_way=frame.unidirectional)
        self.streams[frame.stream] = stream
        await self.send(spdy.SynReply(frame.stream))
        if frame.fin:
            stream.peer_closed()
        if not self._accept(stream):
            await stream.reset(spdy.REFUSED_STREAM)
