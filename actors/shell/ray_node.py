"""One Ray node: a raylet that finds the GCS at its own host, and the GCS itself while this node is the head."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

from oarlock.actors.shell import ray_remains
from oarlock.actors.shell.ray_head import RayHead
from oarlock.actors.shell.ray_keeping import Keeper
from oarlock.actors.shell.ray_processes import (
    MARK,
    RayNodeSettings,
    RayUnusable,
    prepare_folders,
    ray_folder,
    raylet_command,
    worker_environment,
    zygote_command,
)
from oarlock.actors.shell.ray_state import cluster_id

_START_TIMEOUT_S = 45.0
_POLL_S = 0.02
_LOG_TAIL_BYTES = 600

_log = logging.getLogger(__name__)


class RayNode:
    """Each process is restarted alone, and all die with this one.

    The death of the GCS stops no actor, wherever the next one runs; a raylet's death stops only its own node's
    actors, which start again elsewhere or with the next raylet.
    """

    def __init__(self, settings: RayNodeSettings) -> None:
        self.settings = settings
        self._keeper = Keeper(settings)
        self._head = RayHead(settings, self._keeper)
        self._keeping: asyncio.Task[None] | None = None
        self._joined = asyncio.Event()

    @property
    def pids(self) -> dict[str, int]:
        """The processes that live: "zygote", "raylet", and "gcs" on the head."""
        return self._keeper.pids

    async def start(self) -> None:
        """Return once the raylet has joined. Raises RayUnusable, and OSError if an address can't be listened on."""
        ray_folder()
        await self._end_remains(grace_s=0)
        prepare_folders(self.settings)
        await self._head.start()
        self._keeping = asyncio.create_task(self._keep_raylet(), name="ray-raylet")
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await self._joined.wait()
        except TimeoutError:
            tail = self._tail()
            await self.stop()
            reason = f"Ray node {self.settings.name} did not start in {_START_TIMEOUT_S:g} s: {tail}"
            raise RayUnusable(reason) from None

    async def wait(self) -> None:
        """Return when stopped; raises what ended a keeper otherwise."""
        assert self._keeping is not None, "started"
        await asyncio.gather(self._keeping, self._head.wait())

    async def stop(self) -> None:
        """Stop all processes of the node, actors included. Idempotent."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        await self._head.stop()
        await self._end_remains(grace_s=self.settings.stop_grace_s if keeping is not None else 0)

    async def _keep_raylet(self) -> None:
        await self._keeper.keep("raylet", self._raylet_command, {}, self._attend_raylet)

    async def _attend_raylet(self) -> None:
        """Keep a zygote for this life of the raylet."""
        await asyncio.gather(self._wait_raylet(), self._keep_zygote(self.pids["raylet"]))

    async def _keep_zygote(self, raylet: int) -> None:
        async def command() -> Sequence[str]:
            return zygote_command(self.settings)

        await self._keeper.keep("zygote", command, worker_environment(raylet))

    async def _raylet_command(self) -> Sequence[str]:
        prepare_folders(self.settings)
        return raylet_command(self.settings, cluster_id(self.settings.head.generation))

    async def _wait_raylet(self) -> None:
        await _appearance(Path(self.settings.raylet_socket))
        self._joined.set()

    async def _end_remains(self, *, grace_s: float) -> None:
        killed = await asyncio.to_thread(ray_remains.end_all, MARK, self.settings.folder, grace_s=grace_s)
        if killed:
            _log.info("ray processes killed node=%s count=%d", self.settings.name, killed)

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
