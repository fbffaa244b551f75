"""Keeps a cluster's processes running: starts them in order, restarts the ones that end, stops them all.

What it starts outlives it: containers and the other processes go on when the supervisor itself is killed, and the
next `up` or `down` finds them in the process list on disk.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import Counter

from oarlock.cluster.boot.board import Board
from oarlock.cluster.boot.child import LISTEN, Child, ChildFailed
from oarlock.cluster.boot.parts import Part
from oarlock.cluster.boot.processes import record
from oarlock.cluster.boot.state import StateFolder, write_private

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 10.0
HEALTHY_AFTER_S = 20.0
"""A part that ends after this time is started again at once."""
BACKLOG = 1024
"""Connections that may wait for a part's next process."""
RESTARTS = Counter("oarlock_supervisor_restarts_total", "Processes started again after they ended.", ["part"])


class SpawnedChild(Protocol):
    """What the supervisor needs of a process; `child.Child` is the real one."""

    @property
    def pid(self) -> int: ...

    @property
    def in_vain(self) -> bool: ...

    async def ready(self, within_s: float) -> dict[str, Any]: ...

    async def wait(self) -> str: ...

    async def stop(self, within_s: float) -> None: ...


Spawn = Callable[[str, Path, Path, Mapping[str, str]], Awaitable[SpawnedChild]]
"""Starts `(role, settings file, log file, environment)`."""


class Companion(Protocol):
    """Something that runs beside the parts for as long as the supervisor does."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


Asked = asyncio.Future[str]
"""Somebody waits for a part's restart: the result is "" once the new process is ready, else what went wrong."""
OLD = " (old)"
"""Ends the name under which a process is known whose successor serves already."""


