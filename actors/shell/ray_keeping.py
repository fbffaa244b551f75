"""Starts the processes of one Ray node and brings each back when it dies; none outlives this process."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Final

from oarlock.actors.shell.ray_processes import RayNodeSettings, environment

RETRY_S_MIN: Final = 0.05
RETRY_S_MAX: Final = 5.0
_STEADY_S = 30.0
"""A process that lived this long is restarted without delay again."""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)

Command = Callable[[], Awaitable[Sequence[str]]]
Attend = Callable[[], Coroutine[None, None, None]]

_log = logging.getLogger(__name__)


class Keeper:
    """Runs processes of a node; `pids` are those of the kept ones that live."""

    def __init__(self, settings: RayNodeSettings) -> None:
        self._settings = settings
        self.pids: dict[str, int] = {}

    async def keep(
        self, name: str, command: Command, variables: Mapping[str, str], attend: Attend | None = None
    ) -> None:
        """Run `command` again and again until cancelled; `attend` runs beside each of its lives."""
        retry_s = RETRY_S_MIN
        while True:
            process = await self.spawn(await command(), variables)
            started, self.pids[name] = time.monotonic(), process.pid
            attending = asyncio.create_task(attend()) if attend is not None else None
            try:
                code = await process.wait()
            finally:
                if attending is not None:
                    attending.cancel()
                    await asyncio.gather(attending, return_exceptions=True)
                await end(process)
                self.pids.pop(name, None)
            if time.monotonic() - started > _STEADY_S:
                retry_s = RETRY_S_MIN
            _log.warning("ray process ended node=%s process=%s code=%s", self._settings.name, name, code)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, RETRY_S_MAX)

    async def spawn(self, command: Sequence[str], variables: Mapping[str, str]) -> asyncio.subprocess.Process:
        """Start a process with `variables` in its environment beside the node's."""
        with (self._settings.session_folder / "logs" / "start.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**environment(self._settings), **variables},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill at once: Ray's processes drain for ten seconds when asked politely, and keep nothing worth it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        await process.wait()


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
