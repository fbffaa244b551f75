"""When history is old or large enough to be compacted: decided by the leader alone, then agreed as a command."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from oarlock.consensus.history import History

STEP_REVISIONS = 1000
"""Revisions between two looks at the clock and at least one compaction's worth."""


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """History is kept for `window_s`, unless it exceeds `revisions_max` or `bytes_max` before.

    Kubernetes promises continuation of lists and watches for about five minutes. Source: etcd compaction by
    kube-apiserver, --etcd-compaction-interval.
    """

    window_s: float = 300.0
    revisions_max: int = 100_000
    bytes_max: int = 256 << 20


class Retention:
    """Remembers when revisions passed, on this leader's clock; needs no timer of its own."""

    def __init__(self, settings: RetentionSettings) -> None:
        self._settings = settings
        self._marks: deque[tuple[float, int]] = deque()

    def due(self, history: History, revision: int, now_s: float) -> int:
        """Return the revision to compact to, 0 if none is due. Called after changes; O(1)."""
        settings = self._settings
        if self._marks and revision < self._marks[-1][1] + STEP_REVISIONS:
            return 0
        self._marks.append((now_s, revision))
        target = 0
        while self._marks[0][0] < now_s - settings.window_s:
            target = self._marks.popleft()[1]
        retained = revision - history.log_start
        if retained > settings.revisions_max:
            target = max(target, revision - settings.revisions_max)
        if history.retained_bytes > settings.bytes_max:
            share = settings.bytes_max / history.retained_bytes
            target = max(target, revision - int(retained * share))
        return target if target > history.compact_revision else 0
