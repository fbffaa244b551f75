"""One file of the journal: a magic line, then batches, then zeros that the next batches are written over.

To make a batch durable that a file grows by, a disk writes the file's new size as well, each time and apart from the
bytes. Over zeros that stand there already a batch costs half as much (decision 0047).
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from struct import Struct

MAGIC = b"oarlock journal\n"
BATCH_MAGIC = b"OLJB"
BATCH_HEADER = Struct("<4sIQII")
END = b"\xff"
"""Last byte of a batch: never zero, so that a last sector which wasn't written shows."""
SECTOR_BYTES = 512
AHEAD_BYTES = 1 << 20
"""Zeros that are written at once when a batch needs more than there are."""


class Segment:
    """The file that the journal writes to. `reserve` gives a batch its place; `write` alone may run in a thread."""

    def __init__(self, path: Path, size: int, bytes_max: int) -> None:
        """Open or create a file whose batches end at `size`, and make all that it holds durable. Raises OSError.

        No zeros are written behind `bytes_max`.
        """
        self.path = path
        self.size = size
        self._bytes_max = bytes_max
        # O_DSYNC: a write returns once it is durable.
        self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DSYNC | os.O_CLOEXEC, 0o600)
        self._end = os.fstat(self._descriptor).st_size
        """The file's size: from `self.size` to here it holds zeros, or batches on their way."""
        if not size:
            self.write(self.reserve(len(MAGIC)), MAGIC)
        # What a killed process wrote may be in memory only: make it durable before anything is promised on it.
        os.fdatasync(self._descriptor)

    def reserve(self, size: int) -> int:
        """Return where a batch of so many bytes is to be written."""
        place, self.size = self.size, self.size + size
        return place

    def write(self, place: int, batch: bytes) -> None:
        """Write a batch where it was promised to be, and return once it is durable.

        Raises OSError, after which nobody knows what the file holds.
        """
        end = place + len(batch)
        zeros = b"" if end <= self._end else bytes(max(min(AHEAD_BYTES, self._bytes_max - end), 0))
        written = os.pwritev(self._descriptor, [batch, zeros], place)
        while written < len(batch):  # of the zeros as many as there is room for will do
            written += os.pwritev(self._descriptor, [memoryview(batch)[written:]], place + written)
        self._end = max(self._end, place + written)

    def close(self) -> None:
        """Cut off the zeros behind the batches and close the file, which is closed also if that raises OSError."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            if self._end > self.size:
                os.ftruncate(descriptor, self.size)
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


# Reading it back.


def batch(sequence: int, payload: bytes) -> bytes:
    """Return a payload, END included, as it stands in the file."""
    head = BATCH_HEADER.pack(BATCH_MAGIC, len(payload), sequence, zlib.crc32(payload), 0)[:-4]
    return head + zlib.crc32(head).to_bytes(4, "little") + payload


def batch_at(data: bytes, position: int) -> tuple[int, bytes] | None:
    """Return (sequence, payload) of the intact batch at `position`, None if there is none."""
    size = _size_at(data, position)
    if size is None:
        return None
    _, _, sequence, crc, _ = BATCH_HEADER.unpack_from(data, position)
    payload = data[position + BATCH_HEADER.size : position + size]
    return (sequence, payload) if position + size <= len(data) and zlib.crc32(payload) == crc else None


def is_blank(data: bytes, position: int) -> bool:
    """Tell whether nothing was ever written at `position` and behind it."""
    return not data[position:].strip(b"\0")


def is_torn(data: bytes, position: int) -> bool:
    """Tell whether the broken batch at `position`, the last of its file, is what a crash leaves of an unfinished write.

    Then a sector of it was never written and holds zeros, or its end is missing. What was whole once ends with END.
    """
    header_end = position + BATCH_HEADER.size
    size = _size_at(data, position)
    end = max(len(data.rstrip(b"\0")), header_end) if size is None else position + size
    if end > len(data) or not data[end - 1] or end == header_end:
        return True
    starts = (position, *range(position - position % SECTOR_BYTES + SECTOR_BYTES, end, SECTOR_BYTES))
    return not all(any(data[start:stop]) for start, stop in zip(starts, (*starts[1:], end), strict=True))


def _size_at(data: bytes, position: int) -> int | None:
    """Return how many bytes the batch at `position` has as its header tells, None if that isn't intact."""
    if len(data) - position < BATCH_HEADER.size:
        return None
    magic, size, _, _, header_crc = BATCH_HEADER.unpack_from(data, position)
    if magic != BATCH_MAGIC or zlib.crc32(data[position : position + BATCH_HEADER.size - 4]) != header_crc:
        return None
    return BATCH_HEADER.size + int(size)
