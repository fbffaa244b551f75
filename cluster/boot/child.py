"""One supervised process: started, watched until it is ready, waited for, ended with all its group."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

NOTICE_BYTES_MAX = 65_536
IN_VAIN = 78
"""Exit status of a process that would end in the same way after every start: EX_CONFIG. Source: sysexits.h."""
LISTEN = "OARLOCK_LISTEN_FDS"
"""An environment variable that names the inherited sockets on which the process is to take connections."""


class ChildFailed(Exception):
    """The process ended, or said that it failed, before it was ready. The text is the reason for people."""


class Child:
    """A process in a session of its own. It tells of its readiness by one JSON line on the pipe OARLOCK_NOTIFY_FD."""

    def __init__(self, process: asyncio.subprocess.Process, notices: asyncio.StreamReader, log: Path) -> None:
        self._process = process
        self._notices = notices
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def in_vain(self) -> bool:
        """True once the process has ended and it would be of no use to start it again."""
        return self._process.returncode == IN_VAIN

    @classmethod
    async def start(cls, role: str, settings_file: Path, log: Path, environment: Mapping[str, str]) -> Child:
        read_end, write_end = os.pipe()
        try:
            with log.open("ab") as output:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "oarlock.cluster.boot.process",
                    role,
                    str(settings_file),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(write_end, *map(int, environment.get(LISTEN, "").split())),
                    start_new_session=True,
                    env={**os.environ, **environment, "OARLOCK_NOTIFY_FD": str(write_end)},
                )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        reader = asyncio.StreamReader(NOTICE_BYTES_MAX)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb")
        )
        return cls(process, reader, log)

    async def ready(self, within_s: float) -> dict[str, Any]:
        """Return what the process said when it became ready. Raises ChildFailed."""
        try:
            async with asyncio.timeout(within_s):
                line = await self._notices.readline()
        except TimeoutError:
            raise ChildFailed(f"not ready after {within_s:g} s; see {self._log}") from None
        if not line:
            code = await self._process.wait()
            raise ChildFailed(f"{_ending(code)} before it was ready; see {self._log}")
        notice: dict[str, Any] = json.loads(line)
        if "error" in notice:
            raise ChildFailed(str(notice["error"]))
        return notice

    async def wait(self) -> str:
        """Return how the process ended, as a phrase, or what it said itself before it ended in vain."""
        code = await self._process.wait()
        if code != IN_VAIN:
            return _ending(code)
        line = await self._notices.readline()
        return str(json.loads(line)["error"]) if line else _ending(code)

    async def stop(self, within_s: float) -> None:
        """End the process: SIGTERM, after `within_s` SIGKILL; then whatever is left of its process group."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(within_s):
                await self._process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def inherited_listeners() -> list[socket.socket]:
    """Return the sockets that the supervisor holds for this process, if it holds any."""
    return [socket.socket(fileno=int(descriptor)) for descriptor in os.environ.pop(LISTEN, "").split()]


class Notifier:
    """The child's end of the pipe: says once that it is ready, or why not; and at its end why that is for good."""

    def __init__(self) -> None:
        descriptor = os.environ.pop("OARLOCK_NOTIFY_FD", "")
        self._write: Callable[[bytes], object] = lambda _: None
        if descriptor:
            file = os.fdopen(int(descriptor), "wb", buffering=0)
            os.set_inheritable(file.fileno(), False)  # noqa: FBT003 - positional only
            self._write = file.write

    def ready(self, address: str, metrics: str) -> None:
        self._send({"address": address, "metrics": metrics})

    def failed(self, reason: str) -> None:
        self._send({"error": reason})

    def _send(self, notice: dict[str, str]) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._write(json.dumps(notice).encode() + b"\n")


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"ended with status {code}"
