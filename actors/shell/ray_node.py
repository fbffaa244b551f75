"""Runs the processes of one Ray node and brings each back when it dies; leaves none behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import logging
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path

from oarlock.actors.shell import ray_remains
from oarlock.actors.shell.ray_processes import (
    MARK,
    STORAGE,
    RayNodeSettings,
    RayUnusable,
    environment,
    gcs_command,
    prepare_folders,
    ray_folder,
    raylet_command,
)

_START_TIMEOUT_S = 30.0
_RETRY_S_MIN, _RETRY_S_MAX = 0.2, 5.0
_STEADY_S = 30.0
"""A process that lived this long is restarted without delay again."""
_POLL_S = 0.02
_LOG_TAIL_BYTES = 600
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)

_Command = Callable[[], Awaitable[Sequence[str]]]
_Attend = Callable[[], Coroutine[None, None, None]]

_log = logging.getLogger(__name__)


class RayNode:
    """One Ray node: a raylet and, on the head, the GCS and the placement of the hosted components.

    Each process is restarted alone. The GCS comes back with its state, so its death stops no actor; a raylet's
    death stops only its own node's actors, which start again with the next raylet. All processes die with this one.
    """

    def __init__(self, settings: RayNodeSettings) -> None:
        self.settings = settings
        self.pids: dict[str, int] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._joined = asyncio.Event()
        self._placed = asyncio.Event()

    async def start(self) -> None:
        """Return once the raylet has joined (on the head: and the actors are placed). Raises RayUnusable."""
        ray_folder()
        await self._end_remains(grace_s=0)
        if self.settings.head:
            self._forget_dead_cluster()
        prepare_folders(self.settings)
        self._keep("raylet", self._raylet_command, self._wait_raylet)
        if self.settings.head:
            self._keep("gcs", self._gcs_command, self._place)
        ready = [asyncio.ensure_future(self._joined.wait())]
        if self.settings.head and self.settings.hosted:
            ready.append(asyncio.ensure_future(self._placed.wait()))
        _, late = await asyncio.wait(ready, timeout=_START_TIMEOUT_S)
        for waiter in late:
            waiter.cancel()
        if late:
            await self.stop()
            raise RayUnusable(f"Ray node {self.settings.name} did not start in {_START_TIMEOUT_S:g} s: {self._tail()}")

    async def wait(self) -> None:
        """Return when stopped; raises what ended a keeper otherwise."""
        await asyncio.gather(*self._keepers)

    async def stop(self) -> None:
        """Stop all processes of the node, actors included. Idempotent."""
        keepers, self._keepers = self._keepers, []
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await self._end_remains(grace_s=self.settings.stop_grace_s if keepers else 0)
        if self.settings.head:
            self.settings.cluster_id_file.unlink(missing_ok=True)

    def _keep(self, name: str, command: _Command, attend: _Attend) -> None:
        self._keepers.append(asyncio.create_task(self._keep_alive(name, command, attend), name=f"ray-{name}"))

    async def _keep_alive(self, name: str, command: _Command, attend: _Attend) -> None:
        """Run `command` again and again; `attend` runs beside each of its lives."""
        retry_s = _RETRY_S_MIN
        while True:
            process = await self._spawn(await command())
            started, self.pids[name] = time.monotonic(), process.pid
            attending = asyncio.create_task(attend())
            try:
                code = await process.wait()
            finally:
                attending.cancel()
                await asyncio.gather(attending, return_exceptions=True)
                await _end(process)
                self.pids.pop(name, None)
            if time.monotonic() - started > _STEADY_S:
                retry_s = _RETRY_S_MIN
            _log.warning("ray process ended node=%s process=%s code=%s", self.settings.name, name, code)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, _RETRY_S_MAX)

    async def _gcs_command(self) -> Sequence[str]:
        return gcs_command(self.settings)

    async def _raylet_command(self) -> Sequence[str]:
        """Wait for the head to name the cluster. A dead raylet's workers must be gone before the next one starts."""
        prepare_folders(self.settings)
        await _appearance(self.settings.cluster_id_file)
        return raylet_command(self.settings, self.settings.cluster_id_file.read_text())

    async def _wait_raylet(self) -> None:
        await _appearance(Path(self.settings.raylet_socket))
        self._joined.set()

    async def _place(self) -> None:
        """Run the placement until it succeeds once: after every start of the GCS, which may have lost its state."""
        retry_s = _RETRY_S_MIN
        argument = json.dumps(asdict(self.settings))
        while True:
            process = await self._spawn([sys.executable, "-m", "oarlock.actors.shell.ray_placement", argument])
            try:
                if await process.wait() == 0:
                    break
            finally:
                await _end(process)
            _log.warning("placement failed node=%s code=%s", self.settings.name, process.returncode)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, _RETRY_S_MAX)
        self._placed.set()

    async def _spawn(self, command: Sequence[str]) -> asyncio.subprocess.Process:
        with (self.settings.session_folder / "logs" / "start.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(self.settings),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    async def _end_remains(self, *, grace_s: float) -> None:
        killed = await asyncio.to_thread(ray_remains.end_all, MARK, self.settings.folder, grace_s=grace_s)
        if killed:
            _log.info("ray processes killed node=%s count=%d", self.settings.name, killed)

    def _forget_dead_cluster(self) -> None:
        """Start from nothing unless another node of the cluster still runs and its actors are to be kept."""
        if not ray_remains.processes(STORAGE, str(self.settings.storage_folder)):
            self.settings.cluster_id_file.unlink(missing_ok=True)
            shutil.rmtree(self.settings.storage_folder, ignore_errors=True)

    def _tail(self) -> str:
        """Return the last words of the node's processes on one line."""
        texts = []
        for name in ("start.log", "gcs_server.err", "raylet.err"):
            with contextlib.suppress(OSError):
                texts.append((self.settings.session_folder / "logs" / name).read_bytes()[-_LOG_TAIL_BYTES:])
        return " ".join(b" ".join(texts).decode(errors="replace").split()) or "no output"


async def _appearance(file: Path) -> None:
    """Return once another process has made the file; seen at most a moment late, and only while a node starts."""
    while not file.exists():  # noqa: ASYNC110, ASYNC240 - there is no event to await, and looking takes microseconds
        await asyncio.sleep(_POLL_S)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill at once: Ray's processes drain for ten seconds when asked politely, and keep nothing worth it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
