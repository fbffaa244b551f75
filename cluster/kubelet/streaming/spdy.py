"""SPDY/3.1 frames: bytes to values and back, without IO.

Source: the SPDY protocol draft 3.1, sections 2.2 and 2.6. Numbers are big-endian. A control frame is
|1|version:15|type:16|flags:8|length:24| and its content, a data frame |0|stream:31|flags:8|length:24| and its bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

VERSION = 3
FRAME_BYTES_MAX = 64 << 10
"""Of a control frame. Data frames may have the protocol's 16 MiB: they are handed on as they come."""
HEADERS_BYTES_MAX = 64 << 10
"""Of one frame's headers after they are inflated."""
HEADERS_MAX = 128
DATA_BYTES_MAX = (1 << 24) - 1

FIN = 0x01
UNIDIRECTIONAL = 0x02

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL = 1, 2, 3, 5
"""Reasons of a Reset."""

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 "
    "Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS.split()) + _REST.encode()
)
"""What both ends' compressors start from. Source: draft 3.1, section 2.6.10.1."""


class ProtocolError(Exception):
    """The peer's bytes are no SPDY/3.1; nothing after them can be understood."""


@dataclass(frozen=True, slots=True)
class SynStream:
    """Opens a stream."""

    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SynReply:
    """Accepts a stream."""

    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Headers:
    """More headers of an open stream."""

    stream: int
    headers: Mapping[str, str] = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """Ends a stream at once, both ways."""

    stream: int
    reason: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Parameters of the connection, by number."""

    values: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Ping:
    """To be sent back as it is."""

    number: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """No further streams are accepted after `last_stream`."""

    last_stream: int
    reason: int = 0


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    """So many more bytes of a stream may be sent."""

    stream: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Data:
    """A stream's bytes."""

    stream: int
    data: bytes
    fin: bool = False


Frame = SynStream | SynReply | Headers | Reset | Settings | Ping | GoAway | WindowUpdate | Data
_Control = SynStream | SynReply | Headers | Reset | Settings | Ping | GoAway | WindowUpdate

_TYPES: dict[type[_Control], int] = {
    SynStream: 1,
    SynReply: 2,
    Reset: 3,
    Settings: 4,
    Ping: 6,
    GoAway: 7,
    Headers: 8,
    WindowUpdate: 9,
}
_STREAM_MASK = 0x7FFFFFFF


class Encoder:
    """Writes one direction of a connection. Frames must be sent in the order in which they were encoded."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, frame: Frame) -> bytes:
        """Return the frame's bytes. A Data frame may hold DATA_BYTES_MAX."""
        if isinstance(frame, Data):
            return struct.pack(">II", frame.stream, frame.fin << 24 | len(frame.data)) + frame.data
        flags, content = self._content(frame)
        kind = 1 << 31 | VERSION << 16 | _TYPES[type(frame)]
        return struct.pack(">II", kind, flags << 24 | len(content)) + content

    def _content(self, frame: _Control) -> tuple[int, bytes]:
        match frame:
            case SynStream():
                flags = frame.fin * FIN | frame.unidirectional * UNIDIRECTIONAL
                start = struct.pack(">IIBx", frame.stream, frame.associated, frame.priority << 5)
                return flags, start + self._headers(frame.headers)
            case SynReply() | Headers():
                return frame.fin * FIN, struct.pack(">I", frame.stream) + self._headers(frame.headers)
            case Reset():
                return 0, struct.pack(">II", frame.stream, frame.reason)
            case Settings():
                pairs = b"".join(struct.pack(">II", number, value) for number, value in frame.values)
                return 0, struct.pack(">I", len(frame.values)) + pairs
            case Ping():
                return 0, struct.pack(">I", frame.number)
            case GoAway():
                return 0, struct.pack(">II", frame.last_stream, frame.reason)
            case WindowUpdate():
                return 0, struct.pack(">II", frame.stream, frame.bytes)

    def _headers(self, headers: Mapping[str, str]) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += (struct.pack(">I", len(text)), text)
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


