"""What the store asks of its sockets: TCP that notices a silent peer, and Unix sockets for this user alone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

DEAD_AFTER_MS = 5_000
BACKLOG = 128


def notice_death(transport: asyncio.BaseTransport) -> None:
    """Have the kernel notice a silent peer within about ten seconds; nothing in this process need poll for it."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)


class UnixSocket:
    """A listening Unix socket that only this user can connect to, from the moment its file exists."""

    def __init__(self, path: Path) -> None:
        """Listen at `path`, in the place of a socket that a dead process left.

        Raises OSError if a live process listens there, or if the file is no socket.
        """
        self._path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with _alone_in(path.parent):
                _remove_stale(path)
                # Linux gives the file the mode of the unbound socket. A umask would be every thread's.
                os.fchmod(self.listener.fileno(), 0o600)
                self.listener.bind(str(path))
                self.listener.listen(BACKLOG)
                self._inode = _inode(path)
        except BaseException:
            self.listener.close()
            raise

    def remove(self) -> None:
        """Remove the file, unless it is another's by now."""
        with contextlib.suppress(FileNotFoundError):
            if _inode(self._path) == self._inode:
                self._path.unlink()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other replicas from looking for stale sockets in `folder` at the same time."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, f"{path} exists and is no socket: give another path, or remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        answer = probe.connect_ex(str(path))
    if answer == errno.ECONNREFUSED:
        path.unlink()
    elif answer != errno.ENOENT:
        raise OSError(errno.EADDRINUSE, f"another process listens on the socket {path}: stop it first")


def _inode(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
