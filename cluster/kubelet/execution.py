"""A command that runs beside a container's own process, with its streams open to whoever asked for it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import resource
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from oarlock.cluster.kubelet.runtime import RuntimeFailure

TERMINAL = Path(__file__).with_name("terminal.py")
READ_BYTES_MAX = 32 << 10
NICE_MAX = 19


class End:
    """Our end of a pipe or terminal: reads and writes wait in the event loop, and hold nothing back."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._readable = asyncio.Event()
        self._finished = False
        os.set_blocking(descriptor, False)

    async def read(self) -> bytes:
        """Return what has come; b"" once nothing can come any more."""
        while self._descriptor >= 0:
            try:
                return os.read(self._descriptor, READ_BYTES_MAX)
            except BlockingIOError:
                if self._finished:
                    break
                await self._ready_to_read()
            except OSError:
                # A terminal that nobody holds open any more says EIO.
                break
        return b""

    async def write(self, data: bytes) -> None:
        """Return once all is handed over. Raises BrokenPipeError if nobody will read it."""
        rest = memoryview(data)
        while rest:
            if self._descriptor < 0:
                raise BrokenPipeError
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                await self._ready_to_write()
            except OSError:
                raise BrokenPipeError from None

    async def end(self) -> None:
        """Let the other end read the end."""
        self.close()

    def finish(self) -> None:
        """Let `read` return what is there and then end, whoever may still hold the other end open."""
        self._finished = True
        self._readable.set()

    def resize(self, width: int, height: int) -> None:
        """Tell a terminal its size in characters; the command gets SIGWINCH."""
        with suppress(OSError):
            fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def close(self) -> None:
        """Close it. Idempotent; nobody may be waiting in it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    async def _ready_to_read(self) -> None:
        loop = asyncio.get_running_loop()
        self._readable.clear()
        loop.add_reader(self._descriptor, self._readable.set)
        try:
            await self._readable.wait()
        finally:
            loop.remove_reader(self._descriptor)

    async def _ready_to_write(self) -> None:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(self._descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._descriptor)


@dataclass(frozen=True, slots=True)
class Command:
    """What runs and how: `nice` and `memory_bytes` (0 for no limit) are the container's own."""

    program: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    working_dir: str
    nice: int = 0
    memory_bytes: int = 0


class Execution:
    """A running command, as runtime.Streams; on a terminal, everything goes through `stdin` and `stdout`.

    Leaving it before the command has ended kills the command's process group. What a command that has ended left
    running goes on, as a part of the container.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], stdin: End | None, stdout: End, stderr: End | None, *, tty: bool
    ) -> None:
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self._ended = False
        self.stdin, self.stdout, self.stderr, self.tty = stdin, stdout, stderr, tty

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._ended:
            # The leader is not reaped yet: its number can't be another group's.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        for end in (self.stdin, self.stdout, self.stderr):
            if end is not None:
                end.close()
        self._process.wait()
        os.close(self._pidfd)

    def resize(self, width: int, height: int) -> None:
        if self.tty:
            self.stdout.resize(width, height)

    async def wait(self) -> int:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._pidfd)
        code = self._process.wait()
        self._ended = True
        for end in (self.stdout, self.stderr):
            if end is not None:
                end.finish()
        return code if code >= 0 else 128 - code


def start(command: Command, *, stdin: bool, tty: bool) -> Execution:
    """Start a command in a session of its own. Raises RuntimeFailure."""
    execution = _on_terminal(command) if tty else _on_pipes(command, stdin=stdin)
    pid = execution._process.pid  # noqa: SLF001 - the class' own maker
    with suppress(OSError, ValueError):
        if command.nice:
            os.setpriority(os.PRIO_PROCESS, pid, min(command.nice, NICE_MAX))
        if command.memory_bytes:
            resource.prlimit(pid, resource.RLIMIT_AS, (command.memory_bytes, command.memory_bytes))
    return execution


def _on_terminal(command: Command) -> Execution:
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        raise RuntimeFailure(f"no terminal: {error.strerror}") from None
    python = os.path.realpath(sys.executable)
    argv = [python, "-I", "-S", "-E", str(TERMINAL), command.program, *command.argv]
    environment = {"TERM": "xterm", **command.environment}
    try:
        process = _spawn(python, argv, environment, command.working_dir, (theirs, theirs, theirs))
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    end = End(ours)
    return Execution(process, end, end, None, tty=True)


def _on_pipes(command: Command, *, stdin: bool) -> Execution:
    outputs, errors = os.pipe(), os.pipe()
    inputs = os.pipe() if stdin else (os.open(os.devnull, os.O_RDONLY), -1)
    theirs = (inputs[0], outputs[1], errors[1])
    ours = [descriptor for descriptor in (inputs[1], outputs[0], errors[0]) if descriptor >= 0]
    try:
        process = _spawn(command.program, command.argv, command.environment, command.working_dir, theirs)
    except BaseException:
        for descriptor in ours:
            os.close(descriptor)
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    return Execution(process, End(inputs[1]) if stdin else None, End(outputs[0]), End(errors[0]), tty=False)


def _spawn(
    program: str, argv: Sequence[str], environment: Mapping[str, str], cwd: str, streams: tuple[int, int, int]
) -> subprocess.Popen[bytes]:
    stdin, stdout, stderr = streams
    try:
        return subprocess.Popen(
            list(argv),
            executable=program,
            env=dict(environment),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise RuntimeFailure(f'exec: "{argv[0]}": {getattr(error, "strerror", None) or error}') from None
