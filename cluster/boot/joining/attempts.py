"""Bounds how often one address may be wrong: guessing a secret, or merely knocking, costs the guesser time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from oarlock.cluster.boot.joining.judging import Refused

FAILURES_MAX = 10
WINDOW_S = 60.0
ADDRESSES_MAX = 1024


class Attempts:
    """Counts failures by address within a window of time; of too many addresses the oldest is forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise Refused while the address has failed too often."""
        recent = self._recent(address)
        if len(recent) >= FAILURES_MAX:
            wait_s = max(1, round(recent[0] + WINDOW_S - self._clock()))
            raise Refused(429, f"{address} has been refused too often", f"Try again in {wait_s} s.")

    def failed(self, address: str) -> None:
        self._failures[address] = [*self._recent(address), self._clock()][-FAILURES_MAX:]
        self._failures.move_to_end(address)
        while len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        since = self._clock() - WINDOW_S
        return [when for when in self._failures.get(address, ()) if when > since]
