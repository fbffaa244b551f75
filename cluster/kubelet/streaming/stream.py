"""What carries bytes: one stream of a connection, and the connection itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Stream(Protocol):
    """One of a connection's streams. `headers` have lower-case names."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def read(self) -> bytes:
        """Return the next bytes; b"" at the end. Raises ConnectionResetError if it broke off."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, waiting while the peer takes no more. Raises ConnectionError."""
        ...

    async def close(self) -> None:
        """Send the end of our side; the other side stays open. Idempotent."""
        ...

    def discard(self) -> None:
        """Read no more: what comes is dropped."""
        ...


class BytePipe(Protocol):
    """A connection without streams of its own."""

    async def read(self) -> bytes:
        """Return the next bytes; b"" once the peer is gone."""
        ...

    async def write(self, data: bytes) -> None:
        """Send, waiting while the peer takes no more. Raises ConnectionError."""
        ...

    async def close(self) -> None:
        """Let go of the connection once what was written is sent. Idempotent."""
        ...
