"""Waiting longer after each failure, separately for each key.

Source: the kubelet's CrashLoopBackOff: 10 s, doubled up to 5 min, forgotten after twice the longest without failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FIRST_S = 10.0
MAX_S = 300.0


@dataclass
class _Entry:
    delay_s: float
    at_s: float


class Backoff:
    """Delays by key; bounded by its users, who forget keys that are gone."""

    def __init__(self, clock: Callable[[], float], first_s: float = FIRST_S, max_s: float = MAX_S) -> None:
        self._clock = clock
        self._first_s = first_s
        self._max_s = max_s
        self._entries: dict[str, _Entry] = {}

    def remaining_s(self, key: str, failed_at_s: float) -> float:
        """Return how long to wait still after a failure at that time; 0 when the next attempt may begin."""
        entry = self._entries.get(key)
        if entry is None or failed_at_s - entry.at_s > 2 * self._max_s:
            return 0.0
        return max(0.0, failed_at_s + entry.delay_s - self._clock())

    def delay_s(self, key: str) -> float:
        """Return the present delay of the key, 0 if it has none."""
        entry = self._entries.get(key)
        return entry.delay_s if entry else 0.0

    def attempt(self, key: str) -> None:
        """Note that another attempt begins after a failure: the next delay is twice as long."""
        now_s = self._clock()
        entry = self._entries.get(key)
        if entry is None or now_s - entry.at_s > 2 * self._max_s:
            self._entries[key] = _Entry(self._first_s, now_s)
        else:
            entry.delay_s = min(entry.delay_s * 2, self._max_s)
            entry.at_s = now_s

    def forget(self, key: str) -> None:
        self._entries.pop(key, None)
