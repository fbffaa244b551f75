"""What a stream has received and nobody has read yet."""

from __future__ import annotations

import asyncio

BYTES_MAX = 64 << 10


class Inbox:
    """Bytes in order, with an end. Whoever fills it waits in `room` and so holds at most BYTES_MAX and one piece."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._ended = False
        self._broken = False
        self._discarding = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, data: bytes) -> None:
        """Add what has come; ignored after the end, or when nobody will read it."""
        if self._discarding or self._ended or not data:
            return
        self._data += data
        self._news.set()
        if len(self._data) >= BYTES_MAX:
            self._room.clear()

    async def room(self) -> None:
        """Return once more may be put."""
        await self._room.wait()

    async def read(self) -> bytes:
        """Return what has come since; b"" at the end. Raises ConnectionResetError if the stream broke off."""
        while not self._data:
            if self._broken:
                raise ConnectionResetError("the stream was reset")
            if self._ended:
                return b""
            self._news.clear()
            await self._news.wait()
        data = bytes(self._data)
        self._data.clear()
        self._room.set()
        return data

    def end(self, *, broken: bool = False) -> None:
        """Nothing more comes: what is here can still be read, unless the stream is `broken`."""
        if self._ended:
            return
        self._ended, self._broken = True, broken
        if broken:
            self._data.clear()
        self._news.set()
        self._room.set()

    def discard(self) -> None:
        """Drop what is here and all that comes: nobody reads any more."""
        self._discarding = True
        self._data.clear()
        self._room.set()
