"""The scheduler as a component: warm caches while standing by, one decision after the other while active."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace

from oarlock.actors.scheduler.binding import Reservation, bind, reserve, unreserve
from oarlock.actors.scheduler.cluster_view import ClusterView
from oarlock.actors.scheduler.decision import Placement, Search, Unschedulable, decide
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Handle, StepFailed
from oarlock.actors.scheduler.metrics import ATTEMPTS, DURATION, PREEMPTIONS, VICTIMS
from oarlock.actors.scheduler.plugins import DEFAULT, FILTERS
from oarlock.actors.scheduler.preemption import Nomination, lower_nominated
from oarlock.actors.scheduler.queue import SchedulingQueue
from oarlock.actors.scheduler.reporting import Reporter
from oarlock.actors.scheduler.storage_view import StorageView
from oarlock.actors.shell.component import ComponentContext, fence_revision
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.events import Recorder
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.informers import Informers
from oarlock.cluster.objects.status import ApiError

SCHEDULER_NAME = "default-scheduler"
_WRITES_MAX = 64
"""Bindings and refusals under way at once; the next decision waits for one of them."""
_LIVE_PODS = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}

_log = logging.getLogger(__name__)


def create(context: ComponentContext) -> Scheduler:
    """Build the scheduler. Settings: `scheduler_name` (default-scheduler)."""
    return Scheduler(context)


class Scheduler:
    """Binds the pods that name it. See `oarlock.actors.shell.component.Component`."""

    def __init__(
        self,
        context: ComponentContext,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = str(context.settings.get("scheduler_name", SCHEDULER_NAME))
        self._clock = clock
        self._fence: str | None = None
        self._client = ApiClient(replace(context.client, fence=lambda: self._fence, user_agent="oarlock-scheduler"))
        self._recorder = Recorder(self._client, self.name)
        self._reporter = Reporter(self._client, self._recorder, clock=wall_clock)
        self._queue = SchedulingQueue(FILTERS, clock=clock)
        self.view = ClusterView(self.name, self._queue)
        self._search = Search()
        self._writes: set[asyncio.Task[None]] = set()
        self._waits: set[asyncio.Task[None]] = set()
        """Bindings that wait for volumes or a permission: as many as there are such pods."""
        self._informers = Informers(self._client)
        storage = StorageView(self.view.snapshot.storage, self._queue.note)
        storage.follow(self._informers)
        self._handle = Handle(self._client, self.view.snapshot, storage.changed)
        self._profile = DEFAULT
        self.view.follow(
            nodes=self._informers.cache("", "v1", "nodes"),
            pods=self._informers.cache("", "v1", "pods", params=_LIVE_PODS),
            namespaces=self._informers.cache("", "v1", "namespaces"),
            budgets=self._informers.cache("policy", "v1", "poddisruptionbudgets"),
        )

    async def warm(self) -> None:
        """Fill the caches and keep them current; the queue fills along with them."""
        self._informers.start()
        await self._informers.synced()

    async def run(self, fence: str) -> None:
        """Schedule under `fence` until cancelled, once the caches show all that the predecessor bound."""
        await self._informers.wait_revision(fence_revision(fence))
        self._fence = fence
        self._recorder.start()
        _log.info("scheduler acting fence=%s pending=%d", fence, len(self._queue))
        try:
            await self._schedule()
        finally:
            await self._abandon_writes()
            self._fence = None
            await self._recorder.stop()

    async def stop(self) -> None:
        """End the watches and close the connections. Idempotent."""
        await self._informers.stop()
        await self._client.close()

    async def _schedule(self) -> None:
        while True:
            pod, attempt = await self._queue.pop()
            started = self._clock()
            decision = decide(pod, self.view.snapshot, search=self._search)
            if isinstance(decision, Placement):
                self.view.assume(pod, decision.node)
                reservation = reserve(pod, decision.node, self._profile, self._handle)
                self._write(self._bind(reservation, attempt, started), counts=not reservation.may_wait)
            else:
                self._refuse(pod, decision, attempt, started)
            if len(self._writes) >= _WRITES_MAX:
                await asyncio.wait(self._writes, return_when=asyncio.FIRST_COMPLETED)

    async def _bind(self, reservation: Reservation, attempt: int, started: float) -> None:
        result = "scheduled"
        try:
            await bind(reservation, self._handle, self._reporter)
        except StepFailed as failure:
            result = "unschedulable"
            self._take_back(reservation, attempt)
            await self._explain(reservation.pod, str(failure))
        except (ApiError, Unreachable) as error:
            # Whether or not the binding arrived: if it did, the pod's next event says so and ends its waiting.
            result = "error"
            _log.warning("binding failed pod=%s node=%s error=%r", reservation.pod.key, reservation.node, str(error))
            self._take_back(reservation, attempt)
        except asyncio.CancelledError:
            self._take_back(reservation, attempt)
            raise
        self._count(result, started)

    def _take_back(self, reservation: Reservation, attempt: int) -> None:
        unreserve(reservation, self._handle)
        if self.view.forget(reservation.pod):
            self._queue.fail(reservation.pod, attempt)

    async def _explain(self, pod: PodFacts, message: str) -> None:
        try:
            await self._reporter.refuse(pod, "SchedulerError", message, nominated=pod.nominated_node)
        except (ApiError, Unreachable) as error:
            _log.warning("refusal not written pod=%s error=%r", pod.key, str(error))

    def _refuse(self, pod: PodFacts, refusal: Unschedulable, attempt: int, started: float) -> None:
        node = pod.nominated_node
        if refusal.nomination is not None:
            node = refusal.nomination.node
        elif refusal.hopeless:
            node = ""
        changed = pod if node == pod.nominated_node else self.view.nominate(pod, node)
        self._queue.refuse(changed, refusal.filters, attempt)
        self._count("unschedulable", started)
        self._write(self._tell(pod, node, refusal))

    async def _tell(self, pod: PodFacts, node: str, refusal: Unschedulable) -> None:
        try:
            await self._reporter.refuse(pod, "Unschedulable", refusal.message, nominated=node)
            if refusal.nomination is not None:
                await self._make_room(pod, refusal.nomination)
        except (ApiError, Unreachable) as error:
            _log.warning("refusal not written pod=%s error=%r", pod.key, str(error))
            if refusal.nomination is not None:
                # The victims' going would have been the sign to try again.
                self._queue.activate(pod.key)

    async def _make_room(self, pod: PodFacts, nomination: Nomination) -> None:
        PREEMPTIONS.inc()
        VICTIMS.observe(len(nomination.victims))
        for other in list(lower_nominated(pod, nomination.node, self.view.snapshot)):
            await self._reporter.nominate(self.view.nominate(other, ""))
        for victim in nomination.victims:
            if not victim.terminating:
                await self._reporter.evict(victim, pod, nomination.node)

    def _write(self, work: Coroutine[None, None, None], *, counts: bool = True) -> None:
        task = asyncio.create_task(work)
        among = self._writes if counts else self._waits
        among.add(task)
        task.add_done_callback(among.discard)

    async def _abandon_writes(self) -> None:
        """Stop writing at once: from here on another copy may be the active one."""
        writes = [*self._writes, *self._waits]
        for task in writes:
            task.cancel()
        await asyncio.gather(*writes, return_exceptions=True)

    def _count(self, result: str, started: float) -> None:
        ATTEMPTS.labels(result, self.name).inc()
        DURATION.labels(result, self.name).observe(self._clock() - started)
