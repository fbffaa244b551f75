"""A disk in memory that remembers what would survive a power cut.

A file's bytes are durable up to its last fsync, a folder's names up to the folder's. A power cut keeps of the rest
whatever it likes: nothing, all, a torn part, or later sectors without earlier ones; of names any that were made,
renamed or removed. After a failed fsync the bytes can still be read but never reach the disk, as on Linux.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

SECTOR_BYTES = 512


class PowerLost(OSError):
    """The process ends in the middle of a system call."""


def failure(number: int, what: str) -> OSError:
    return OSError(number, os.strerror(number), what)


class File:
    """An inode: `data` is what programs read, `durable` what is on the platter, `dirty` the difference in order."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = bytearray()
        self.dirty: list[tuple[int, bytes | None]] = []
        """(offset, bytes written there), or (size, None) for a truncation."""
        self.lied = False
        """True once an fsync has failed: what it was for will never be durable."""
        self.locked_by: Descriptor | None = None

    def write(self, offset: int, data: bytes) -> None:
        _put(self.data, offset, data)
        self.dirty.append((offset, data))

    def truncate(self, size: int) -> None:
        _cut(self.data, size)
        self.dirty.append((size, None))

    def sync(self) -> None:
        for change in self.dirty:
            _replay(self.durable, change)
        self.dirty.clear()

    def fail_sync(self, rng: random.Random) -> None:
        """Lose some of what is dirty, and forget that it is."""
        self.lied = True
        for change in self.dirty:
            if rng.random() < 0.5:
                _replay(self.durable, change)
        self.dirty.clear()

    def lose_power(self, rng: random.Random) -> Counter[str]:
        happened: Counter[str] = Counter()
        if self.dirty:
            fate = rng.choice(("lost", "lost", "torn", "torn", "scattered", "kept"))
            happened[f"power_{fate}_bytes"] += 1
            for change in self._surviving(fate, rng):
                _replay(self.durable, change)
        self.data = bytearray(self.durable)
        self.dirty.clear()
        self.locked_by = None
        return happened

    def _surviving(self, fate: str, rng: random.Random) -> Iterator[tuple[int, bytes | None]]:
        if fate == "lost":
            return
        if fate == "kept":
            yield from self.dirty
            return
        whole = rng.randrange(len(self.dirty))
        yield from self.dirty[:whole]
        offset, data = self.dirty[whole]
        if data is None:
            return
        if fate == "torn":
            yield offset, data[: rng.randrange(len(data) + 1)]
            return
        whole_size = offset + len(data)
        while data:
            sector = data[: SECTOR_BYTES - offset % SECTOR_BYTES]
            if rng.random() < 0.5:
                yield offset, sector
            offset, data = offset + len(sector), data[len(sector) :]
        if rng.random() < 0.5:
            yield max(whole_size, len(self.durable)), None  # the new size was kept, the bytes read as zeros


class Folder:
    """Names. `pending` holds the changes since the folder was last synced, each of one or two names at once."""

    def __init__(self) -> None:
        self.names: dict[str, File | Folder] = {}
        self.durable: dict[str, File | Folder] = {}
        self.pending: list[dict[str, File | Folder | None]] = []

    def set(self, changes: dict[str, File | Folder | None]) -> None:
        _rename(self.names, changes)
        self.pending.append(changes)

    def sync(self) -> None:
        for changes in self.pending:
            _rename(self.durable, changes)
        self.pending.clear()

    def lose_power(self, rng: random.Random) -> Counter[str]:
        happened: Counter[str] = Counter()
        if self.pending:
            fate = rng.choice(("lost", "kept", "some", "any"))
            happened[f"power_{fate}_names"] += 1
            count = {"lost": 0, "kept": len(self.pending)}.get(fate, rng.randrange(len(self.pending) + 1))
            chosen = self.pending[:count] if fate != "any" else [one for one in self.pending if rng.random() < 0.5]
            for changes in chosen:
                _rename(self.durable, changes)
        self.pending.clear()
        self.names = dict(self.durable)
        for node in self.names.values():
            happened += node.lose_power(rng)
        return happened


class Descriptor:
    """An open file of one process."""

    def __init__(self, disk: Disk, file: File | Folder, path: str, flags: int) -> None:
        self.disk = disk
        self.file = file
        self.path = path
        self.append = bool(flags & os.O_APPEND)
        self.durable = bool(flags & os.O_DSYNC)
        self.position = 0
        self.open = True

    def close(self) -> None:
        self.open = False
        if isinstance(self.file, File) and self.file.locked_by is self:
            self.file.locked_by = None


