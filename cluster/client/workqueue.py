"""A queue of keys with client-go's promises: deduplicating, delaying, rate-limited.

A key waits at most once, is never worked on by two workers at a time, and one added while it is worked on is
worked on again. Source: k8s.io/client-go/util/workqueue.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from time import monotonic

from prometheus_client import Counter, Gauge, Histogram

_BUCKETS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
_DEPTH = Gauge("workqueue_depth", "Current depth of workqueue", ["name"])
_ADDS = Counter("workqueue_adds", "Total number of adds handled by workqueue", ["name"])
_RETRIES = Counter("workqueue_retries", "Total number of retries handled by workqueue", ["name"])
_WAITED = Histogram(
    "workqueue_queue_duration_seconds",
    "How long a key stays in workqueue before being requested",
    ["name"],
    buckets=_BUCKETS,
)
_WORKED = Histogram(
    "workqueue_work_duration_seconds", "How long processing a key from workqueue takes", ["name"], buckets=_BUCKETS
)


class ShutDown(Exception):
    """The queue was shut down and is empty."""


class WorkQueue:
    """Keys to work on. For one event loop; no method but `get()` waits.

    `backoff_s` and `backoff_max_s` bound the exponential delay of `add_rate_limited`. The queue needs no bound of its
    own: a key is in it once, so it can't hold more keys than there are objects.
    """

    def __init__(
        self,
        name: str,
        *,
        backoff_s: float = 0.005,
        backoff_max_s: float = 60.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._backoff_s, self._backoff_max_s, self._clock = backoff_s, backoff_max_s, clock
        self._ready: deque[str] = deque()
        self._dirty: dict[str, float] = {}
        self._processing: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._getters: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self._depth, self._adds, self._retries_total = _DEPTH.labels(name), _ADDS.labels(name), _RETRIES.labels(name)
        self._waited, self._worked = _WAITED.labels(name), _WORKED.labels(name)

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: str) -> None:
        """Let `key` be worked on as soon as may be."""
        if self._closed or key in self._dirty:
            return
        self._due.pop(key, None)
        self._dirty[key] = self._clock()
        self._adds.inc()
        if key not in self._processing:
            self._offer(key)

    def add_after(self, key: str, delay_s: float) -> None:
        """Add `key` after `delay_s`; of several delays the shortest counts."""
        if delay_s <= 0:
            self.add(key)
            return
        due = self._clock() + delay_s
        if self._closed or key in self._dirty or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, key))
        self._arm()

    def add_rate_limited(self, key: str) -> None:
        """Add `key` after a delay that doubles with every call until `forget(key)`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._retries_total.inc()
        self.add_after(key, min(self._backoff_s * 2 ** min(failures, 30), self._backoff_max_s))

    def forget(self, key: str) -> None:
        """Start the next back-off of `key` from the beginning."""
        self._failures.pop(key, None)

    def retries(self, key: str) -> int:
        """Return how often `key` was added rate-limited since it was last forgotten."""
        return self._failures.get(key, 0)

    async def get(self) -> str:
        """Return the next key, which is the caller's until `done(key)`. Raises ShutDown."""
        while not self._ready:
            if self._closed:
                raise ShutDown
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter in self._getters:
                    self._getters.remove(getter)
                elif self._ready:
                    self._wake()  # the turn was ours already: pass it on
                raise
        key = self._ready.popleft()
        self._depth.set(len(self._ready))
        now = self._clock()
        self._waited.observe(now - self._dirty.pop(key))
        self._processing[key] = now
        return key

    def done(self, key: str) -> None:
        """Give `key` back; if it was added meanwhile it is ready again."""
        self._worked.observe(self._clock() - self._processing.pop(key))
        if key in self._dirty:
            self._offer(key)

    def shut_down(self) -> None:
        """Take no more keys; what is ready can still be got, delayed keys are dropped."""
        self._closed = True
        self._heap.clear()
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._getters:
            self._wake()

    def _offer(self, key: str) -> None:
        self._ready.append(key)
        self._depth.set(len(self._ready))
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _arm(self) -> None:
        """Keep one timer, for the earliest delayed key."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # replaced by an earlier delay or by add()
        if self._heap:
            wait_s = max(0.0, self._heap[0][0] - self._clock())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._release)

    def _release(self) -> None:
        self._timer = None
        now = self._clock() + 1e-4  # a timer may fire a moment early
        while self._heap and self._heap[0][0] <= now:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                self.add(key)
        self._arm()
