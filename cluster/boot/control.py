"""The control socket of a running cluster: one JSON line asks, JSON lines answer until the server closes.

A Unix socket in a folder that only its user can enter; there is nothing else to authenticate.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

LINE_BYTES_MAX = 4 << 20
Answer = dict[str, Any]
Handler = Callable[[str, str], AsyncIterator[Answer]]
"""Yields the answers to an operation on a part; most have "" for the part and mean all."""


class ControlServer:
    """Serves `handler(operation, part)`; each value that it yields is sent as one line."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. The path appears only once whoever finds it is answered."""
        unready = self._path.with_name("new")
        for path in (unready, self._path):
            path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, unready)
        unready.chmod(0o600)
        unready.rename(self._path)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
            request = json.loads(await reader.readline())
            async for answer in self._handler(str(request.get("operation")), str(request.get("part", ""))):
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()


def ask(path: Path, operation: str, timeout_s: float | None = 30.0, part: str = "") -> Iterator[Answer]:
    """Yield the answers of a running cluster. Raises OSError when none listens or none answers in `timeout_s`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(json.dumps({"operation": operation, "part": part}).encode() + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                yield json.loads(line)
