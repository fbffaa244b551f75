"""Connections that the balancer of this host gives away: served as if they had been accepted here.

The balancer is told of an end because it keeps a descriptor of the connection, to be able to cut it, and has to close
that too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from oarlock.cluster.giving import CLOSED, NUMBER, TAKEN

BACKLOG = 16
_PEER = struct.Struct("3i")
"""A peer's process, user and group. Source: unix(7), SO_PEERCRED."""

log = logging.getLogger(__name__)

Serve = Callable[[socket.socket, Callable[[], None]], Awaitable[None]]
"""Called with a client's connection and what to call once it has ended. Raises OSError if it has ended already."""


class HandedConnections:
    """Listens at `path` for balancers of the same user and serves what they give."""

    def __init__(self, path: str, serve: Serve) -> None:
        self._path, self._serve = Path(path), serve
        self._listener: socket.socket | None = None
        self._channels: set[socket.socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Listen. Raises OSError if the path can't be used."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            listener.settimeout(0)
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._acceptable, listener)

    def stop(self) -> None:
        """Take no more; what was taken goes on. What has been sent meanwhile goes to other servers. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        asyncio.get_running_loop().remove_reader(listener)
        listener.close()
        self._path.unlink(missing_ok=True)
        for channel in list(self._channels):
            self._end(channel)

    def _acceptable(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            channel, _ = listener.accept()
            _, user, _ = _PEER.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if user != os.getuid():
                log.warning("refused connections given by user %d", user)
                channel.close()
                return
            channel.settimeout(0)
            self._channels.add(channel)
            asyncio.get_running_loop().add_reader(channel, self._readable, channel)

    def _readable(self, channel: socket.socket) -> None:
        try:
            while channel in self._channels:
                try:
                    number, descriptors, _, _ = socket.recv_fds(channel, NUMBER.size, 1)
                except ConnectionResetError:  # it has left without hearing all; what it gave comes after that
                    continue
                if not number:
                    self._end(channel)
                for descriptor in descriptors:
                    self._take(channel, number, socket.socket(fileno=descriptor))
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("the balancer's channel broke error=%r", str(error))
            self._end(channel)

    def _take(self, channel: socket.socket, number: bytes, client: socket.socket) -> None:
        if not self._say(channel, TAKEN + number):
            client.close()  # the balancer will give it to somebody else
            return
        client.settimeout(0)
        task = asyncio.get_running_loop().create_task(self._run(channel, number, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, channel: socket.socket, number: bytes, client: socket.socket) -> None:
        def ended() -> None:
            self._say(channel, CLOSED + number)

        try:
            await self._serve(client, ended)
        except OSError:  # gone, or no TLS
            client.close()
            ended()

    def _say(self, channel: socket.socket, news: bytes) -> bool:
        """Tell the balancer; return False if it is there and doesn't listen, and end its channel.

        One that has left needn't be told: what it gave is this server's alone.
        """
        if channel not in self._channels:
            return False
        try:
            channel.send(news)
        except (BrokenPipeError, ConnectionResetError):
            return True
        except OSError:
            self._end(channel)
            return False
        return True

    def _end(self, channel: socket.socket) -> None:
        self._channels.discard(channel)
        asyncio.get_running_loop().remove_reader(channel)
        channel.close()
