"""Pods that wait to be scheduled: ready ones by priority, backing off ones by time, refused ones until a change.

A change is named: NodeAdded, NodeLabelChanged, NodeTaintChanged, NodeSpecChanged, NodeAllocatableChanged,
AssignedPodAdded, AssignedPodChanged, AssignedPodDeleted, AssignedPodShrunk, PodChanged, and one or two for each kind
of storage and of devices. A refused pod waits for one that a filter which refused it lists in its `events`. Times as
upstream: back-off 1 s doubling to 10 s, and a refused pod is tried again after 5 minutes whatever happens. While nobody
else is ready a refused pod's back-off serves no purpose and is cut short (KEP-5142); that of a pod whose attempt went
wrong never is.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Filter
from oarlock.actors.scheduler.metrics import INCOMING, PENDING

BACKOFF_S, BACKOFF_MAX_S = 1.0, 10.0
REFUSED_MAX_S = 300.0

_ACTIVE, _BACKOFF, _REFUSED, _GATED = "active", "backoff", "unschedulable", "gated"


def _by_priority(pod: PodFacts) -> Any:
    return -pod.priority


@dataclass(frozen=True)
class Rules:
    """What the queue goes by: whose events help whom, who comes first, who is held back, how long back-off lasts."""

    filters: tuple[Filter, ...]
    order: Callable[[PodFacts], Any] = _by_priority
    held: Callable[[PodFacts], bool] = lambda _: False
    backoff_s: float = BACKOFF_S
    backoff_max_s: float = BACKOFF_MAX_S


@dataclass(slots=True)
class Waiting:
    """A pod in the queue. `since` is when it came to the place where it is."""

    pod: PodFacts
    since: float
    order: int
    attempts: int = 0
    place: str = _ACTIVE
    filters: frozenset[str] = field(default_factory=frozenset[str])
    tried: float = 0.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a pod is in the queue; `due_s` is how long until it is tried again whatever happens, if that is known."""

    place: str
    attempts: int
    filters: frozenset[str]
    due_s: float | None = None


