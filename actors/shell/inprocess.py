"""The shell without Ray: every component in this process and event loop, still each under its lease."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.hosting import ComponentHost, Stuck, end_process, host_of


class InProcessShell:
    """Hosts components given as (dotted factory name, context). For `oarlock up --single` and tests."""

    def __init__(self, components: Sequence[tuple[str, ComponentContext]]) -> None:
        self._components = tuple(components)
        self._hosts: list[ComponentHost] = []

    async def start(self) -> None:
        """Return once every component is warm; raises with nothing left running."""
        try:
            self._hosts = [host_of(dotted, context) for dotted, context in self._components]
            async with asyncio.TaskGroup() as group:
                for host in self._hosts:
                    group.create_task(host.start())
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> None:
        """Return when stopped; raises what ended a component otherwise. One that is stuck ends the process."""
        try:
            await asyncio.gather(*(host.wait() for host in self._hosts))
        except Stuck as stuck:
            end_process(stuck)

    async def answer(self, path: str) -> bytes | None:
        """Return what one of the components tells about `path` as JSON, None if none does."""
        for host in self._hosts:
            if (told := await host.answer(path)) is not None:
                return told
        return None

    async def stop(self) -> None:
        """Stop every component and give up its lease. Idempotent."""
        hosts, self._hosts = self._hosts, []
        await asyncio.gather(*(host.stop() for host in hosts))
