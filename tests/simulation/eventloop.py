"""asyncio's event loop in virtual time: its clock is its host's, its sockets are the simulated network's.

It keeps asyncio's order: callbacks first come, first served; timers when they are due; one turn, then whatever came
meanwhile. A task's exception handler, debug mode, signals and the like are left out.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.process import Process

STEP_S = 0.00002
"""True time that one turn of an event loop takes."""
TURNS_MAX = 20_000
"""Turns in a row without waiting, after which the process is caught in an endless loop."""


class ProcessLoop(asyncio.AbstractEventLoop):
    """An event loop whose clock is its host's, and whose sockets are the simulated network's."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._schedule = process.around.schedule
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self._wake_s = inf
        self._turns = 0
        self._tasks: dict[asyncio.Task[Any], None] = {}

    # Time and callbacks.

    def time(self) -> float:
        return self._process.clock.time()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._wake(self._schedule.now)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._order), handle))
        self._wake(self._process.clock.true_time(when))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing: it is passed over when its time comes."""

    def rearm(self) -> None:
        """Look again when there is something to do: the clock or the pause has changed."""
        self._wake_s = inf
        if self._ready:
            self._wake(self._schedule.now)
        elif self._timers:
            self._wake(self._process.clock.true_time(self._timers[0][0]))

    def _wake(self, when_s: float) -> None:
        when_s = max(when_s, self._process.paused_until_s)
        if when_s < self._wake_s:
            self._wake_s = when_s
            self._schedule.at(when_s, lambda: self._awake(when_s))

    def _awake(self, when_s: float) -> None:
        process = self._process
        if when_s != self._wake_s or not process.alive:
            return
        self._wake_s = inf
        if self._schedule.now < process.paused_until_s:
            self.rearm()
            return
        local_s = process.clock.time() + 1e-9
        timers, ready = self._timers, self._ready
        waited = not ready
        while timers and timers[0][0] <= local_s:
            ready.append(heappop(timers)[2])
        with process:
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
                if not process.alive:
                    return
            process.around.on_turn(process)
        self._rest(waited=waited)

    def _rest(self, *, waited: bool) -> None:
        self._turns = 0 if waited else self._turns + 1
        if self._turns > TURNS_MAX:
            self._process.around.on_error(self._process, "caught in an endless loop", None)
        if self._ready:
            self._wake(self._schedule.now + STEP_S)
        elif self._timers:
            self._wake(self._process.clock.true_time(self._timers[0][0]))

    def abandon(self) -> None:
        """Run nothing any more. Tasks stay referenced, so that no finalizer of theirs runs at a random time."""
        self._ready.clear()
        self._timers.clear()

    def close(self) -> None:
        """Let go of tasks that never ended, once the world is over."""
        for task in list(self._tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            try:
                coroutine.close()
            except BaseException:  # noqa: BLE001 - a finalizer found its process dead
                continue
        self._tasks.clear()

    # Futures, tasks, threads.

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: contextvars.Context | None = None) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        if executor is None:
            executor = self._process.default_thread()
        future = self.create_future()
        executor.enqueue(future, lambda: func(*args))
        return future

    # Sockets.

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        return self._process.around.network.listen(self._process, protocol_factory, host, port)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        return await self._process.around.network.dial(self._process, protocol_factory, host, port)

    # What asyncio asks of every loop.

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return not self._process.alive

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self._process.alive and "never retrieved" not in context.get("message", ""):
            self._process.around.on_error(self._process, str(context.get("message")), error)
