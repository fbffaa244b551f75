"""When each node was heard of last, by our own clock, less the time in which we could hear nobody.

Neither a node's wrong clock nor our own absence may condemn a node: a process that stood still, a control plane that
was away or a clock that jumped look as if all nodes had fallen silent at once. So a time in which nothing came from
any node counts for no node. Source: decision 0019.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

RENEWALS_PER_LEASE = 4
"""An agent renews its lease about so often in the time that the lease lasts."""


@dataclass
class Sight:
    """Signs of life. Whoever was heard last should be heard again in half of its lease, unless it is gone too."""

    _seen: dict[str, datetime] = field(default_factory=dict)
    _last: datetime | None = None
    _patience: timedelta = timedelta()

    def heard(self, name: str, now: datetime, lease_s: float) -> None:
        """Note a sign of life from a node whose lease lasts `lease_s`."""
        if self._last is not None and now - self._last > self._patience:
            missed = now - self._last
            self._seen = {one: min(at + missed, now) for one, at in self._seen.items()}
        self._last, self._patience = now, timedelta(seconds=lease_s * 2 / RENEWALS_PER_LEASE)
        self._seen[name] = now

    def silence_s(self, name: str, now: datetime) -> float:
        """Return the seconds since a node was heard; one never heard of counts from now on."""
        return (now - self._seen.setdefault(name, now)).total_seconds()

    def is_blind(self, now: datetime) -> bool:
        """Whether nothing comes from any node, so that no single one can be told to be silent."""
        return self._last is None or now - self._last > self._patience

    def forget(self, name: str) -> None:
        """Drop a node that is gone."""
        self._seen.pop(name, None)
