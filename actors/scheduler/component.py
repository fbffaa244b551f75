"""The scheduler as a component: warm caches while standing by, one decision after the other while active."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace

from oarlock.actors.scheduler import attempt_page, sources
from oarlock.actors.scheduler.attempts import Attempts
from oarlock.actors.scheduler.binding import Reservation, bind, reserve, unreserve
from oarlock.actors.scheduler.changes import Changes
from oarlock.actors.scheduler.cluster_view import WORKLOADS, ClusterView, selector_only
from oarlock.actors.scheduler.configuration import Configuration
from oarlock.actors.scheduler.decision import Placement, Search, Unschedulable, decide
from oarlock.actors.scheduler.devices.releasing import Release
from oarlock.actors.scheduler.devices.view import DevicesView
from oarlock.actors.scheduler.extender import Extender, ExtenderFailed
from oarlock.actors.scheduler.extending import agreed, extended
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Handle, PluginFailed, StepFailed
from oarlock.actors.scheduler.guarding import limited
from oarlock.actors.scheduler.located import Broken
from oarlock.actors.scheduler.metrics import ATTEMPTS, DURATION, PREEMPTIONS, VICTIMS
from oarlock.actors.scheduler.preemption import Nomination, lower_nominated
from oarlock.actors.scheduler.profile import DEFAULT_NAME, Profile
from oarlock.actors.scheduler.queue import Rules, SchedulingQueue
from oarlock.actors.scheduler.reporting import Reporter
from oarlock.actors.scheduler.storage_view import StorageView
from oarlock.actors.shell.component import GATHER_MS, STANDBY_GATHER_MS, ComponentContext, fence_revision
from oarlock.cluster.client.cache import Change, Object, key_of
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.events import Recorder
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.informers import Informers
from oarlock.cluster.objects.status import ApiError

_WRITES_MAX = 64
"""Bindings and refusals under way at once; the next decision waits for one of them."""
_ASKING_MAX = 64
"""Pods that extenders are asked about at once; further ones wait for their back-off to end."""
_RELOAD_S = 1.0
"""How often files of the configuration are looked at."""
_CONFLICT = 409
_LIVE_PODS = {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"}

_WRITTEN = (("", "persistentvolumes"), ("", "persistentvolumeclaims"), ("resource.k8s.io", "resourceclaims"))
"""Kinds beside pods that a scheduler writes, so that it must have seen what its predecessor wrote."""

_log = logging.getLogger(__name__)


def create(context: ComponentContext) -> Scheduler:
    """Build the scheduler. Raises Broken.

    Settings: `scheduler_name` (default-scheduler, without a configuration file), `config`, `plugin_files`: see
    sources.py.
    """
    return Scheduler(context)


class Scheduler:
    """Binds the pods that name one of its profiles. See `oarlock.actors.shell.component.Component`."""

    def __init__(
        self,
        context: ComponentContext,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        name = str(context.settings.get("scheduler_name", DEFAULT_NAME))
        self._sources = sources.of(context.settings, name)
        self._stamps = self._sources.stamps()
        self._clock, self._wall_clock = clock, wall_clock
        self._fence: str | None = None
        self._attempts = Attempts()
        self._acting_since = 0.0
        self._client = ApiClient(replace(context.client, fence=lambda: self._fence, user_agent="oarlock-scheduler"))
        self._recorder = Recorder(self._client, name)
        self._reporter = Reporter(self._client, self._recorder, clock=wall_clock)
        self._queue = SchedulingQueue((), clock=clock)
        self.view = ClusterView((), self._queue)
        self._search = Search()
        self._writes: set[asyncio.Task[None]] = set()
        self._waits: set[asyncio.Task[None]] = set()
        """Bindings that wait for volumes or a permission: as many as there are such pods."""
        self._asking: dict[str, asyncio.Task[None]] = {}
        """Attempts that wait for extenders, by the pod's key."""
        self._extenders: list[Extender] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._use(self._sources.load())
        self._informers = Informers(self._client, STANDBY_GATHER_MS)
        self._nodes = self._informers.cache("", "v1", "nodes")
        self._pods = self._informers.cache("", "v1", "pods", params=_LIVE_PODS)
        self._handle = self._follow()

    def _follow(self) -> Handle:
        informers = self._informers
        snapshot, changes = self.view.snapshot, Changes(self._queue)
        # Before pods: whether one is held back depends on its claims.
        DevicesView(snapshot.devices, changes.note, changes.about_claim).follow(informers)
        StorageView(snapshot.storage, changes.note).follow(informers)
        for (group, plural), kind in WORKLOADS.items():
            informers.cache(group, "v1", plural, transform=selector_only).add_handler(self.view.on_workload(kind))
        self.view.follow(
            nodes=self._nodes,
            pods=self._pods,
            namespaces=informers.cache("", "v1", "namespaces"),
            budgets=informers.cache("policy", "v1", "poddisruptionbudgets"),
        )
        self._pods.add_handler(self._forget_gone)
        return Handle(self._client, snapshot, changes.next, self._reporter.tell)

    def _use(self, configuration: Configuration) -> None:
        """Go by this configuration from the next attempt on."""
        self._profiles = configuration.profiles
        self.view.scheduler_names = configuration.profiles.keys()
        filters = {one.name: one for profile in configuration.profiles.values() for one in profile.filters}
        rules = Rules(
            tuple(filters.values()),
            held=self._held,
            backoff_s=configuration.backoff_s,
            backoff_max_s=configuration.backoff_max_s,
        )
        self._queue.use(rules if configuration.order is None else replace(rules, order=configuration.order))
        for extender in self._extenders:
            self._closing.add(task := asyncio.ensure_future(extender.close()))
            task.add_done_callback(self._closing.discard)
        self._extenders = [Extender(settings) for settings in configuration.extenders]

    def _held(self, pod: PodFacts) -> bool:
        return self._held_by(pod) is not None

    async def warm(self) -> None:
        """Fill the caches and keep them current; the queue fills along with them."""
        self._informers.start()
        await self._informers.synced()

    async def run(self, fence: str) -> None:
        """Schedule under `fence` until cancelled, once the caches show all that the predecessor bound."""
        self._informers.gather_ms = GATHER_MS
        written = (self._pods, *(self._informers.cache(group, "v1", plural) for group, plural in _WRITTEN))
        await asyncio.gather(*(cache.wait_revision(fence_revision(fence)) for cache in written))
        self._fence = fence
        # In between another copy may have tried pods: what this one knows of them isn't the last.
        self._attempts.clear()
        self._acting_since = self._wall_clock()
        self._recorder.start()
        reloading = asyncio.create_task(self._reload())
        _log.info("scheduler acting fence=%s pending=%d", fence, len(self._queue))
        try:
            await self._schedule()
        finally:
            reloading.cancel()
            await self._abandon_writes()
            self._fence = None
            self._informers.gather_ms = STANDBY_GATHER_MS
            await self._recorder.stop()

    def answer(self, path: str) -> object | None:
        """Tell of one pod, `attempts/NAMESPACE/NAME`, while acting. See `oarlock.actors.shell.component.Answering`."""
        what, _, key = path.partition("/")
        if what != "attempts" or self._fence is None:
            return None
        found, pod = self._attempts.get(key), self.view.current(key)
        standing = self._queue.standing(key)
        held = None if pod is None or standing is None or standing.place != "gated" else self._held_by(pod)
        waiting = attempt_page.waiting(standing, pod.gates if pod is not None else (), held or "")
        return attempt_page.page(found, waiting, self._acting_since, len(self._attempts))

    def _held_by(self, pod: PodFacts) -> str | None:
        """Return why a plugin holds the pod back, None if none does."""
        profile = self._profiles.get(pod.scheduler_name)
        reasons = (gate(pod, self.view.snapshot) for gate in (profile.gates if profile is not None else ()))
        return next((reason for reason in reasons if reason is not None), None)

    def _forget_gone(self, change: Change, old: Object | None, new: Object | None) -> None:  # noqa: ARG002
        if new is None and old is not None:
            self._attempts.forget(key_of(old))

    async def stop(self) -> None:
        """End the watches and close the connections. Idempotent."""
        await self._informers.stop()
        for extender in self._extenders:
            await extender.close()
        await self._client.close()

    async def _reload(self) -> None:
        """Follow changed files; a broken one changes nothing but the log."""
        while True:
            await asyncio.sleep(_RELOAD_S)
            stamps = self._sources.stamps()
            if stamps == self._stamps:
                continue
            self._stamps = stamps
            try:
                self._use(self._sources.load())
                self.view.requeue()
                _log.info("configuration read again profiles=%s", ",".join(self._profiles))
            except Broken as broken:
                _log.error("configuration not read again: %s", broken)

    async def _schedule(self) -> None:
        while True:
            pod, attempt = await self._queue.pop()
            profile = self._profiles.get(pod.scheduler_name)
            if profile is not None and any(one.wants(pod) for one in self._extenders):
                self._attempt_apart(pod, profile, attempt)
            elif profile is not None:
                await self._attempt(pod, profile, attempt)
            if len(self._writes) >= _WRITES_MAX:
                await asyncio.wait(self._writes, return_when=asyncio.FIRST_COMPLETED)

    def _attempt_apart(self, pod: PodFacts, profile: Profile, attempt: int) -> None:
        """Ask extenders while others are scheduled: one that hangs holds up those pods only that it is asked about."""
        if pod.key in self._asking or len(self._asking) >= _ASKING_MAX:
            self._queue.fail(pod, attempt)
            return
        task = asyncio.create_task(self._attempt(pod, profile, attempt))
        self._asking[pod.key] = task
        task.add_done_callback(lambda _: self._asking.pop(pod.key, None))

    async def _attempt(self, pod: PodFacts, profile: Profile, attempt: int) -> None:
        started = self._clock()
        try:
            decision = await self._decide(pod, profile)
            if not self.view.is_pending(pod):
                return
            self._attempts.decide(pod, attempt, profile.name, self._wall_clock(), decision)
            if isinstance(decision, Unschedulable):
                self._refuse(pod, decision, attempt, started)
                return
            self.view.assume(pod, decision.node)
            reservation = reserve(pod, decision.node, profile, self._handle)
        except Exception as error:  # noqa: BLE001 - foreign code, or a bug of ours that one pod brings out
            # One pod's attempt must never end the others'.
            if not isinstance(error, (PluginFailed, ExtenderFailed, StepFailed)):
                _log.exception("attempt failed pod=%s", pod.key)
            if self.view.forget(pod):
                self._queue.fail(pod, attempt)
            self._count("error", profile, started)
            self._fail(pod, profile, attempt, str(error) or type(error).__name__)
            self._write(self._explain(pod, str(error) or type(error).__name__))
            return
        delegated = any(one.settings.bind_verb and one.wants(pod) for one in self._extenders)
        counts = not (reservation.may_wait or delegated)
        self._write(self._bind(reservation, attempt, started), counts=counts)

    async def _decide(self, pod: PodFacts, profile: Profile) -> Placement | Unschedulable:
        snapshot, obj = self.view.snapshot, self._pods.get(pod.key)
        extenders = self._extenders
        if not extenders or obj is None:
            return self._decided(pod, profile)
        profile = await extended(pod, obj, snapshot, self._search, profile, extenders, self._nodes.get)
        decision = self._decided(pod, profile)
        if isinstance(decision, Unschedulable):
            decision = await agreed(pod, obj, decision, snapshot, extenders, self._pods.get)
        return decision

    def _decided(self, pod: PodFacts, profile: Profile) -> Placement | Unschedulable:
        snapshot = self.view.snapshot
        if profile.guarded:
            return limited(lambda: decide(pod, snapshot, search=self._search, profile=profile))
        return decide(pod, snapshot, search=self._search, profile=profile)

    async def _bind(self, reservation: Reservation, attempt: int, started: float) -> None:
        result = "scheduled"
        try:
            await self._announce(reservation)
            await bind(reservation, self._handle, self._reporter, self._extenders)
            self._attempts.bind(reservation.pod, attempt)
        except (StepFailed, ExtenderFailed) as failure:
            result = "unschedulable"
            self._take_back(reservation, attempt)
            self._fail(reservation.pod, reservation.profile, attempt, str(failure))
            await self._explain(reservation.pod, str(failure))
        except (ApiError, Unreachable) as error:
            # Whether or not the binding arrived: if it did, the pod's next event says so and ends its waiting.
            result = "error"
            _log.warning("binding failed pod=%s node=%s error=%r", reservation.pod.key, reservation.node, str(error))
            self._take_back(reservation, attempt)
            self._fail(reservation.pod, reservation.profile, attempt, f"binding rejected: {error}")
        except asyncio.CancelledError:
            self._take_back(reservation, attempt)
            raise
        self._count(result, reservation.profile, started)

    async def _announce(self, reservation: Reservation) -> None:
        """Tell on which node the pod will be, if that takes a while: whoever makes or removes nodes wants to know.

        It stays if binding fails: the node is tried first then. Source: NominatedNodeNameForExpectation (v1.35).
        """
        pod = reservation.pod
        if not reservation.may_wait or pod.nominated_node == reservation.node:
            return
        try:
            await self._reporter.nominate(replace(pod, nominated_node=reservation.node))
        except (ApiError, Unreachable) as error:
            _log.warning("nomination not written pod=%s error=%r", pod.key, str(error))

    def _fail(self, pod: PodFacts, profile: Profile, attempt: int, message: str) -> None:
        if self.view.current(pod.key) is not None:
            self._attempts.fail(pod, attempt, profile.name, self._wall_clock(), message)

    def _take_back(self, reservation: Reservation, attempt: int) -> None:
        unreserve(reservation, self._handle)
        if self.view.forget(reservation.pod):
            self._queue.fail(self.view.current(reservation.pod.key) or reservation.pod, attempt)

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
        self._count("unschedulable", self._profiles[pod.scheduler_name], started)
        self._write(self._tell(pod, node, refusal))

    async def _tell(self, pod: PodFacts, node: str, refusal: Unschedulable) -> None:
        try:
            await self._reporter.refuse(pod, "Unschedulable", refusal.message, nominated=node)
            if refusal.nomination is not None:
                await self._make_room(pod, refusal.nomination)
            if refusal.release is not None:
                await self._release(pod, refusal.release)
        except (ApiError, Unreachable) as error:
            _log.warning("refusal not written pod=%s error=%r", pod.key, str(error))
            if refusal.nomination is not None or refusal.release is not None:
                # The victims' going, or the claim's change, would have been the sign to try again.
                self._queue.activate(pod.key)

    async def _release(self, pod: PodFacts, release: Release) -> None:
        try:
            await self._reporter.release(pod, release)
        except ApiError as error:
            if error.code != _CONFLICT:
                raise
            # Somebody else has changed the claim: it is looked at anew.
            self._queue.activate(pod.key)

    async def _make_room(self, pod: PodFacts, nomination: Nomination) -> None:
        if nomination.victims:
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
        writes = [*self._asking.values(), *self._writes, *self._waits]
        for task in writes:
            task.cancel()
        await asyncio.gather(*writes, return_exceptions=True)

    def _count(self, result: str, profile: Profile, started: float) -> None:
        ATTEMPTS.labels(result, profile.name).inc()
        DURATION.labels(result, profile.name).observe(self._clock() - started)
