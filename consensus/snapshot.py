"""Snapshot files: the state machine's chunks, each with its checksum, complete or absent.

`INDEX-TERM.snapshot` (hexadecimal): a magic line, then for each chunk `bytes u32 | CRC-32 u32 | chunk`, then a trailer
`0 u32 | CRC-32 u32 | chunks u64 | index u64 | term u64`. A file gets its name only once it is whole and on disk.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from oarlock.consensus.storage import StorageFault, fsync_directory, make_folder

MAGIC = b"oarlock snapshot\n"
CHUNK_HEADER = Struct("<II")
TRAILER = Struct("<QQQ")
CHUNK_BYTES_MAX = 64 << 20
RECEIVED_SYNC_BYTES = 1 << 20
"""Bytes of a received snapshot between two fdatasyncs, so that none of them holds the event loop up for long."""
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
        make_folder(folder)
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
        self._file: BinaryIO = _create(self._path)
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
        with contextlib.suppress(OSError):  # what is buffered may find no room even now
            self._file.close()
        with contextlib.suppress(OSError):  # the next start removes it
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
        self._file: BinaryIO = _create(self._path)
        self._verifier = _Verifier()
        self._unsynced = 0

    def write(self, offset: int, data: bytes) -> None:
        """Take a piece; one at another offset than wanted is ignored."""
        if offset == self.offset:
            self._file.write(data)
            self.offset += len(data)
            self._verifier.feed(data)
            self._unsynced += len(data)
            if self._unsynced >= RECEIVED_SYNC_BYTES:
                self._sync()

    def finish(self) -> Snapshot:
        """Make the file durable under its name if every checksum is right. Raises StorageFault if it is damaged.

        What came before was verified and synced as it came, so little is left to do, however big the file is.
        """
        self._verifier.finish(Snapshot(self.index, self.term, self._path, self.offset))
        self._sync()
        self._file.close()
        return self._folder.publish(self._path, self.index, self.term)

    def _sync(self) -> None:
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._unsynced = 0

    def abandon(self) -> None:
        """Give up and remove what is there."""
        with contextlib.suppress(OSError):  # what is buffered may find no room even now
            self._file.close()
        with contextlib.suppress(OSError):  # the next start removes it
            self._path.unlink(missing_ok=True)


class _Verifier:
    """Checks a snapshot file's bytes as they come; never holds more than a chunk and a piece."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._count = 0
        self._began = self._damaged = False
        self._trailer = b""

    def feed(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._began and len(buffer) >= len(MAGIC):
            self._began = True
            self._damaged = not buffer.startswith(MAGIC)
            del buffer[: len(MAGIC)]
        position = 0
        while self._began and not self._damaged and len(buffer) - position >= CHUNK_HEADER.size:
            size, crc = CHUNK_HEADER.unpack_from(buffer, position)
            end = position + CHUNK_HEADER.size + (size or TRAILER.size)
            if self._trailer or size > CHUNK_BYTES_MAX:
                self._damaged = True
            elif len(buffer) < end:
                break
            else:
                self._take(bytes(buffer[position + CHUNK_HEADER.size : end]), size, crc)
                position = end
        del buffer[:position]

    def _take(self, chunk: bytes, size: int, crc: int) -> None:
        self._damaged = zlib.crc32(chunk) != crc
        if size:
            self._count += 1
        else:
            self._trailer = chunk

    def finish(self, snapshot: Snapshot) -> None:
        """Raise StorageFault unless the bytes were a whole snapshot file, and this one's."""
        if self._damaged or self._buffer or not self._trailer:
            raise _damaged(snapshot, f"is damaged or cut short behind chunk {self._count}")
        if TRAILER.unpack(self._trailer) != (self._count, snapshot.index, snapshot.term):
            raise _damaged(snapshot, "doesn't hold what its trailer says")


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


def _create(path: Path) -> BinaryIO:
    """Open an empty file that only this user can read."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "wb")


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
