"""The simulated disk in the shape of `pathlib` and `os`, as far as the store uses them.

What is missing here raises AttributeError: nothing reaches the real disk by mistake.
"""

from __future__ import annotations

import errno
import fcntl
import fnmatch
import io
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

from simulation.disk import Descriptor, Disk, File, Folder, failure
from simulation.process import Process, running


def _disk() -> Disk:
    disk = running().disk
    assert disk is not None, "a process with files has a disk"
    return disk


def _descriptor(number: int) -> Descriptor:
    descriptor = running().descriptors.get(number)
    if descriptor is None:
        raise failure(errno.EBADF, str(number))
    return cast("Descriptor", descriptor)


class SimPath(PurePosixPath):
    """A path on the disk of the running process."""

    def exists(self) -> bool:
        try:
            _disk().find(str(self))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def is_dir(self) -> bool:
        return self.exists() and isinstance(_disk().find(str(self)), Folder)

    def is_file(self) -> bool:
        return self.exists() and isinstance(_disk().find(str(self)), File)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if self.exists():
            if not exist_ok:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self))
            return
        if parents:
            self.parent.mkdir(mode, parents, exist_ok=True)
        _disk().make(str(self), Folder())

    def iterdir(self) -> Iterator[SimPath]:
        """Yield what is in the folder, in no order, as a real disk does."""
        folder = _disk().find(str(self))
        assert isinstance(folder, Folder), "a folder is listed"
        names = sorted(folder.names)
        _disk().rng.shuffle(names)
        return iter([self / name for name in names])

    def glob(self, pattern: str) -> Iterator[SimPath]:
        return iter([path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern)])

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            _disk().unlink(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def replace(self, target: SimPath) -> SimPath:
        _disk().rename(str(self), str(target))
        return target

    rename = replace

    def stat(self) -> Any:
        return _status(_disk().find(str(self)))

    def chmod(self, mode: int) -> None:
        """Nothing: permissions aren't simulated."""

    def read_bytes(self) -> bytes:
        with self.open("rb") as file:
            return cast("bytes", file.read())

    def open(self, mode: str = "r", buffering: int = -1) -> Any:
        flags = {"rb": os.O_RDONLY, "wb": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "r+b": os.O_RDWR}[mode]
        return _opened(_disk().open(running(), str(self), flags), mode)


class _Raw(io.RawIOBase):
    """An open descriptor as Python's buffered files want it."""

    def __init__(self, process: Process, number: int, *, writes: bool) -> None:
        self._process = process
        self._number = number
        self._writes = writes

    def fileno(self) -> int:
        return self._number

    def readable(self) -> bool:
        return not self._writes

    def writable(self) -> bool:
        return self._writes

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        descriptor = self._mine()
        start = (0, descriptor.position, len(cast("File", descriptor.file).data))[whence]
        descriptor.position = start + offset
        return descriptor.position

    def tell(self) -> int:
        return self._mine().position

    def readinto(self, buffer: Any) -> int:
        descriptor = self._mine()
        content = cast("File", descriptor.file).data[descriptor.position : descriptor.position + len(buffer)]
        buffer[: len(content)] = content
        descriptor.position += len(content)
        return len(content)

    def write(self, data: Any) -> int:
        if not self._process.alive and self._number not in self._process.descriptors:
            return len(data)  # a finalizer of a dead process: nobody writes
        return self._mine().disk.write(self._mine(), bytes(data))

    def truncate(self, size: int | None = None) -> int:
        descriptor = self._mine()
        size = descriptor.position if size is None else size
        descriptor.disk.truncate(cast("File", descriptor.file), size)
        return size

    def close(self) -> None:
        if not self.closed:
            super().close()
            descriptor = self._process.descriptors.pop(self._number, None)
            if descriptor is not None:
                descriptor.close()

    def _mine(self) -> Descriptor:
        descriptor = self._process.descriptors.get(self._number)
        if descriptor is None:
            raise failure(errno.EBADF, str(self._number))
        return cast("Descriptor", descriptor)


def _opened(number: int, mode: str) -> io.BufferedReader | io.BufferedWriter:
    raw = _Raw(running(), number, writes=mode != "rb")
    return io.BufferedReader(raw) if mode == "rb" else io.BufferedWriter(raw)


def _status(node: File | Folder) -> Any:
    return SimpleNamespace(st_size=len(node.data) if isinstance(node, File) else 0, st_mode=0o600, st_nlink=1)


def _path_or_number(target: Any) -> File | Folder:
    return _descriptor(target).file if isinstance(target, int) else _disk().find(str(target))


class SimOs:
    """The functions of `os` that the store's disk modules call."""

    def __getattr__(self, name: str) -> Any:
        if name.isupper() or name in {"strerror", "fspath", "path", "sep", "PathLike"}:
            return getattr(os, name)
        raise AttributeError(f"the simulation's os has no {name}: add it to tests/simulation/files.py")

    def getpid(self) -> int:
        return 1

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        return _disk().open(running(), str(path), flags)

    def close(self, number: int) -> None:
        _descriptor(number).close()
        del running().descriptors[number]

    def fdopen(self, number: int, mode: str) -> Any:
        return _opened(number, mode)

    def write(self, number: int, data: Any) -> int:
        return _disk().write(_descriptor(number), bytes(data))

    def read(self, number: int, size: int) -> bytes:
        descriptor = _descriptor(number)
        data = self.pread(number, size, descriptor.position)
        descriptor.position += len(data)
        return data

    def pread(self, number: int, size: int, offset: int) -> bytes:
        file = _descriptor(number).file
        assert isinstance(file, File), "a file is read"
        return bytes(file.data[offset : offset + size])

    def pwrite(self, number: int, data: Any, offset: int) -> int:
        _disk().usable(_descriptor(number)).write(offset, bytes(data))
        return len(data)

    def pwritev(self, number: int, buffers: list[Any], offset: int) -> int:
        written = _disk().write(_descriptor(number), b"".join(buffers), offset)
        if _descriptor(number).durable:
            self.fdatasync(number)
        return written

    def ftruncate(self, number: int, size: int) -> None:
        _disk().truncate(_disk().usable(_descriptor(number)), size)

    def truncate(self, target: Any, size: int) -> None:
        _disk().truncate(cast("File", _path_or_number(target)), size)

    def fstat(self, number: int) -> Any:
        return _status(_descriptor(number).file)

    def stat(self, target: Any) -> Any:
        return _status(_path_or_number(target))

    def unlink(self, path: Any) -> None:
        _disk().unlink(str(path))

    def replace(self, source: Any, target: Any) -> None:
        _disk().rename(str(source), str(target))

    def fsync(self, number: int) -> None:
        _disk().sync(_descriptor(number))

    def fdatasync(self, number: int) -> None:
        _disk().sync(_descriptor(number))


class SimFcntl:
    """`flock`, exclusive and not blocking."""

    LOCK_EX, LOCK_NB, LOCK_UN = fcntl.LOCK_EX, fcntl.LOCK_NB, fcntl.LOCK_UN

    def flock(self, number: int, operation: int) -> None:
        descriptor = _descriptor(number)
        file = descriptor.file
        assert isinstance(file, File), "a file is locked"
        if file.locked_by not in {None, descriptor}:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        file.locked_by = descriptor