class SchedulingQueue:
    """Holds each pod once, so it never holds more than there are pods. For one event loop; only `pop()` waits."""

    def __init__(self, filters: Iterable[Filter], *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rules = Rules(tuple(filters))
        self._events = {one.name: one.events for one in self._rules.filters}
        self._waiting: dict[str, Waiting] = {}
        self._active: list[tuple[Any, int, str]] = []
        self._backoff: list[tuple[float, str]] = []
        self._spare: list[tuple[int, Any, int, str]] = []
        """Those backing off that may come early: who would be ready in the same second, by priority."""
        self._refused: dict[str, Waiting] = {}
        """Oldest first, since a pod joins at the end."""
        self._held: dict[str, Waiting] = {}
        """Those that are gated by something else than the gates in their spec."""
        self._order = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    def standing(self, key: str) -> Standing | None:
        """Return where the pod is, None if it isn't waiting."""
        waiting = self._waiting.get(key)
        if waiting is None:
            return None
        due = {_BACKOFF: self._due(waiting), _REFUSED: waiting.since + REFUSED_MAX_S}.get(waiting.place)
        due_s = None if due is None else max(0.0, due - self._clock())
        return Standing(waiting.place, waiting.attempts, waiting.filters, due_s)

    def use(self, rules: Rules) -> None:
        """Go by other rules from now on; every pod that waits is sorted and held back anew."""
        self._rules = rules
        self._events = {one.name: one.events for one in rules.filters}
        # What one order returns may not compare with what another does.
        self._active.clear()
        self._spare.clear()
        for waiting in self._waiting.values():
            if waiting.place == _BACKOFF:
                self._may_come_early(waiting)
            if waiting.place in (_ACTIVE, _GATED):
                self._move(waiting, _GATED if self._is_gated(waiting.pod) else _ACTIVE, "PodChanged")

    def _is_gated(self, pod: PodFacts) -> bool:
        return bool(pod.gates) or self._rules.held(pod)

    def add(self, pod: PodFacts) -> None:
        """Take a new pod, or a changed one; one that only waits for its gates to open is held."""
        known = self._waiting.get(pod.key)
        self._order += 1
        waiting = known or Waiting(pod, self._clock(), self._order)
        waiting.pod = pod
        self._waiting[pod.key] = waiting
        if self._is_gated(pod):
            self._move(waiting, _GATED, "PodChanged")
        elif known is None or known.place in (_GATED, _ACTIVE):
            self._move(waiting, _ACTIVE, "PodAdd")
        elif known.place == _REFUSED:
            self._retry(waiting, "PodChanged")

    def update(self, pod: PodFacts) -> None:
        """Take news of a waiting pod that gives no reason to try it again."""
        if (known := self._waiting.get(pod.key)) is not None:
            known.pod = pod

    def remove(self, key: str) -> None:
        """Forget a pod that is bound or gone."""
        self._waiting.pop(key, None)
        self._refused.pop(key, None)
        self._held.pop(key, None)

    def refuse(self, pod: PodFacts, filters: frozenset[str], attempts: int) -> None:
        """Keep a pod for which there was no node, until a change that concerns one of `filters`."""
        waiting = self._returned(pod, attempts)
        waiting.filters = filters
        self._move(waiting, _REFUSED, "ScheduleAttemptFailure")

    def fail(self, pod: PodFacts, attempts: int) -> None:
        """Take back a pod whose attempt went wrong for no reason of its own: it is tried again after its back-off."""
        self._retry(self._returned(pod, attempts), "ScheduleAttemptFailure")

    def activate(self, key: str) -> None:
        """Try a refused pod again, whatever it was refused for."""
        if (waiting := self._refused.get(key)) is not None:
            self._retry(waiting, "ForceActivate")

    def activate_all(self) -> None:
        """Try every refused pod again."""
        for key in list(self._refused):
            self.activate(key)

    def note(self, *events: str) -> None:
        """Tell what changed in the cluster: refused pods that this may help are tried again."""
        happened = set(events)
        self._open(self._held.values(), events[0])
        for waiting in list(self._refused.values()):
            if any(not happened.isdisjoint(self._events.get(name, happened)) for name in waiting.filters):
                self._retry(waiting, events[0])

    def note_claim(self, event: str, key: str) -> None:
        """Tell what happened to the ResourceClaim of that key: refused pods that use it may be tried again."""
        namespace, _, name = key.partition("/")

        def uses(waiting: Waiting) -> bool:
            pod = waiting.pod
            return pod.namespace == namespace and any(one.claim == name for one in pod.device_claims)

        self._open(filter(uses, self._held.values()), event)
        for waiting in list(filter(uses, self._refused.values())):
            if any(event in self._events.get(one, (event,)) for one in waiting.filters):
                self._retry(waiting, event)

    def _open(self, held: Iterable[Waiting], event: str) -> None:
        for waiting in list(held):
            if not self._is_gated(waiting.pod):
                self._move(waiting, _ACTIVE, event)

    async def pop(self) -> tuple[PodFacts, int]:
        """Wait for the pod of the highest priority, first come first served, and take it out.

        Returns it with the number of this attempt, from 1.
        """
        while True:
            self._release_due()
            while self._active:
                _, order, key = heapq.heappop(self._active)
                waiting = self._waiting.get(key)
                if waiting is not None and waiting.place == _ACTIVE and waiting.order == order:
                    del self._waiting[key]
                    return waiting.pod, waiting.attempts + 1
            if (waiting := self._pop_spare()) is not None:
                return waiting.pod, waiting.attempts + 1
            await self._wait_change()

    def _pop_spare(self) -> Waiting | None:
        while self._spare:
            _, _, order, key = heapq.heappop(self._spare)
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.place == _BACKOFF and waiting.order == order:
                del self._waiting[key]
                INCOMING.labels(_ACTIVE, "PopFromBackoffQ").inc()
                return waiting
        return None

    def count(self) -> None:
        """Bring the gauges up to date."""
        places = [waiting.place for waiting in self._waiting.values()]
        for place in (_ACTIVE, _BACKOFF, _REFUSED, _GATED):
            PENDING.labels(place).set(places.count(place))

    def _returned(self, pod: PodFacts, attempts: int) -> Waiting:
        self._order += 1
        now = self._clock()
        # What came in while the attempt ran is newer than what the attempt worked on.
        newer = self._waiting.get(pod.key)
        waiting = Waiting(newer.pod if newer else pod, now, self._order, attempts, tried=now)
        self._waiting[pod.key] = waiting
        return waiting

    def _due(self, waiting: Waiting) -> float:
        """Return when the pod's back-off ends."""
        longest_s = self._rules.backoff_s * 2.0 ** min(waiting.attempts - 1, 10)
        return waiting.tried + min(longest_s, self._rules.backoff_max_s)

    def _retry(self, waiting: Waiting, event: str) -> None:
        due = self._due(waiting)
        if waiting.attempts and due > self._clock():
            self._move(waiting, _BACKOFF, event)
            heapq.heappush(self._backoff, (due, waiting.pod.key))
            self._may_come_early(waiting)
        else:
            self._move(waiting, _ACTIVE, event)

    def _may_come_early(self, waiting: Waiting) -> None:
        if waiting.filters:
            place = (int(self._due(waiting)), self._rules.order(waiting.pod), waiting.order, waiting.pod.key)
            heapq.heappush(self._spare, place)

    def _move(self, waiting: Waiting, place: str, event: str) -> None:
        waiting.place, waiting.since = place, self._clock()
        self._refused.pop(waiting.pod.key, None)
        self._held.pop(waiting.pod.key, None)
        if place == _REFUSED:
            self._refused[waiting.pod.key] = waiting
        if place == _GATED and not waiting.pod.gates:
            self._held[waiting.pod.key] = waiting
        if place == _ACTIVE:
            heapq.heappush(self._active, (self._rules.order(waiting.pod), waiting.order, waiting.pod.key))
        INCOMING.labels(place, event).inc()
        self._changed.set()

    def _release_due(self) -> None:
        """Make active what has backed off, or been refused, long enough."""
        now = self._clock()
        while self._backoff and self._backoff[0][0] <= now:
            _, key = heapq.heappop(self._backoff)
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.place == _BACKOFF:
                self._move(waiting, _ACTIVE, "BackoffComplete")
        while self._refused and now - self._first_refused() >= REFUSED_MAX_S:
            self._retry(next(iter(self._refused.values())), "UnschedulableTimeout")

    def _first_refused(self) -> float:
        return next(iter(self._refused.values())).since

    async def _wait_change(self) -> None:
        self._changed.clear()
        self.count()
        dues = [self._backoff[0][0]] if self._backoff else []
        if self._refused:
            dues.append(self._first_refused() + REFUSED_MAX_S)
        try:
            async with asyncio.timeout(max(0.0, min(dues) - self._clock()) if dues else None):
                await self._changed.wait()
        except TimeoutError:
            pass
