"""Judges a finished world with the checkers of `tests/checking`, and its leases by the clocks that counted them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import checking.verdict
from checking.history import Call, History
from checking.report import Violation, describe
from simulation.clock import HostClock

from oarlock.consensus.model import LeaseStatus

TOLD_MAX = 3
"""Violations that are told: the rest tends to follow from them."""
ROUNDING_S = 0.001


def judge(history: History, clocks: Iterable[HostClock], expired: Mapping[int, float]) -> str:
    """Return what is wrong, "" for nothing. `clocks` are the members'; `expired` tells when leases ended unrevoked.

    A member whose clock runs ahead ends leases early, and nothing can be done about that: then leases are held
    against the members' clocks only.
    """
    clocks = list(clocks)
    violations = [
        violation
        for violation in checking.verdict.judge(history)
        if violation.rule != "lease early" or not any(clock.ran_ahead for clock in clocks)
    ]
    violations += _judge_expiries(history.calls, clocks, expired)
    return describe(history, violations[:TOLD_MAX])


def _judge_expiries(
    calls: Iterable[Call], clocks: list[HostClock], expired: Mapping[int, float]
) -> Iterator[Violation]:
    """A lease lived its whole term after each grant and renewal by some member's clock, and none was renewed later."""
    for call in calls:
        if call.kind not in {"grant", "keep_alive"} or not isinstance(call.outcome, LeaseStatus):
            continue
        ended_s = expired.get(call.outcome.lease)
        if ended_s is None:
            continue
        if ended_s < call.invoked:
            yield Violation("lease", f"the lease had expired at {ended_s:.6f}", call)
            continue
        lived_s = max(clock.elapsed(call.invoked, ended_s) for clock in clocks)
        if lived_s < call.outcome.ttl_ms / 1000 - ROUNDING_S:
            yield Violation("lease early", f"the lease expired at {ended_s:.6f}, {lived_s:.3f} s later", call)
