"""A small Redis client for tests: commands out, replies in, as Python values."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

Reply = Any
"""bytes, int, None, a list of replies, a str for a status, or a ReplyError."""


class ReplyError(Exception):
    """An error that the server replied."""


class Redis:
    """One connection. Raises ConnectionError or IncompleteReadError once it is cut."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int, *, context: ssl.SSLContext | None = None) -> Redis:
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=context, limit=1 << 24))

    async def __call__(self, *words: bytes | str | int) -> Reply:
        """Send one command and return its reply; an error is raised."""
        self.send(encoded(*words))
        reply = await self.receive()
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def receive(self) -> Reply:
        line = (await self._reader.readuntil(b"\r\n"))[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return ReplyError(rest.decode())
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"$":
            return (await self._reader.readexactly(size + 2))[:-2]
        return [await self.receive() for _ in range(size)]

    async def ended(self) -> bytes:
        """Return what comes until the server closes."""
        try:
            return await self._reader.read()
        except ConnectionError:
            return b""

    def close(self) -> None:
        self._writer.close()


def encoded(*words: bytes | str | int) -> bytes:
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
