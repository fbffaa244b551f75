"""The life of one copy of a component: warm up, wait for the lease, act while it is held, stand by again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, NoReturn, Protocol

import orjson
from prometheus_client import Counter, Gauge

from oarlock.actors.shell.component import Answering, Component, ComponentContext, factory
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.leases import LeaseHolder

LEADING = Gauge("leader_election_master_status", "1 while this process holds the named lease.", ["name"])
TAKEOVERS = Counter("oarlock_component_takeovers_total", "Times that this process became the active copy.", ["name"])
FAULTS = Counter("oarlock_component_faults_total", "Times that a component's run ended by an error.", ["name"])

_RETRY_S_MIN, _RETRY_S_MAX = 0.2, 10.0
_LOOK_S: Final = 1.0
_LOOKS_MAX = 10
"""So many times, each that long, what was cancelled is waited for."""

_log = logging.getLogger(__name__)


class Term(Protocol):
    """One term of holding a lease."""

    @property
    def fence(self) -> str:
        """`NAME=EPOCH`."""
        ...


class Lease(Protocol):
    """What hosting asks of a lease; implemented by `oarlock.cluster.client.leases.LeaseHolder`."""

    async def acquire(self) -> Term:
        """Return once the lease is held, however long that takes; it is renewed from then on."""
        ...

    async def lost(self) -> None:
        """Return once the lease is held no more, at the latest when its time to live has passed unrenewed."""
        ...

    async def release(self) -> None:
        """Give the lease up so that a standby need not wait for its time to live. Idempotent."""
        ...


class Leases(Protocol):
    """Makes the lease of each term."""

    def holder(self, identity: str) -> Lease: ...

    async def close(self) -> None: ...


class ApiLeases:
    """Leases held through the API server; one connection of their own, so that no busy component delays renewal."""

    def __init__(self, context: ComponentContext) -> None:
        self._client = ApiClient(replace(context.client, fence=None))
        self._name, self._ttl_s = context.lease, context.lease_ttl_ms / 1000

    def holder(self, identity: str) -> LeaseHolder:
        return LeaseHolder(self._client, self._name, identity, ttl_s=self._ttl_s)

    async def close(self) -> None:
        await self._client.close()


class Stuck(Exception):
    """A component acts on without its lease, whatever it is told; only the end of its process ends it."""


def end_process(stuck: Stuck) -> NoReturn:
    """End this process at once: nothing on an event loop with a component that is stuck would come to an end."""
    _log.error("the process ends with its component error=%r", str(stuck))
    logging.shutdown()
    os._exit(1)


class ComponentHost:
    """Runs one component under one lease until stopped.

    A component that raises while active loses the lease at once (a standby takes over) and tries again after a
    pause that doubles up to 10 s. A lost lease cancels the component before anything else happens; one that doesn't
    end within ten times `look_s` ends the copy with Stuck, for it would neither act nor stand by ever again.
    """

    def __init__(
        self,
        context: ComponentContext,
        component: Component,
        leases: Leases,
        *,
        on_change: Callable[[bool], None] | None = None,
        look_s: float = _LOOK_S,
    ) -> None:
        self.context = context
        self.active = False
        self._component = component
        self._leases = leases
        self._terms = 0
        self._on_change = on_change
        self._look_s = look_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once the copy is warm; it competes for its lease from then on."""
        await self._component.warm()
        self._task = asyncio.create_task(self._live(), name=f"host-{self.context.identity}")

    async def wait(self) -> None:
        """Return when stopped; raises what ended the copy otherwise."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Stop acting, give the lease up, drop everything. Idempotent. Raises Stuck."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._component.stop()
        await self._leases.close()

    async def answer(self, path: str) -> bytes | None:
        """Return what the active copy tells about `path` as JSON, None if this copy isn't it or there is nothing."""
        if not self.active or not isinstance(self._component, Answering):
            return None
        told = self._component.answer(path)
        return None if told is None else orjson.dumps(told)

    async def _live(self) -> None:
        pause_s = _RETRY_S_MIN
        while True:
            if await self._hold():
                pause_s = _RETRY_S_MIN
                continue
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _RETRY_S_MAX)

    async def _hold(self) -> bool:
        """Hold the lease once and act; return False if the component failed, True if the lease was lost."""
        # A name of its own for each term: to ask again by the same name would answer with the old epoch, and caches
        # that have reached that one may yet miss what this copy wrote since.
        self._terms += 1
        lease = self._leases.holder(f"{self.context.identity}.{self._terms}")
        term = await lease.acquire()
        self._note(active=True)
        acting = asyncio.create_task(self._component.run(term.fence), name=f"run-{self.context.identity}")
        losing = asyncio.create_task(lease.lost())
        try:
            await asyncio.wait((acting, losing), return_when=asyncio.FIRST_COMPLETED)
            failed = acting.done() and not losing.done()
        finally:
            await _whole(self._cease(lease, acting, losing))
        if failed:
            FAULTS.labels(self.context.lease).inc()
            _log.error("component failed identity=%s error=%r", self.context.identity, _error_of(acting))
        return not failed

    async def _cease(self, lease: Lease, acting: asyncio.Task[None], losing: asyncio.Task[None]) -> None:
        """Stop acting, then let the next holder in."""
        await self._end(acting)
        await self._end(losing)
        self._note(active=False)
        await lease.release()

    async def _end(self, task: asyncio.Task[None]) -> None:
        """Cancel and reap, whatever it ends with; its error, if any, stays readable on the task. Raises Stuck.

        Looks are counted instead of time, so that a process that was stopped meanwhile is not called stuck. It isn't
        cancelled twice: that would cut its tidying short.
        """
        task.cancel()
        for _ in range(_LOOKS_MAX):
            done, _ = await asyncio.wait((task,), timeout=self._look_s)
            if done:
                return
        raise Stuck(f"{task.get_name()} does not end, at {_place_of(task)}")

    def _note(self, *, active: bool) -> None:
        self.active = active
        LEADING.labels(self.context.lease).set(active)
        if active:
            TAKEOVERS.labels(self.context.lease).inc()
        _log.info("component %s identity=%s", "active" if active else "standing by", self.context.identity)
        if self._on_change is not None:
            self._on_change(active)


async def _whole(work: Coroutine[None, None, None]) -> None:
    """Do all of it even if cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        task.result()
        raise


def _place_of(task: asyncio.Task[None]) -> str:
    """Return what a task that waits is waiting in: the lines of its coroutines, from the outermost inward."""
    places, awaited = [], task.get_coro()
    while awaited is not None and (frame := _inside(awaited, "frame")) is not None:
        places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        awaited = _inside(awaited, "await") or _inside(awaited, "yieldfrom")
    return " > ".join(places)


def _inside(awaited: Any, what: str) -> Any:
    """Return an attribute that coroutines and generators have under names of their own."""
    return next((found for kind in ("cr", "gi") if (found := getattr(awaited, f"{kind}_{what}", None))), None)


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


def host_of(dotted: str, context: ComponentContext) -> ComponentHost:
    """Build the host of the component that `dotted` names. Raises UnknownComponent."""
    return ComponentHost(context, factory(dotted)(context), ApiLeases(context))
