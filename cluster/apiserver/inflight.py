"""How many requests are decided upon at one time: reads and writes apart, so that neither keeps the other out."""

from __future__ import annotations

from oarlock.cluster.apiserver import metrics
from oarlock.cluster.apiserver.requests import RequestInfo
from oarlock.cluster.objects import status

_READS = frozenset({"get", "list"})


class InFlight:
    """Counts requests of the usual kind. Those that may last (watches, logs, streams, proxies) aren't counted.

    Source: apiserver pkg/server/filters/maxinflight.go.
    """

    def __init__(self, reads_max: int, writes_max: int) -> None:
        self._kinds = {
            True: _Kind(reads_max, "readOnly"),
            False: _Kind(writes_max, "mutating"),
        }

    def enter(self, info: RequestInfo) -> _Kind | None:
        """Count a request; the caller calls `leave` on what is returned. None for what isn't counted.

        Raises ApiError 429.
        """
        if info.is_long_running:
            return None
        kind = self._kinds[info.verb in _READS]
        if kind.count >= kind.limit:
            metrics.DROPPED.labels(kind.name).inc()
            raise status.too_many_requests("too many requests, please try again later.")
        kind.count += 1
        return kind


class _Kind:
    __slots__ = ("count", "limit", "name")

    def __init__(self, limit: int, name: str) -> None:
        self.limit, self.name, self.count = limit, name, 0
        # Read when it is scraped: that costs nothing in between.
        metrics.INFLIGHT.labels(name).set_function(lambda: self.count)

    def leave(self) -> None:
        """Count one request less."""
        self.count -= 1
