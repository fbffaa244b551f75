"""Requests and answers as the handlers see them, free of any HTTP library."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Query:
    """The decoded query string. Repeated names keep their order; a name without a value has the value ""."""

    __slots__ = ("_pairs", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        """As it was sent."""
        self._pairs: dict[str, list[str]] = {}
        if text:
            for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=256):
                self._pairs.setdefault(name, []).append(value)

    def get(self, name: str, default: str = "") -> str:
        """Return the first value of `name`."""
        values = self._pairs.get(name)
        return values[0] if values else default

    def all(self, name: str) -> list[str]:
        """Return every value of `name` in the order given."""
        return self._pairs.get(name, [])

    def has(self, name: str) -> bool:
        """Tell whether `name` was given at all."""
        return name in self._pairs

    def flag(self, name: str) -> bool:
        """Return a boolean parameter as apimachinery reads it: absent, "0" and "false" (any case) are false."""
        return name in self._pairs and self._pairs[name][0].lower() not in ("0", "false")


@dataclass(slots=True)
class Request:
    """One request. `path` is still percent-encoded; `headers` look names up case-insensitively.

    `read` returns the whole body, at most 3 MiB, and raises ApiError 413 or 408; `pieces` yields a body of any length
    as it comes, and raises ConnectionError. `peer` is the verified client certificate's (common name, organizations),
    if one was shown; `address` the client's IP address.
    """

    method: str
    path: str
    query: Query
    headers: Mapping[str, str]
    read: Callable[[], Awaitable[bytes]]
    peer: tuple[str, tuple[str, ...]] | None = None
    warnings: list[str] = field(default_factory=list)
    pieces: Callable[[], AsyncIterator[bytes]] | None = None
    address: str = ""


class Parts:
    """A large body of so many bytes, put together while it is sent: to do so at once would stall everybody else.

    `make` begins anew each time it is called.
    """

    __slots__ = ("_make", "_size")

    def __init__(self, size: int, make: Callable[[], Iterator[bytes | memoryview]]) -> None:
        self._size, self._make = size, make

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self._make())

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield the body in pieces of at least so many bytes, but for the last."""
        held: list[bytes | memoryview] = []
        held_bytes = 0
        for part in self._make():
            held.append(part)
            held_bytes += len(part)
            if held_bytes >= size:
                yield b"".join(held)
                held, held_bytes = [], 0
        if held:
            yield b"".join(held)


@dataclass(slots=True)
class Response:
    """A complete answer."""

    status: int = 200
    body: bytes | Parts = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


def chunk(data: bytes) -> bytes:
    """Return some bytes of a streamed answer as they go over the wire. Source: RFC 9112 7.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def unchunked(chunks: bytes) -> bytes:
    """Return what is in whole chunks."""
    pieces, at = [], 0
    while at < len(chunks):
        start = chunks.index(b"\r\n", at) + 2
        end = start + int(chunks[at : start - 2], 16)
        pieces.append(chunks[start:end])
        at = end + 2
    return b"".join(pieces)


class Wire(Protocol):
    """The sending side of a streamed answer."""

    def write(self, data: bytes) -> None:
        """Send `data` as one chunk without waiting; ignored if empty, and once the connection is gone."""
        ...

    def write_chunks(self, chunks: bytes) -> None:
        """Send what `chunk` has made, which many may share, without waiting; ignored once the connection is gone."""
        ...

    def push(self, chunks: bytes, unsent_max: int) -> bool:
        """Do as `write_chunks`, but drop the connection and return False if more than so many bytes are unsent."""
        ...

    async def drain(self) -> None:
        """Wait until little is left unsent. Raises ConnectionError when the connection is gone."""
        ...

    def unsent(self) -> int:
        """Return how many bytes wait in the connection's buffer."""
        ...

    def abort(self) -> None:
        """Drop the connection and what is unsent."""
        ...


class Rest(Protocol):
    """What is left of a streamed answer once all that had to be waited for is done: it is called, and needs no task."""

    def begin(self, end: Callable[[], None]) -> None:
        """Write from now on when there is something to write, and call `end` when nothing more will come."""
        ...

    def gone(self) -> None:
        """Write no more: the answer has ended, or its client has gone away. Called once, whatever happens."""
        ...


@dataclass(slots=True)
class Stream:
    """An answer that is written while `run` lasts, and by the `Rest` that it returns, if it does.

    `run` is cancelled when the client goes away. A `lasting` one has no end of its own and knows of none of the
    server's.
    """

    run: Callable[[Wire], Awaitable[Rest | None]]
    status: int = 200
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    lasting: bool = False


@dataclass(slots=True)
class Relayed:
    """Another server's answer, passed on as it comes. `headers` may repeat names; without a length it goes in chunks.

    `close` is called in the end, whatever happens.
    """

    status: int
    headers: list[tuple[str, str]]
    pieces: AsyncIterator[bytes]
    close: Callable[[], None]


class Connection(Protocol):
    """A client's connection whose bytes mean something other than HTTP."""

    async def read(self) -> bytes:
        """Return the next bytes; b"" once the client has ended it."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, waiting while the client takes no more. Raises ConnectionError."""
        ...


@dataclass(slots=True)
class Takeover:
    """An answer after which the connection is no longer HTTP: `head` is sent, then `run` has it until it returns.

    `run` is cancelled when the client goes away or the server stops.
    """

    head: bytes
    run: Callable[[Connection], Awaitable[None]]
    status: int = 101


Answer = Response | Stream | Relayed | Takeover
Handler = Callable[[Request], Awaitable[Answer]]


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
WARNINGS_CHARS_MAX = 4096
WARNING_CHARS_MAX = 256
"""Where the first is passed, each warning is cut to the second, and those that still don't fit are left out.

Source: apiserver pkg/endpoints/filters/warning.go.
"""


def warning_headers(given: Iterable[str]) -> list[str]:
    """Return texts as values of Warning headers: code 299, no agent, quoted. Source: RFC 7234 5.5, KEP-1693.

    One with control characters is no header and left out, as upstream does.
    """
    texts = [text for text in dict.fromkeys(given) if not _CONTROL.search(text)]
    if sum(map(len, texts)) > WARNINGS_CHARS_MAX:
        texts = _fitting(text[:WARNING_CHARS_MAX] for text in texts)
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return [f'299 - "{text}"' for text in quoted]


def _fitting(texts: Iterable[str]) -> list[str]:
    kept: list[str] = []
    left = WARNINGS_CHARS_MAX
    for text in texts:
        left -= len(text)
        if left < 0:
            break
        kept.append(text)
    return kept
