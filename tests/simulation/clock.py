"""Virtual time: one schedule for the whole world, and for each host a clock that may run fast, slow, or leap."""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_right
from collections.abc import Callable
from math import inf

START_S = 1000.0


class Schedule:
    """What happens next, in order of time, then of arrival. `now` is the world's true time in seconds."""

    def __init__(self) -> None:
        self.now = START_S
        self.stopped = False
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def at(self, when_s: float, action: Callable[[], object]) -> None:
        """Have `action` called at a true time, which may be past."""
        heapq.heappush(self._events, (when_s, next(self._order), action))

    def after(self, delay_s: float, action: Callable[[], object]) -> None:
        self.at(self.now + delay_s, action)

    def run_until(self, end_s: float) -> None:
        """Let everything happen that is due before `end_s`, unless `stopped` is set meanwhile."""
        events = self._events
        while events and events[0][0] < end_s and not self.stopped:
            when_s, _, action = heapq.heappop(events)
            self.now = max(self.now, when_s)
            action()
        if not self.stopped:
            self.now = end_s

    def clear(self) -> None:
        """Nothing happens any more."""
        self._events.clear()


class HostClock:
    """A host's monotonic clock: linear in pieces, never going back."""

    def __init__(self, schedule: Schedule, offset_s: float) -> None:
        self._schedule = schedule
        self._from_s = [schedule.now]
        self._local_s = [schedule.now + offset_s]
        self._rate = [1.0]
        self.ran_ahead = False
        """True once it has been faster than true time."""
        self.on_change: Callable[[], object] = lambda: None
        """Called after the clock has begun to run differently: timers stand elsewhere now."""

    def time(self) -> float:
        """Return what the host believes."""
        return self._local_s[-1] + (self._schedule.now - self._from_s[-1]) * self._rate[-1]

    def true_time(self, local_s: float) -> float:
        """Return when the clock will show `local_s`, as it runs now."""
        ahead_s = local_s - self._local_s[-1]
        if ahead_s <= 0:
            return self._from_s[-1]
        return self._from_s[-1] + ahead_s / self._rate[-1] if self._rate[-1] else inf

    def elapsed(self, begin_s: float, end_s: float) -> float:
        """Return how far the clock went between two true times."""
        return self._at(end_s) - self._at(begin_s)

    def run(self, rate: float, *, leap_s: float = 0.0) -> None:
        """Leap, then run at `rate` seconds a second."""
        self.ran_ahead = self.ran_ahead or rate > 1 or leap_s > 0
        local_s = self.time() + leap_s
        self._from_s.append(self._schedule.now)
        self._local_s.append(local_s)
        self._rate.append(rate)
        self.on_change()

    def _at(self, true_s: float) -> float:
        piece = max(bisect_right(self._from_s, true_s) - 1, 0)
        return self._local_s[piece] + (true_s - self._from_s[piece]) * self._rate[piece]
