"""The agent's side of attaching to a container's own streams; attachpoint.py is the other one."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Self

from oarlock.cluster.kubelet import attachpoint
from oarlock.cluster.kubelet.runtime import RuntimeFailure
from oarlock.cluster.kubelet.streaming.inbox import Inbox

PACKET_BYTES = attachpoint.PACKET_BYTES
END_TIMEOUT_S = 1.0
"""How long a container that takes no input may hold up whoever leaves it."""


class _Link:
    """Packets to and from the container's keeper."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Through the folder's descriptor: a socket's whole path may have 107 bytes only.
        descriptor = os.open(folder, os.O_PATH)
        try:
            self._socket.connect(f"/proc/self/fd/{descriptor}/{attachpoint.NAME}")
        except OSError as error:
            self._socket.close()
            raise RuntimeFailure(f"the container's streams can't be reached: {error.strerror}") from None
        finally:
            os.close(descriptor)
        self._socket.setblocking(False)  # noqa: FBT003 - its only form

    async def receive(self) -> bytes:
        """Return the next packet; b"" once the container is gone."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        while True:
            try:
                return self._socket.recv(PACKET_BYTES + 1)
            except BlockingIOError:
                ready.clear()
                loop.add_reader(self._socket, ready.set)
                try:
                    await ready.wait()
                finally:
                    loop.remove_reader(self._socket)
            except OSError:
                return b""

    async def send(self, packet: bytes) -> None:
        """Send a packet, waiting for room. Raises BrokenPipeError once the container is gone."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        while not self.offer(packet):
            ready.clear()
            loop.add_writer(self._socket, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_writer(self._socket)

    def offer(self, packet: bytes) -> bool:
        """Send a packet if there is room for it, and tell. Raises BrokenPipeError."""
        try:
            self._socket.send(packet)
        except BlockingIOError:
            return False
        except OSError:
            raise BrokenPipeError from None
        return True

    def close(self) -> None:
        self._socket.close()


class _Input:
    """The container's standard input."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), PACKET_BYTES):
            await self._link.send(b"i" + data[start : start + PACKET_BYTES])

    async def end(self) -> None:
        """Let the container see the end, if its stdinOnce wants it."""
        await self._link.send(b"x")


class Attachment:
    """A container's own streams, as runtime.Streams."""

    def __init__(self, folder: Path, *, stdin: bool, tty: bool) -> None:
        self._link = _Link(folder)
        self.stdin = _Input(self._link) if stdin else None
        self.stdout = Inbox()
        self.stderr = None if tty else Inbox()
        self.tty = tty
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self.stdin is not None:
            with suppress(BrokenPipeError, TimeoutError):
                async with asyncio.timeout(END_TIMEOUT_S):
                    await self.stdin.end()
        self._link.close()

    def resize(self, width: int, height: int) -> None:
        if self.tty:
            with suppress(BrokenPipeError):
                self._link.offer(f"r{width} {height}".encode())

    async def wait(self) -> int:
        assert self._reading is not None
        await asyncio.shield(self._reading)
        return 0

    async def _read(self) -> None:
        try:
            while packet := await self._link.receive():
                inbox = self.stdout if packet[:1] == b"o" or self.stderr is None else self.stderr
                inbox.put(packet[1:])
                await inbox.room()
        finally:
            self.stdout.end()
            if self.stderr is not None:
                self.stderr.end()
