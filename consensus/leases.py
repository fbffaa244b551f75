"""The leader's lease clock: when each lease ends, and one timer for the next that does.

Terms are no part of the replicated state. A new leader grants every lease its whole term again, so a lease never
ends early; that it ends late is harmless. The clock is monotonic and stands while the leader's machine sleeps: by then
another member leads, and if all sleep, nobody else can have renewed either. Source: etcd lessor; decision 0032.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from typing import Protocol

from oarlock.consensus.model import LeaseNotFound


class Timers(Protocol):
    """The part of an event loop that the clock needs: seconds, monotonic."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle: ...


class LoopTimers:
    """The timers of whichever event loop runs; usable before one does."""

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at(when, callback)


class LeaseClock:
    """Deadlines of all leases while this replica leads. `expire(lease)` is called once when one passes."""

    def __init__(self, timers: Timers, expire: Callable[[int], None]) -> None:
        self._timers = timers
        self._expire = expire
        self._ttl_ms: dict[int, int] = {}
        self._deadline_s: dict[int, float] = {}
        self._queue: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None

    def start(self, leases: Mapping[int, int]) -> None:
        """Begin to lead: every lease (id → TTL in ms) has its whole term from now."""
        self.stop()
        now_s = self._timers.time()
        self._ttl_ms = dict(leases)
        self._deadline_s = {lease: now_s + ttl_ms / 1000 for lease, ttl_ms in leases.items()}
        self._queue = [(deadline_s, lease) for lease, deadline_s in self._deadline_s.items()]
        heapify(self._queue)
        self._arm()

    def stop(self) -> None:
        """Lead no more: nothing expires here."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._ttl_ms = {}
        self._deadline_s = {}
        self._queue = []

    def grant(self, lease: int, ttl_ms: int) -> None:
        """Start a new lease's term."""
        self._ttl_ms[lease] = ttl_ms
        self._deadline_s[lease] = self._timers.time() + ttl_ms / 1000
        heappush(self._queue, (self._deadline_s[lease], lease))
        if self._queue[0][1] == lease:
            self._arm()

    def renew(self, lease: int) -> int:
        """Start the term again and return it in ms. Raises LeaseNotFound, also for a lease that is being revoked."""
        ttl_ms = self._ttl_ms.get(lease)
        if ttl_ms is None:
            raise LeaseNotFound(f"requested lease {lease} not found")
        # The queue's entry stays: when it comes up it is put back at the new deadline.
        self._deadline_s[lease] = self._timers.time() + ttl_ms / 1000
        return ttl_ms

    def forgive(self, seconds: float) -> None:
        """Don't hold time against the holders in which this process didn't run: their renewals wait to be read."""
        for lease in self._deadline_s:
            self._deadline_s[lease] += seconds

    def end(self, lease: int) -> None:
        """Forget a revoked lease."""
        self._ttl_ms.pop(lease, None)
        self._deadline_s.pop(lease, None)

    def remaining_ms(self, lease: int) -> int:
        """Return what is left of the term, 0 for a lease that is ending."""
        deadline_s = self._deadline_s.get(lease)
        return 0 if deadline_s is None else max(int((deadline_s - self._timers.time()) * 1000), 0)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timers.call_at(self._queue[0][0], self._on_timer) if self._queue else None

    def _on_timer(self) -> None:
        self._timer = None
        now_s = self._timers.time()
        while self._queue and self._queue[0][0] <= now_s:
            _, lease = heappop(self._queue)
            deadline_s = self._deadline_s.get(lease)
            if deadline_s is None:
                continue
            if deadline_s > now_s:
                heappush(self._queue, (deadline_s, lease))
                continue
            # Forgetting it first refuses renewals that would race with the revocation.
            self.end(lease)
            self._expire(lease)
        self._arm()
