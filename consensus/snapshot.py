"""Snapshot files: the state machine's chunks, each with its checksum, complete or absent.

`INDEX-TERM.snapshot` (hexadecimal): a magic line, then for each chunk `bytes u32 | CRC-32 u32 | chunk`, then a trailer
`0 u32 | CRC-32 u32 | chunks u64 | index u64 | term u64`. A file gets its name only once it is whole and on disk.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from oarlock.consensus.storage import StorageFault, fsync_directory

MAGIC = b"oarlock snapshot\n"
CHUNK_HEADER = Struct("<II")
TRAILER = Struct("<QQQ")
CHUNK_BYTES_MAX = 64 << 20
SYNC_BYTES = 8 << 20
"""Bytes written between two fdatasyncs, so that the last one doesn't hold up the journal's."""


@dataclass(frozen=True, order=True)
class Snapshot:
    """A snapshot on disk that covers the log up to and including `index`, whose entry has `term`."""

    index: int
    term: int
    path: Path
    size: int


class SnapshotFolder:
    """The snapshots of one replica. `latest` is the newest whole one."""

    def __init__(self, folder: Path) -> None:
        """Open or create `folder`; what a crash left half-written is removed."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in folder.glob("*.part"):
            path.unlink()
        found = [_named(path) for path in folder.glob("*.snapshot")]
        self.latest: Snapshot | None = max(found, default=None)

    def write(self, index: int, term: int, chunks: Iterator[bytes]) -> SnapshotWriter:
        """Begin a snapshot of the state at `index`."""
        return SnapshotWriter(self, index, term, chunks)

    def receive(self, index: int, term: int) -> SnapshotReceiver:
        """Begin to take over another replica's snapshot file."""
        return SnapshotReceiver(self, index, term)

    def publish(self, part: Path, index: int, term: int) -> Snapshot:
        """Give a whole, synced file its name; older snapshots go. Blocking."""
        if self.latest is not None and self.latest.index >= index:
            part.unlink()  # a newer one was installed meanwhile
            return self.latest
        path = self.folder / f"{index:016x}-{term:016x}.snapshot"
        part.replace(path)
        fsync_directory(self.folder)
        self.latest = Snapshot(index, term, path, path.stat().st_size)
        for other in self.folder.glob("*.snapshot"):
            if other != path:
                other.unlink()
        return self.latest


class SnapshotWriter:
    """Writes a snapshot in steps. `step` runs on the event loop, `sync` and `publish` block and may run in a thread."""

    def __init__(self, folder: SnapshotFolder, index: int, term: int, chunks: Iterator[bytes]) -> None:
        self.index = index
        self.term = term
        self._folder = folder
        self._chunks = chunks
        self._count = 0
        self._unsynced = 0
        self._path = folder.folder / f"{index:016x}.part"
        self._file: BinaryIO = self._path.open("wb")
        self._file.write(MAGIC)

    @property
    def sync_due(self) -> bool:
        """True once so much is unsynced that `sync` should run before the next step."""
        return self._unsynced >= SYNC_BYTES

    def step(self) -> bool:
        """Write the next chunk; False when there is none and the trailer is written."""
        chunk = next(self._chunks, None)
        if chunk is None:
            body = TRAILER.pack(self._count, self.index, self.term)
            self._file.write(CHUNK_HEADER.pack(0, zlib.crc32(body)) + body)
            return False
        if chunk:
            self._file.write(CHUNK_HEADER.pack(len(chunk), zlib.crc32(chunk)))
            self._file.write(chunk)
            self._count += 1
            self._unsynced += len(chunk)
        return True

    def sync(self) -> None:
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._unsynced = 0

    def publish(self) -> Snapshot:
        """Make the whole snapshot durable under its name."""
        self.sync()
        self._file.close()
        return self._folder.publish(self._path, self.index, self.term)

    def abandon(self) -> None:
        """Give up and remove what is there."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class SnapshotReceiver:
    """Takes a snapshot file from the leader, piece by piece in order."""

    def __init__(self, folder: SnapshotFolder, index: int, term: int) -> None:
        self.index = index
        self.term = term
        self.offset = 0
        """Bytes taken so far, which is the offset wanted next."""
        self._folder = folder
        self._path = folder.folder / f"{index:016x}-received.part"
        self._file: BinaryIO = self._path.open("wb")

    def write(self, offset: int, data: bytes) -> None:
        """Take a piece; one at another offset than wanted is ignored."""
        if offset == self.offset:
            self._file.write(data)
            self.offset += len(data)

    def finish(self) -> Snapshot:
        """Verify every checksum, then make the file durable under its name. Raises StorageFault if it is damaged."""
        self._file.flush()
        for _ in read_chunks(Snapshot(self.index, self.term, self._path, self.offset)):
            pass
        os.fsync(self._file.fileno())
        self._file.close()
        return self._folder.publish(self._path, self.index, self.term)

    def abandon(self) -> None:
        """Give up and remove what is there."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class SnapshotSource:
    """An open snapshot file to send from; stays readable when a newer snapshot replaces it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._descriptor = os.open(snapshot.path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_chunks(snapshot: Snapshot) -> Iterator[bytes]:
    """Yield the chunks, each verified; raises StorageFault at the first that is damaged or missing."""
    with snapshot.path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise _damaged(snapshot, "doesn't begin as a snapshot")
        count = 0
        while True:
            head = file.read(CHUNK_HEADER.size)
            if len(head) < CHUNK_HEADER.size:
                raise _damaged(snapshot, f"ends after chunk {count}, without its trailer")
            size, crc = CHUNK_HEADER.unpack(head)
            chunk = file.read(size or TRAILER.size) if size <= CHUNK_BYTES_MAX else b""
            if zlib.crc32(chunk) != crc:
                raise _damaged(snapshot, f"has a wrong checksum at chunk {count + 1}")
            if not size:
                break
            count += 1
            yield chunk
        if len(chunk) != TRAILER.size or TRAILER.unpack(chunk) != (count, snapshot.index, snapshot.term):
            raise _damaged(snapshot, "doesn't hold what its trailer says")


def _named(path: Path) -> Snapshot:
    index, _, term = path.stem.partition("-")
    try:
        return Snapshot(int(index, 16), int(term, 16), path, path.stat().st_size)
    except ValueError:
        raise StorageFault(f"{path} is no snapshot of a replica: move it out of the folder") from None


def _damaged(snapshot: Snapshot, what: str) -> StorageFault:
    return StorageFault(
        f"snapshot {snapshot.path} {what}: the disk or a program damaged it. Restore this member's whole folder from a "
        "copy, or, while all other members are healthy, move the folder away and start the member empty"
    )
