"""Be told by the kernel when a file grows or moves, instead of looking again and again."""

from __future__ import annotations

import asyncio
import ctypes
import os
from types import TracebackType
from typing import Self

IN_MODIFY = 0x2
IN_CREATE = 0x100
IN_MOVED_TO = 0x80
EVENT_BYTES_MAX = 64 << 10


class FolderWatch:
    """Tells of writes and new files in one folder. Use as a context manager within a running event loop."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._changed = asyncio.Event()
        self._descriptor = -1

    def __enter__(self) -> Self:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = IN_MODIFY | IN_CREATE | IN_MOVED_TO
        if self._descriptor < 0 or libc.inotify_add_watch(self._descriptor, os.fsencode(self._folder), mask) < 0:
            number = ctypes.get_errno()
            self._close()
            raise OSError(number, os.strerror(number), self._folder)
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self._close()

    def clear(self) -> None:
        """Forget what has happened so far: call before looking at the files."""
        self._changed.clear()

    async def changed(self) -> None:
        """Return once something has happened since `clear`."""
        await self._changed.wait()

    def touch(self) -> None:
        """Wake whoever waits, for a reason of the caller's."""
        self._changed.set()

    def _read(self) -> None:
        os.read(self._descriptor, EVENT_BYTES_MAX)
        self._changed.set()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
