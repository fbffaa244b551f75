"""gRPC calls over one HTTP/2 connection, with as little work for each as Python allows.

It speaks the part of the protocol that a gRPC client needs: many streams on one TLS connection, requests of at most one
frame. Header blocks are sent as table indexes after their first use, as grpc-go does; answers' headers are skipped: a
call that ends without a message has failed. What one turn of the loop sends leaves in one write. At 64 puts of 1 KiB in
flight that costs the client 24 µs CPU a put where grpcio 1.85's asyncio client takes 103; the servers' cores are the
client's too, so the difference is etcd's throughput. More connections than one made etcd slower.
Source: RFC 9113 (HTTP/2), gRPC "PROTOCOL-HTTP2".
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import cast

from bench.hpack import HeaderBlocks
from oarlock.cluster.boot.pki import CertificateFiles

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME = Struct(">IBI")
"""Length (24 bits) and type (8 bits), flags, stream id."""
MESSAGE = Struct(">BI")
"""gRPC's prefix of a message: whether it is compressed, and its length."""
WINDOW_MAX = (1 << 31) - 1
WINDOW_DEFAULT = 65_535
WINDOW_TOP_UP = 1 << 28
FRAME_BYTES_MAX = 16_384
SETTING_INITIAL_WINDOW = 4
END_STREAM = ACK = 0x1
END_HEADERS = 0x4


class Type(IntEnum):
    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8


class CallFailed(Exception):
    """The server refused the call, or the connection broke before its answer: it may have been carried out."""


def frame(kind: Type, flags: int, stream: int, body: bytes) -> bytes:
    return FRAME.pack(len(body) << 8 | kind, flags, stream) + body


class Call:
    """One stream: a single answer resolves `answer`; a streaming call has each given to `on_message` instead."""

    __slots__ = ("_parts", "answer", "on_message")

    def __init__(self, answer: asyncio.Future[bytes], on_message: Callable[[bytes], None] | None = None) -> None:
        self.answer = answer
        self.on_message = on_message
        self._parts: list[bytes] = []

    def data(self, body: bytes) -> None:
        self._parts.append(body)
        if self.on_message is None:
            return
        received = b"".join(self._parts)
        at, size = 0, len(received)
        while size - at >= MESSAGE.size:
            end = at + MESSAGE.size + MESSAGE.unpack_from(received, at)[1]
            if end > size:
                break
            self.on_message(received[at + MESSAGE.size : end])
            at = end
        self._parts = [received[at:]] if at < size else []

    def end(self) -> None:
        if self.answer.done():
            return
        if self._parts and self.on_message is None:
            whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self.answer.set_result(whole[MESSAGE.size :])
        else:
            self.answer.set_exception(CallFailed("the server ended the call without an answer"))

    def fail(self, reason: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(CallFailed(reason))
            self.answer.exception()  # a streaming call's may interest nobody


class Http2Connection(asyncio.Protocol):
    """A client's connection. Requests wait where the server's window for the connection is used up.

    The windows of single streams need no count: a stream has at most a frame of requests open.
    """

    def __init__(self, authority: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._blocks = HeaderBlocks(authority)
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, Call] = {}
        self._next_stream = 1
        self._rest = b""
        self._out: list[bytes] = []
        self._window = WINDOW_DEFAULT
        self._held: deque[tuple[int, bytes]] = deque()
        self._unreported = 0
        self.lost: asyncio.Future[None] = self._loop.create_future()

    @classmethod
    async def connect(cls, host: str, port: int, files: CertificateFiles) -> Http2Connection:
        """Raises OSError and ssl.SSLError."""
        context = ssl.create_default_context(cafile=str(files.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(files.cert, files.key)
        context.set_alpn_protocols(["h2"])
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: cls(f"{host}:{port}"), host, port, ssl=context))[1]

    def unary(self, path: bytes, request: bytes) -> asyncio.Future[bytes]:
        """Return the answer to be. Raises CallFailed, the future as well."""
        call = Call(self._loop.create_future())
        self._open(call, path, request, END_STREAM)
        return call.answer

    def stream(self, path: bytes, request: bytes, on_message: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Open a stream with its first request; return what sends further ones on it."""
        stream = self._open(Call(self._loop.create_future(), on_message), path, request, 0)
        return lambda body: self._send_data(b"", stream, body, 0)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # Sending.

    def _open(self, call: Call, path: bytes, request: bytes, flags: int) -> int:
        if self.lost.done():
            raise CallFailed("the connection is lost")
        stream = self._next_stream
        self._next_stream += 2
        self._calls[stream] = call
        # A header block belongs to the moment of its sending: one that is held back holds back those behind it.
        self._send_data(frame(Type.HEADERS, END_HEADERS, stream, self._blocks.block(path)), stream, request, flags)
        return stream

    def _send_data(self, before: bytes, stream: int, request: bytes, flags: int) -> None:
        size = MESSAGE.size + len(request)
        assert size <= FRAME_BYTES_MAX, "requests of more than a frame aren't needed here"
        data = FRAME.pack(size << 8, flags, stream) + MESSAGE.pack(0, len(request)) + request
        if self._held or size > self._window:
            self._held.append((size, before + data))
        else:
            self._window -= size
            self._write(before + data)

    def _write(self, data: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        if self._transport is not None and self._out:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's isn't a subclass
        settings = SETTING_INITIAL_WINDOW.to_bytes(2, "big") + WINDOW_MAX.to_bytes(4, "big")
        grown = (WINDOW_MAX - WINDOW_DEFAULT).to_bytes(4, "big")
        self._write(PREFACE + frame(Type.SETTINGS, 0, 0, settings) + frame(Type.WINDOW_UPDATE, 0, 0, grown))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.fail(f"the connection is lost: {exc or 'closed'}")

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        calls = self._calls
        while size - at >= FRAME.size:
            head, flags, stream = FRAME.unpack_from(data, at)
            start = at + FRAME.size
            end = start + (head >> 8)
            if end > size:
                break
            kind = head & 0xFF
            if kind == Type.DATA:
                self._unreported += end - start
                if stream in calls:
                    calls[stream].data(data[start:end])
            elif kind != Type.HEADERS:
                self._control(kind, flags, stream, data[start:end])
            if flags & END_STREAM and kind <= Type.HEADERS and stream in calls:
                calls.pop(stream).end()
            at = end
        self._rest = data[at:]
        if self._unreported > WINDOW_TOP_UP:
            self._write(frame(Type.WINDOW_UPDATE, 0, 0, self._unreported.to_bytes(4, "big")))
            self._unreported = 0

    def _control(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == Type.WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(body, "big")
            while self._held and self._held[0][0] <= self._window:
                size, data = self._held.popleft()
                self._window -= size
                self._write(data)
        elif kind in {Type.SETTINGS, Type.PING} and not flags & ACK:
            self._write(frame(Type(kind), ACK, 0, body if kind == Type.PING else b""))
        elif kind == Type.RST_STREAM and stream in self._calls:
            self._calls.pop(stream).fail("the server reset the call")
        elif kind == Type.GOAWAY:
            self.close()
