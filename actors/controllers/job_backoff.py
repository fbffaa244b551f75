"""How long a Job waits after failures before it makes the next pod: 10 s, doubled for each, at most 10 min.

Source: kubernetes.io "Jobs", pod backoff failure policy; upstream's job/backoff_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from oarlock.actors.controllers import job_policies, pods
from oarlock.actors.controllers.view import parse_time

Object = dict[str, Any]

BACKOFF_S = 10.0
BACKOFF_MAX_S = 600.0


def wait_s(owned: Iterable[Object], now: datetime) -> float:
    """Return the wait after the failures since the last success, 0 when there was none or it is over."""
    owned = list(owned)
    success = max((_ended_at(pod) for pod in owned if pods.phase(pod) == "Succeeded"), default="")
    failures = [at for pod in owned if pods.phase(pod) == "Failed" and (at := _ended_at(pod)) > success]
    return _left_s(len(failures), max(failures), now) if failures else 0.0


def index_wait_s(failed: Object, now: datetime) -> float:
    """Return the wait of an index whose last pod failed."""
    before = job_policies.failures_before(failed) + job_policies.failures_before(failed, ignored=True)
    return _left_s(before + 1, _ended_at(failed), now)


def _left_s(failures: int, last: str, now: datetime) -> float:
    delay_s: float = min(BACKOFF_S * 2.0 ** min(failures - 1, 10), BACKOFF_MAX_S)
    return max(0.0, delay_s - (now - parse_time(last)).total_seconds())


def _ended_at(pod: Object) -> str:
    ends = [
        ((status.get("state") or {}).get("terminated") or {}).get("finishedAt")
        for status in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    return max((str(end) for end in ends if end), default=str(pod["metadata"]["creationTimestamp"]))