class Disk:
    """One host's disk, its page cache included. Paths are absolute."""

    def __init__(self, rng: random.Random, stats: Counter[str]) -> None:
        self.rng = rng
        self.stats = stats
        self.root = Folder()
        self.full = False
        self.sync_fails = False
        self.stall_s = 0.0
        self.lied = False
        """True once it has lost what a program takes to be written."""
        self.troubled = False
        """True once it has refused anything to the process that runs."""
        self._calls_left: int | None = None
        self._numbers = iter(range(1000, 1 << 31))

    def delay_s(self) -> float:
        """Return how long the next piece of blocking work takes."""
        stall_s, self.stall_s = self.stall_s, 0.0
        return stall_s + self.rng.uniform(0.0002, 0.004)

    # What befalls it.

    @contextlib.contextmanager
    def dying(self, calls: int) -> Iterator[None]:
        """Let the process get through that many more calls in the block, no further."""
        self._calls_left = calls
        try:
            yield
        finally:
            self._calls_left = None

    def lose_power(self) -> None:
        """Keep what is durable, and of the rest what luck keeps."""
        self.stats.update(self.root.lose_power(self.rng))

    def close_all(self, process: Any) -> None:
        for descriptor in process.descriptors.values():
            descriptor.close()
        process.descriptors.clear()

    def call(self) -> None:
        """Count a system call that changes something."""
        if self._calls_left is not None:
            if self._calls_left == 0:
                raise PowerLost(errno.EIO, "the power is gone")
            self._calls_left -= 1

    # Names.

    def find(self, path: str) -> File | Folder:
        node: File | Folder = self.root
        for name in _parts(path):
            if not isinstance(node, Folder):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            if name not in node.names:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            node = node.names[name]
        return node

    def folder_of(self, path: str) -> tuple[Folder, str]:
        """Return the folder that `path` is in, and its name there."""
        *folders, name = _parts(path)
        node = self.find("/" + "/".join(folders))
        if not isinstance(node, Folder):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return node, name

    def make(self, path: str, node: File | Folder) -> None:
        self.call()
        if self.full:
            self._refuse_space(path)
        folder, name = self.folder_of(path)
        folder.set({name: node})

    def unlink(self, path: str) -> None:
        self.call()
        folder, name = self.folder_of(path)
        if name not in folder.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        folder.set({name: None})

    def rename(self, source: str, target: str) -> None:
        self.call()
        folder, name = self.folder_of(source)
        other, new = self.folder_of(target)
        assert folder is other, "renamed within one folder"
        folder.set({name: None, new: folder.names[name]})

    # Files.

    def open(self, process: Any, path: str, flags: int) -> int:
        try:
            node = self.find(path)
            if flags & os.O_CREAT and flags & os.O_EXCL:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            node = File()
            self.make(path, node)
        if isinstance(node, File) and flags & os.O_TRUNC and node.data:
            node.truncate(0)
        number = next(self._numbers)
        process.descriptors[number] = Descriptor(self, node, path, flags)
        return number

    def write(self, descriptor: Descriptor, data: bytes, place: int | None = None) -> int:
        """Write at `place`, None for where the descriptor stands, which then moves on."""
        file = self.usable(descriptor)
        if self.full:
            room = self.rng.randrange(len(data)) if data and self.rng.random() < 0.3 else 0
            if not room:
                self._refuse_space(descriptor.path)
            data = data[:room]
        offset = len(file.data) if descriptor.append else descriptor.position if place is None else place
        file.write(offset, bytes(data))
        if place is None:
            descriptor.position = offset + len(data)
        return len(data)

    def truncate(self, file: File, size: int) -> None:
        self.call()
        file.truncate(size)

    def sync(self, descriptor: Descriptor) -> None:
        self.call()
        if not descriptor.open:
            raise failure(errno.EBADF, descriptor.path)
        node = descriptor.file
        if self.sync_fails:
            self.sync_fails = False
            self.troubled = True
            self.stats["fsync_errors"] += 1
            if isinstance(node, File):
                self.lied = self.lied or bool(node.dirty)
                node.fail_sync(self.rng)
            raise failure(errno.EIO, descriptor.path)
        node.sync()

    def usable(self, descriptor: Descriptor) -> File:
        self.call()
        if not descriptor.open:
            raise failure(errno.EBADF, descriptor.path)
        if not isinstance(descriptor.file, File):
            raise failure(errno.EISDIR, descriptor.path)
        return descriptor.file

    def _refuse_space(self, path: str) -> None:
        self.troubled = True
        self.stats["disk_full_errors"] += 1
        raise failure(errno.ENOSPC, path)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _cut(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _replay(content: bytearray, change: tuple[int, bytes | None]) -> None:
    offset, data = change
    if data is None:
        _cut(content, offset)
    else:
        _put(content, offset, data)


def _rename(names: dict[str, File | Folder], changes: dict[str, File | Folder | None]) -> None:
    for name, node in changes.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node
