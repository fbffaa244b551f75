"""Keeps a cluster's processes running: starts them in order, restarts the ones that end, stops them all.

What it starts outlives it: containers and the other processes go on when the supervisor itself is killed, and the
next `up` or `down` finds them in the process list on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict
from typing import Protocol

from prometheus_client import Counter, Gauge

from oarlock.cluster.boot.child import Child, ChildFailed
from oarlock.cluster.boot.control import Answer
from oarlock.cluster.boot.parts import Part, PartState, PartStatus
from oarlock.cluster.boot.processes import SUPERVISOR, start_ticks
from oarlock.cluster.boot.state import StateFolder, write_private

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 10.0
HEALTHY_AFTER_S = 20.0
RESTARTS = Counter("oarlock_supervisor_restarts_total", "Processes started again after they ended.", ["part"])
UP = Gauge("oarlock_supervisor_part_ready", "1 while the part is ready.", ["part"])


class Companion(Protocol):
    """Something that runs beside the parts for as long as the supervisor does."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Supervisor:
    """Runs `parts`; `statuses` is always current, `watch()` tells of every change."""

    def __init__(self, parts: Sequence[Part], folder: StateFolder) -> None:
        self.parts = {part.name: part for part in parts}
        self.statuses = {part.name: PartStatus(part.name, part.kind) for part in parts}
        self._folder = folder
        self._children: dict[str, Child] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._been_ready = {part.name: asyncio.Event() for part in parts}
        self._changed = asyncio.Condition()
        self._version = 0
        self._stopping = False
        self.companions: list[Companion] = []

    async def start(self) -> None:
        """Begin to start the parts, each as soon as those that it needs have been ready. Doesn't wait for them."""
        for part in self.parts.values():
            settings = json.dumps(dict(part.settings), indent=1).encode()
            write_private(self._folder.settings / f"{part.name}.json", settings)
            self._keepers[part.name] = asyncio.create_task(self._keep(part), name=f"keep-{part.name}")
        for companion in self.companions:
            await companion.start()

    async def fault(self) -> str:
        """Never return: a supervisor outlasts every fault of its parts."""
        await asyncio.Event().wait()
        return ""

    async def stop(self) -> None:
        """Stop every part, the last started first, so that each still has what it needs while it ends."""
        self._stopping = True
        for companion in self.companions:
            await companion.stop()
        for task in self._keepers.values():
            task.cancel()
        await asyncio.gather(*self._keepers.values(), return_exceptions=True)
        for group in _stop_order(self.parts.values()):
            await asyncio.gather(*(self._stop_child(name) for name in group))

    async def watch(self) -> AsyncIterator[Answer]:
        """Yield {"parts": […]} now and after every change, for as long as the caller listens."""
        seen = -1
        while True:
            async with self._changed:
                while self._version == seen:
                    await self._changed.wait()
                seen = self._version
            yield self.snapshot()

    def snapshot(self) -> Answer:
        return {"parts": [asdict(status) for status in self.statuses.values()]}

    async def _keep(self, part: Part) -> None:
        for name in part.after:
            await self._been_ready[name].wait()
        backoff_s = BACKOFF_FIRST_S
        while True:
            started = time.monotonic()
            ending = await self._run_once(part)
            if time.monotonic() - started > HEALTHY_AFTER_S:
                backoff_s = BACKOFF_FIRST_S
            log.warning("part=%s %s; again in %.1f s", part.name, ending, backoff_s)
            await self._set(part.name, "failed", error=ending, pid=0)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)
            self.statuses[part.name].restarts += 1
            RESTARTS.labels(part.name).inc()

    async def _run_once(self, part: Part) -> str:
        """Start the part and return how it ended."""
        settings_file = self._folder.settings / f"{part.name}.json"
        log_file = self._folder.logs / f"{part.name}.log"
        try:
            child = await Child.start(part.role, settings_file, log_file, part.environment)
        except OSError as error:
            return f"can't be started: {error.strerror}"
        self._children[part.name] = child
        self._record()
        await self._set(part.name, "starting", pid=child.pid, started=time.time())
        try:
            notice = await child.ready(part.ready_within_s)
        except ChildFailed as failure:
            await self._stop_child(part.name)
            return str(failure)
        self._been_ready[part.name].set()
        await self._set(part.name, "ready", address=notice["address"], metrics=notice["metrics"])
        ending = await child.wait()
        await self._stop_child(part.name)
        return ending

    async def _stop_child(self, name: str) -> None:
        child = self._children.pop(name, None)
        if child is not None:
            await child.stop()
            self._record()
        if self._stopping:
            await self._set(name, "stopped", pid=0)

    async def _set(self, name: str, state: PartState, **changes: object) -> None:
        status = self.statuses[name]
        status.state, status.error = state, ""
        for key, value in changes.items():
            setattr(status, key, value)
        UP.labels(name).set(state == "ready")
        async with self._changed:
            self._version += 1
            self._changed.notify_all()

    def _record(self) -> None:
        pids = {SUPERVISOR: os.getpid()} | {name: child.pid for name, child in self._children.items()}
        processes = {name: [pid, start_ticks(pid)] for name, pid in pids.items()}
        with contextlib.suppress(OSError):
            write_private(self._folder.processes_file, json.dumps(processes).encode())


def _stop_order(parts: Iterable[Part]) -> list[list[str]]:
    """Return groups of names: a part comes in an earlier group than what it was started after."""
    depth: dict[str, int] = {}
    for part in parts:
        depth[part.name] = 1 + max((depth[name] for name in part.after), default=-1)
    return [[name for name, d in depth.items() if d == level] for level in sorted(set(depth.values()), reverse=True)]
