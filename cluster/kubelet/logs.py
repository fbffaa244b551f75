"""Reading container logs in the CRI's format, from the end or from a time on, and following them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from oarlock.cluster.kubelet import timestamps
from oarlock.cluster.kubelet.inotify import FolderWatch

BLOCK_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Which part of a log is wanted. Source: PodLogOptions. `since_s` is a Unix time."""

    follow: bool = False
    tail_lines: int | None = None
    since_s: float | None = None
    timestamps: bool = False
    limit_bytes: int | None = None


class LogReader:
    """Turns the entries of one log file into what a person reads."""

    def __init__(self, path: Path, options: LogOptions) -> None:
        self._path = path
        self._options = options
        self._left = options.limit_bytes
        self._rest = b""
        self._in_line = False
        self._inode = 0

    async def read(self, ended: Callable[[], bool], watch: FolderWatch | None = None) -> AsyncIterator[bytes]:
        """Yield the log in pieces; with `watch`, go on with what is added until `ended` and all is read."""
        file = self._open()
        try:
            if file is not None and self._options.tail_lines is not None:
                seek_tail(file, self._options.tail_lines)
            while True:
                if watch is not None:
                    watch.clear()
                over = ended()
                while file is not None and (block := file.read(BLOCK_BYTES)):
                    piece = self._render(block)
                    if piece:
                        yield piece
                    if self._left == 0:
                        return
                if file is None or self._rotated():
                    fresh = self._open()
                    if fresh is not None:
                        if file is not None:
                            file.close()
                        file = fresh
                        continue
                if watch is None or over:
                    return
                await watch.changed()
        finally:
            if file is not None:
                file.close()

    def _open(self) -> BinaryIO | None:
        try:
            file = open(self._path, "rb")  # noqa: SIM115 - closed by read()
        except FileNotFoundError:
            return None
        self._inode = os.fstat(file.fileno()).st_ino
        return file

    def _rotated(self) -> bool:
        try:
            return os.stat(self._path).st_ino != self._inode  # noqa: PTH116
        except FileNotFoundError:
            return False

    def _render(self, block: bytes) -> bytes:
        *lines, self._rest = (self._rest + block).split(b"\n")
        piece = b"".join(self._entries(lines))
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
        return piece

    def _entries(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            parts = line.split(b" ", 3)
            if len(parts) < 4:
                continue
            stamp, _, tag, text = parts
            if self._options.since_s is not None and _unix_s(stamp) < self._options.since_s:
                continue
            if self._options.timestamps and not self._in_line:
                yield stamp + b" "
            self._in_line = tag == b"P"
            yield text if self._in_line else text + b"\n"


def seek_tail(file: BinaryIO, lines: int) -> None:
    """Place the file so that its last `lines` whole lines follow. Parts of one long line count as one."""
    end = position = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return
    blocks: list[bytes] = []
    while position > 0:
        size = min(BLOCK_BYTES, position)
        position -= size
        file.seek(position)
        blocks.append(file.read(size))
        tail = b"".join(reversed(blocks))
        starts = _line_starts(tail, whole=position == 0)
        if len(starts) >= lines:
            file.seek(end - len(tail) + starts[-lines])
            return
    file.seek(0)


def _line_starts(tail: bytes, *, whole: bool) -> list[int]:
    """Return where lines begin in the file's end; the first only if the file's beginning is included."""
    starts, offset, after_partial = [], 0, False
    if not whole:
        offset = tail.find(b"\n") + 1
        if offset == 0:
            return []
    while offset < len(tail):
        end = tail.find(b"\n", offset)
        end = len(tail) if end < 0 else end
        if not after_partial:
            starts.append(offset)
        parts = tail[offset:end].split(b" ", 3)
        after_partial = len(parts) == 4 and parts[2] == b"P"
        offset = end + 1
    return starts


def _unix_s(stamp: bytes) -> float:
    try:
        # Nine decimals are more than datetime reads.
        return timestamps.parse(stamp[:26].decode() + "Z")
    except ValueError:
        return 0.0
