"""The one process of `oarlock up --single`: the same parts as everywhere, in one event loop, without Ray."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from oarlock.cluster.boot import roles
from oarlock.cluster.boot.board import Board
from oarlock.cluster.boot.roles import Running, Startable

if TYPE_CHECKING:
    from oarlock.cluster.apiserver.holders import Page

log = logging.getLogger(__name__)

Starter = Callable[[], Awaitable[Running]]


class SingleProcess:
    """Starts store, API server, controllers, scheduler and agents one after the other; `board` tells how they are."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._starters = dict(self._plan())
        self.board = Board()
        for kind, name in self._starters:
            self.board.add(name, kind)
        self._running: list[tuple[str, Startable]] = []
        self._fault: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to start the parts. Doesn't wait for them: who watches the board sees them come up."""
        self._tasks.append(asyncio.create_task(self._start_all()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name, component in reversed(self._running):
            await component.stop()
            await self.board.set(name, "stopped", pid=0)
        self._running.clear()

    async def restart(self, name: str) -> str:
        return f"{name} shares its process with all others"

    async def fault(self) -> str:
        return await asyncio.shield(self._fault)

    async def _start_all(self) -> None:
        for (_, name), starter in self._starters.items():
            await self.board.set(name, "starting", pid=os.getpid(), started=time.time())
            try:
                running = await starter()
            except Exception as error:
                log.exception("part=%s did not start", name)
                await self.board.set(name, "failed", error=str(error) or type(error).__name__)
                return
            self._running.append((name, running.component))
            self._tasks.append(asyncio.create_task(self._watch(name, running.component)))
            await self.board.set(name, "ready", address=running.address)

    async def _watch(self, name: str, component: Startable) -> None:
        try:
            await component.wait()
        except Exception as error:
            log.exception("part=%s failed", name)
            if not self._fault.done():
                self._fault.set_result(f"{name}: {error}")

    def _plan(self) -> list[tuple[tuple[str, str], Starter]]:
        settings = self._settings
        store = roles.SingleStore(settings["store"], settings["cluster_id"])
        pages: dict[str, Page] = {}
        plan: list[tuple[tuple[str, str], Starter]] = [
            (("store", "store-1"), store.run),
            (("apiserver", "apiserver"), partial(store.run_api_server, settings["apiserver"], pages)),
        ]
        components = [(("actor", c["name"]), partial(roles.run_in_process, c, pages)) for c in settings["components"]]
        agents = [(("agent", a["name"]), partial(roles.run_agent, a)) for a in settings["agents"]]
        hollow = [(("hollow", "hollow"), partial(roles.run_hollow, h)) for h in settings["hollow"]]
        return [*plan, *components, *agents, *hollow]