class Decoder:
    """Reads one direction of a connection. Holds at most one control frame; a data frame comes out in pieces."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._buffer = b""
        self._stream = 0
        self._left = 0
        self._fin = False

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes. Raises ProtocolError, after which there is no going on."""
        self._buffer += data
        frames: list[Frame] = []
        while (frame := self._next()) is not None:
            if not isinstance(frame, _Skipped):
                frames.append(frame)
        return frames

    def _next(self) -> Frame | _Skipped | None:
        if self._left:
            return self._piece() if self._buffer else None
        if len(self._buffer) < 8:
            return None
        first, second = struct.unpack_from(">II", self._buffer)
        flags, length = second >> 24, second & DATA_BYTES_MAX
        if not first >> 31:
            self._buffer = self._buffer[8:]
            self._stream, self._left, self._fin = first, length, bool(flags & FIN)
            return self._piece() if self._buffer or not length else None
        if first >> 16 & 0x7FFF != VERSION:
            raise ProtocolError(f"SPDY version {first >> 16 & 0x7FFF} is not 3")
        if length > FRAME_BYTES_MAX:
            raise ProtocolError(f"a control frame of {length} bytes")
        if len(self._buffer) < 8 + length:
            return None
        content, self._buffer = self._buffer[8 : 8 + length], self._buffer[8 + length :]
        try:
            return self._control(first & 0xFFFF, flags, content)
        except struct.error:
            raise ProtocolError("a control frame is too short") from None

    def _piece(self) -> Data:
        data, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left -= len(data)
        return Data(self._stream, data, fin=self._fin and not self._left)

    def _control(self, kind: int, flags: int, content: bytes) -> Frame | _Skipped:
        fin = bool(flags & FIN)
        match kind:
            case 1:
                stream, associated, priority = struct.unpack_from(">IIBx", content)
                headers = self._headers(content[10:])
                unidirectional = bool(flags & UNIDIRECTIONAL)
                associated &= _STREAM_MASK
                return SynStream(stream & _STREAM_MASK, headers, fin, unidirectional, associated, priority >> 5)
            case 2 | 8:
                (stream,) = struct.unpack_from(">I", content)
                reply = SynReply if kind == 2 else Headers
                return reply(stream & _STREAM_MASK, self._headers(content[4:]), fin)
            case 3:
                stream, reason = struct.unpack_from(">II", content)
                return Reset(stream & _STREAM_MASK, reason)
            case 4:
                return _settings(content)
            case 6:
                return Ping(*struct.unpack_from(">I", content))
            case 7:
                stream, reason = struct.unpack_from(">II", content)
                return GoAway(stream & _STREAM_MASK, reason)
            case 9:
                stream, size = struct.unpack_from(">II", content)
                return WindowUpdate(stream & _STREAM_MASK, size & _STREAM_MASK)
        # Of a type that this version doesn't know: to be ignored.
        return _Skipped()

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, HEADERS_BYTES_MAX)
        except zlib.error as error:
            raise ProtocolError(f"headers can't be inflated: {error}") from None
        if self._inflate.unconsumed_tail:
            raise ProtocolError(f"more than {HEADERS_BYTES_MAX} bytes of headers")
        return _read_headers(text)


class _Skipped:
    """A frame that says nothing to us."""


def _settings(content: bytes) -> Settings:
    (count,) = struct.unpack_from(">I", content)
    if len(content) != 4 + 8 * count:
        raise ProtocolError("SETTINGS of a wrong length")
    return Settings(tuple(struct.unpack_from(">II", content, 4 + 8 * index) for index in range(count)))


def _read_headers(text: bytes) -> dict[str, str]:
    (count,) = struct.unpack_from(">I", text)
    if count > HEADERS_MAX:
        raise ProtocolError(f"{count} headers")
    offset, texts = 4, []
    for _ in range(2 * count):
        (length,) = struct.unpack_from(">I", text, offset)
        offset += 4
        if offset + length > len(text):
            raise ProtocolError("a header is longer than the headers")
        texts.append(text[offset : offset + length])
        offset += length
    try:
        pairs = [(name.decode(), value.decode()) for name, value in zip(texts[::2], texts[1::2], strict=True)]
    except UnicodeDecodeError:
        raise ProtocolError("a header is no UTF-8") from None
    headers = dict(pairs)
    if len(headers) < count or "" in headers:
        raise ProtocolError("a header without a name, or twice")
    return headers
