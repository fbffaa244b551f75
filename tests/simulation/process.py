"""A simulated process, which can be paused and killed at any instant, and its threads.

`running()` is the process on whose behalf code runs now; files and sockets are found through it.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from simulation.eventloop import ProcessLoop

if TYPE_CHECKING:
    import random

    from simulation.clock import HostClock, Schedule
    from simulation.disk import Disk
    from simulation.network import Network

_running: list[Process] = []


def running() -> Process:
    """Return the process whose code runs."""
    return _running[-1]


class Surroundings:
    """What all processes of one world share, and where their faults are told."""

    def __init__(
        self,
        schedule: Schedule,
        network: Network,
        rng: random.Random,
        on_error: Callable[[Process, str, BaseException | None], None],
        on_turn: Callable[[Process], None],
    ) -> None:
        self.schedule = schedule
        self.network = network
        self.rng = rng
        self.on_error = on_error
        self.on_turn = on_turn


class Process:
    """One incarnation of a program on `host`. Killed, it never runs again, and its files and sockets are closed."""

    def __init__(self, around: Surroundings, host: str, clock: HostClock, disk: Disk | None = None) -> None:
        self.around = around
        self.host = host
        self.clock = clock
        self.disk = disk
        self.alive = True
        self.paused_until_s = 0.0
        self.descriptors: dict[int, Any] = {}
        self.jobs: dict[Job, None] = {}
        self._default_thread: Thread | None = None
        self.loop = ProcessLoop(self)  # type: ignore[abstract]  # what is missing, nobody here calls
        clock.on_change = self.loop.rearm

    def start(self, program: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as a task of this process."""
        with self:
            task: asyncio.Task[Any] = self.loop.create_task(program)
            return task

    def __enter__(self) -> Process:
        """Run the block as this process."""
        _running.append(self)
        events._set_running_loop(self.loop)
        return self

    def __exit__(self, *exception: object) -> None:
        _running.pop()
        events._set_running_loop(_running[-1].loop if _running else None)

    def default_thread(self) -> Thread:
        """Return the thread of `run_in_executor(None, …)`."""
        self._default_thread = self._default_thread or Thread()
        return self._default_thread

    def pause(self, until_s: float) -> None:
        """Take the processor away, as SIGSTOP does; what arrives waits."""
        self.paused_until_s = until_s
        self.loop.rearm()

    def die(self) -> None:
        """End now: no further line of the program runs."""
        self.alive = False
        for job in list(self.jobs):
            job.interrupt()
        self.loop.abandon()
        if self.disk is not None:
            self.disk.close_all(self)


class Job:
    """Blocking work in a thread, which takes a while and then happens at once; what it promised is told after it."""

    def __init__(self, process: Process, work: Callable[[], None], delay_s: float) -> None:
        self._process = process
        self._work = work
        process.jobs[self] = None
        process.around.schedule.after(delay_s, self._run)

    def _run(self) -> None:
        if self in self._process.jobs:
            del self._process.jobs[self]
            with self._process:
                self._work()

    def interrupt(self) -> None:
        """The process dies: with some luck part of the work is done already."""
        self._process.jobs.pop(self, None)
        disk, rng = self._process.disk, self._process.around.rng
        if disk is None or rng.random() < 0.3:
            return
        with self._process, disk.dying(rng.randrange(4)):
            try:
                self._work()
            except Exception:  # noqa: BLE001 - nobody is there to see it
                return


class Thread:
    """A `ThreadPoolExecutor` of one thread: jobs one after another, at the speed of the host's disk."""

    def __init__(self, *_: object, **__: object) -> None:
        self._process = running()
        self._waiting: deque[tuple[asyncio.Future[Any] | None, Callable[[], Any]]] = deque()
        self._busy = False

    def submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.enqueue(None, lambda: function(*arguments))

    def enqueue(self, future: asyncio.Future[Any] | None, work: Callable[[], Any]) -> None:
        self._waiting.append((future, work))
        if not self._busy:
            self._next()

    def shutdown(self, *_: object, **__: object) -> None:
        """Finish what was submitted; a real one blocks meanwhile."""

    def _next(self) -> None:
        self._busy = bool(self._waiting)
        if self._busy:
            future, work = self._waiting.popleft()
            disk = self._process.disk
            delay_s = disk.delay_s() if disk is not None else 0.001
            Job(self._process, lambda: self._carry_out(future, work), delay_s)

    def _carry_out(self, future: asyncio.Future[Any] | None, work: Callable[[], Any]) -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as raised:  # noqa: BLE001 - it is the future's
            error = raised
        if future is None and error is not None:
            self._process.around.on_error(self._process, "in a thread", error)
        if future is not None:
            self._process.loop.call_soon(_settle, future, result, error)
        self._next()


def _settle(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
