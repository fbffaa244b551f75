"""The right to listen on ClusterIPs: one process of a machine has it, the kernel takes it back when that one ends."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path


class Claim:
    """A lock on a file. Without a file everybody has the right."""

    def __init__(self, path: Path | None, interval_s: float) -> None:
        self._path = path
        self._interval_s = interval_s
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._path is None or self._descriptor is not None

    async def acquire(self) -> None:
        """Return once the right is ours; the lock has no event to wait for, so it is tried at each interval."""
        while not self._try():  # noqa: ASYNC110 - a file lock wakes nobody
            await asyncio.sleep(self._interval_s)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> bool:
        if self.held:
            return True
        assert self._path is not None
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True
