"""A watch for a client that would rather be told often in one piece than at once in many (decision 0041)."""

from __future__ import annotations

import asyncio

from oarlock.cluster.apiserver.exchange import Wire
from oarlock.cluster.objects import status

HEADER = "Oarlock-Gather"
GATHER_MS_MAX = 1000
HELD_BYTES_MAX = 256 * 1024
"""More than that is sent before its time."""


def gather_s(header: str) -> float:
    """Return the seconds for the milliseconds of an Oarlock-Gather header, 0.0 without one. Raises ApiError 400."""
    if not header:
        return 0.0
    if not header.isdecimal() or int(header) > GATHER_MS_MAX:
        raise status.bad_request(f"{HEADER}: expected milliseconds up to {GATHER_MS_MAX}, got {header!r}")
    return int(header) / 1000


class GatheringWire:
    """Sends at once what comes after a pause, and gathers what follows within `pause_s` of the last sending.

    So a lone event is as early as ever, and a stream of them costs so many sendings a second, however many there are.
    """

    def __init__(self, wire: Wire, pause_s: float) -> None:
        self._wire, self._pause_s = wire, pause_s
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes) -> None:
        self.flush()
        self._wire.write(data)

    def write_chunks(self, chunks: bytes) -> None:
        self._held.append(chunks)
        self._held_bytes += len(chunks)
        if self._timer is None or self._held_bytes > HELD_BYTES_MAX:
            self.flush()
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._pause_over)

    def push(self, chunks: bytes, unsent_max: int) -> bool:
        if self.unsent() > unsent_max:
            self.abort()
            return False
        self.write_chunks(chunks)
        return True

    def flush(self) -> None:
        """Send what is held, now."""
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            self._wire.write_chunks(held[0] if len(held) == 1 else b"".join(held))

    def end(self) -> None:
        """Send what is held and hold nothing from now on: the answer ends."""
        self.flush()
        if self._timer is not None:
            self._timer.cancel()

    async def drain(self) -> None:
        await self._wire.drain()

    def unsent(self) -> int:
        return self._wire.unsent() + self._held_bytes

    def abort(self) -> None:
        self._held, self._held_bytes = [], 0
        self._wire.abort()

    def _pause_over(self) -> None:
        self._timer = None
        if self._held:
            self.flush()
            self._timer = asyncio.get_running_loop().call_later(self._pause_s, self._pause_over)
