"""How much has arrived at a connection that its process has not read yet."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios


def unread_bytes(transport: asyncio.BaseTransport | None) -> int:
    """Return the bytes that wait in the kernel, 0 for a connection that is gone.

    Who closes an idle connection asks this last: a request that is there already must still be answered.
    """
    wire = None if transport is None else transport.get_extra_info("socket")
    if wire is None or wire.fileno() < 0:
        return 0
    (count,) = struct.unpack("i", fcntl.ioctl(wire.fileno(), termios.FIONREAD, b"\0" * 4))
    return int(count)
