"""Workers on one queue of keys: what every loop of a controller does, whatever a key means to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.workqueue import ShutDown, WorkQueue
from oarlock.cluster.objects.status import ApiError

_log = logging.getLogger(__name__)


class Workers:
    """Calls `work(key)` for each key that is added while `run()` runs; no key is worked on twice at a time.

    `work` returns whether the key is dealt with; if not, or if it raises, the key comes again, ever later. `expected`
    are failures that need no stack to be understood.
    """

    def __init__(
        self,
        name: str,
        count: int,
        work: Callable[[str], Awaitable[bool]],
        expected: tuple[type[Exception], ...] = (ApiError, Unreachable),
    ) -> None:
        self._name, self._count, self._work, self._expected = name, count, work, expected
        self.queue = WorkQueue(name)
        self.are_acting = False

    async def run(
        self, begin: Callable[[], Awaitable[None]], beside: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> None:
        """Act until cancelled, once `begin()` has added the keys of what there is; `beside()` runs along."""
        self.queue = WorkQueue(self._name)
        self.are_acting = True
        tasks: list[asyncio.Task[None]] = []
        try:
            await begin()
            loop = asyncio.get_running_loop()
            tasks = [loop.create_task(self._one_worker()) for _ in range(self._count)]
            if beside is not None:
                tasks.append(loop.create_task(beside()))
            await asyncio.gather(*tasks)
        finally:
            self.are_acting = False
            self.queue.shut_down()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _one_worker(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            try:
                if await self._is_done(key):
                    self.queue.forget(key)
                else:
                    self.queue.add_rate_limited(key)
            finally:
                self.queue.done(key)
            # A key that costs no write never waits for anything: without this a full queue would hold up all else.
            await asyncio.sleep(0)

    async def _is_done(self, key: str) -> bool:
        try:
            return await self._work(key)
        except self._expected as error:
            _log.debug("not done controller=%s key=%s error=%r", self._name, key, str(error))
        except Exception:  # noqa: BLE001 - a fault in one key must hurt no other key
            _log.exception("not done controller=%s key=%s", self._name, key)
        return False
