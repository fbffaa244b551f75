"""Frames of the client protocol: many requests, answers and watches over one connection.

A frame is `HEADER` (length of the rest, kind, id) and a body. A client numbers its requests and watches; answers carry
the request's id. A body longer than `PIECE_BYTES` travels in pieces, all but the last with kind `MORE`.

| kind | sent by | body |
|---|---|---|
| HELLO | client, first | (protocol version, client id, cluster id or "") |
| ROLE | server: first, and on every change | (name, cluster id, whether it leads, term) |
| COMMAND | client | `encoding.encode_command` |
| RANGE | client | (Range, serializable) |
| REVISION, STATUS | client | empty |
| KEEP_ALIVE, LEASE | client | lease id |
| WATCH | client | (key, range end, start revision, previous, batches that may come) |
| CREDIT | client | how many more batches may come |
| CANCEL | client | empty |
| RESULT | server | the answer, after any PARTs |
| PART | server | some of a range's key-values, before its RESULT |
| BATCH | server | WatchBatch |
| ERROR | server | `encoding.encode_error`; ends the request or watch |
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Annotated, NamedTuple

import msgspec

from oarlock.consensus.model import InvalidRequest, Natural

PROTOCOL = 1
HEADER = Struct(">IBQ")
PIECE_BYTES = 1 << 20
FRAME_BYTES_MAX = 4 << 20
HELLO_BYTES_MAX = 4096
"""Of the first frame, from whoever has connected."""
MESSAGE_BYTES_MAX = 512 << 20
"""A whole answer: an upper bound on what a client collects for one request."""
WATCH_CREDIT = 16
"""Batches that a server may send ahead of the watch's reader."""
_KIND_ID_BYTES = HEADER.size - 4


class Kind(IntEnum):
    MORE = 0
    HELLO = 1
    ROLE = 2
    COMMAND = 3
    RANGE = 4
    REVISION = 5
    STATUS = 6
    KEEP_ALIVE = 7
    LEASE = 8
    WATCH = 9
    CREDIT = 10
    CANCEL = 11
    RESULT = 12
    PART = 13
    BATCH = 14
    ERROR = 15


Short = Annotated[str, msgspec.Meta(max_length=256)]


class Hello(NamedTuple):
    """`client` is an identity of 64 random bits, the first half of the client's request ids."""

    protocol: int
    client: Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
    cluster_id: Short


class Role(NamedTuple):
    name: Short
    cluster_id: Short
    leads: bool
    term: int


class WatchRequest(NamedTuple):
    key: Annotated[bytes, msgspec.Meta(min_length=1)]
    range_end: bytes
    start_revision: Natural
    previous: bool
    credit: Natural


class Frame(NamedTuple):
    kind: int
    id: int
    body: bytes


def frame(kind: Kind, id: int, body: bytes = b"") -> bytes:  # noqa: A002
    """Return one frame, or as many as the body takes."""
    if len(body) <= PIECE_BYTES:
        return HEADER.pack(len(body) + _KIND_ID_BYTES, kind, id) + body
    return b"".join(_pieces(kind, id, body))


def request_frame(kind: Kind, id: int, body: bytes) -> bytes:  # noqa: A002
    """Return one frame, whole: requests are bounded by themselves, only answers travel in pieces."""
    return HEADER.pack(len(body) + _KIND_ID_BYTES, kind, id) + body


def _pieces(kind: Kind, id: int, body: bytes) -> Iterator[bytes]:  # noqa: A002
    last = (len(body) - 1) // PIECE_BYTES * PIECE_BYTES
    for at in range(0, last, PIECE_BYTES):
        yield HEADER.pack(PIECE_BYTES + _KIND_ID_BYTES, Kind.MORE, id)
        yield body[at : at + PIECE_BYTES]
    yield HEADER.pack(len(body) - last + _KIND_ID_BYTES, kind, id)
    yield body[last:]


class FrameReader:
    """Cuts a byte stream into frames. Raises InvalidRequest for a frame that is too short or too long."""

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete now; a generator that must be exhausted."""
        buffer = self._buffer
        buffer += data
        position = 0
        available = len(buffer)
        while available - position >= HEADER.size:
            length, kind, frame_id = HEADER.unpack_from(buffer, position)
            if not _KIND_ID_BYTES <= length <= self.bytes_max:
                raise InvalidRequest(f"malformed frame: {length} bytes, at most {self.bytes_max}")
            end = position + 4 + length
            if end > available:
                break
            yield Frame(kind, frame_id, bytes(memoryview(buffer)[position + HEADER.size : end]))
            position = end
        del buffer[:position]


class Joiner:
    """Puts answers that came in pieces together. Raises InvalidRequest beyond MESSAGE_BYTES_MAX."""

    def __init__(self) -> None:
        self._pieces: dict[int, bytearray] = {}

    def join(self, piece: Frame) -> Frame | None:
        """Return the whole message once its last piece is there."""
        if piece.kind != Kind.MORE:
            if not self._pieces:
                return piece
            start = self._pieces.pop(piece.id, None)
            return piece if start is None else piece._replace(body=bytes(start + piece.body))
        start = self._pieces.setdefault(piece.id, bytearray())
        start += piece.body
        if len(start) > MESSAGE_BYTES_MAX:
            raise InvalidRequest(f"an answer exceeds {MESSAGE_BYTES_MAX} bytes")
        return None