class Supervisor:
    """Runs `parts`; `board` tells how they are."""

    def __init__(self, parts: Sequence[Part], folder: StateFolder, spawn: Spawn | None = None) -> None:
        self._spawn = spawn or Child.start
        self.parts = {part.name: part for part in parts}
        self.board = Board()
        for part in parts:
            self.board.add(part.name, part.kind)
        self._folder = folder
        self._children: dict[str, SpawnedChild] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._been_ready = {part.name: asyncio.Event() for part in parts}
        self._asked: dict[str, asyncio.Queue[Asked]] = {part.name: asyncio.Queue() for part in parts}
        self._listeners: dict[tuple[str, int], socket.socket] = {}
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
        for companion in self.companions:
            await companion.stop()
        for task in self._keepers.values():
            task.cancel()
        await asyncio.gather(*self._keepers.values(), return_exceptions=True)
        for group in _stop_order(self.parts.values()):
            await asyncio.gather(*(self._stop_part(name) for name in group))
        for listener in self._listeners.values():
            listener.close()

    async def restart(self, name: str) -> str:
        """Replace a part's process; return "" once the new one is ready, else what went wrong.

        A part that the supervisor listens for is never without a process, and keeps the one that it has if the new
        one fails.
        """
        status = self.board.statuses.get(name)
        if status is None:
            return f"there is no part {name}"
        if status.state != "ready":
            return f"{name} is {status.state}: {status.error}".removesuffix(": ")
        asked: Asked = asyncio.get_running_loop().create_future()
        self._asked[name].put_nowait(asked)
        return await asked

    async def _keep(self, part: Part) -> None:
        for name in part.after:
            await self._been_ready[name].wait()
        backoff_s = BACKOFF_FIRST_S
        asked: Asked | None = None
        while True:
            started = time.monotonic()
            ending, asked, in_vain = await self._run_once(part, asked)
            if asked is not None:
                backoff_s = BACKOFF_FIRST_S
                continue
            if in_vain:
                log.error("part=%s isn't started again: %s", part.name, ending)
                await self.board.set(part.name, "refused", error=ending, pid=0)
                return
            was_healthy = time.monotonic() - started > HEALTHY_AFTER_S
            pause_s = 0.0 if was_healthy else backoff_s
            log.warning("part=%s %s; again in %.1f s", part.name, ending, pause_s)
            await self.board.set(part.name, "failed", error=ending, pid=0)
            await asyncio.sleep(pause_s)
            backoff_s = BACKOFF_FIRST_S if was_healthy else min(backoff_s * 2, BACKOFF_MAX_S)
            self.board.statuses[part.name].restarts += 1
            RESTARTS.labels(part.name).inc()

    async def _run_once(self, part: Part, asked: Asked | None) -> tuple[str, Asked | None, bool]:
        """Start the part and return how it ended, who asked for that, if anybody, and if it would always end so."""
        failure = await self._begin(part)
        _tell(asked, failure)
        while not failure:
            child = self._children[part.name]
            ending = asyncio.ensure_future(child.wait())
            asking = asyncio.ensure_future(self._asked[part.name].get())
            try:
                await asyncio.wait({ending, asking}, return_when=asyncio.FIRST_COMPLETED)
                if ending.done():
                    await self._stop_child(part.name)
                    return ending.result(), asking.result() if asking.done() else None, child.in_vain
            finally:
                ending.cancel()
                asking.cancel()
            log.info("part=%s is restarted", part.name)
            if not part.listens:
                await self._stop_child(part.name)
                return "", asking.result(), False
            _tell(asking.result(), await self._succeed(part))
        return failure, None, False

    async def _begin(self, part: Part) -> str:
        """Start a process and return "" once it is ready, else what went wrong; nothing is left of it then."""
        settings_file = self._folder.settings / f"{part.name}.json"
        log_file = self._folder.logs / f"{part.name}.log"
        try:
            child = await self._spawn(part.role, settings_file, log_file, self._environment(part))
        except OSError as error:
            return f"can't be started: {error.strerror}"
        self._children[part.name] = child
        self._record()
        await self.board.set(part.name, "starting", pid=child.pid, started=time.time())
        try:
            notice = await child.ready(part.ready_within_s)
        except ChildFailed as failure:
            await self._stop_child(part.name)
            return str(failure)
        self._been_ready[part.name].set()
        await self.board.set(part.name, "ready", address=notice["address"], metrics=notice["metrics"])
        return ""

    async def _succeed(self, part: Part) -> str:
        """Start a second process, then end the first; return what went wrong, which leaves the first as it was."""
        before = replace(self.board.statuses[part.name])
        old = self._children.pop(part.name)
        self._children[part.name + OLD] = old
        failure = await self._begin(part)
        if failure:
            self._children[part.name] = self._children.pop(part.name + OLD)
            await self.board.set(part.name, "ready", pid=old.pid, started=before.started)
        else:
            await self._stop_child(part.name + OLD)
        return failure

    def _environment(self, part: Part) -> Mapping[str, str]:
        """Return the part's environment, with the sockets that are held for it. Raises OSError."""
        if not part.listens:
            return part.environment
        return {**part.environment, LISTEN: " ".join(str(self._listener(*one).fileno()) for one in part.listens)}

    def _listener(self, host: str, port: int) -> socket.socket:
        if (host, port) not in self._listeners:
            self._listeners[host, port] = socket.create_server((host, port), backlog=BACKLOG)
        return self._listeners[host, port]

    async def _stop_part(self, name: str) -> None:
        """Stop all of a part's processes for good."""
        await asyncio.gather(self._stop_child(name), self._stop_child(name + OLD))
        await self.board.set(name, "stopped", pid=0)

    async def _stop_child(self, name: str) -> None:
        """End a process. It stays on record until it has ended: whoever stops everything meanwhile must find it."""
        child = self._children.get(name)
        if child is not None:
            await child.stop(self.parts[name.removesuffix(OLD)].stop_within_s)
            if self._children.get(name) is child:
                del self._children[name]
            self._record()

    def _record(self) -> None:
        record(self._folder.processes_file, {name: child.pid for name, child in self._children.items()})


def _tell(asked: Asked | None, failure: str) -> None:
    """Tell whoever asked for a restart how it went, if they still want to know."""
    if asked is not None and not asked.done():
        asked.set_result(failure)


def _stop_order(parts: Iterable[Part]) -> list[list[str]]:
    """Return groups of names: a part comes in an earlier group than what it was started after."""
    depth: dict[str, int] = {}
    for part in parts:
        depth[part.name] = 1 + max((depth[name] for name in part.after), default=-1)
    return [[name for name, d in depth.items() if d == level] for level in sorted(set(depth.values()), reverse=True)]
