"""What a pod's owner reads when there is no node for it: upstream's FitError, word for word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from oarlock.actors.scheduler.framework import Failure
from oarlock.actors.scheduler.preemption import NoPreemption

NO_NODES = "no nodes available to schedule pods"


def refusal(
    nodes: int, failures: Mapping[str, Failure], preemption: NoPreemption | None, impossible: str = "", said: str = ""
) -> str:
    """Reasons with their numbers of nodes, then what would help: `said` of claims, why preemption doesn't.

    Without preemption (None) it does, or wasn't asked.
    """
    why = _available(nodes, impossible or counted(one.reasons for one in failures.values()))
    outlook = [said] if said else []
    if preemption is not None:
        reasons = counted(one.reasons for one in preemption.failures.values())
        outlook.append(f"preemption: {preemption.hint or _available(nodes, reasons)}")
    return f"{why} {', '.join(outlook)}" if outlook else why


def counted(reasons: Iterable[Iterable[str]]) -> str:
    """Return each reason with how often it is there, sorted as text."""
    counts = Counter(reason for some in reasons for reason in some)
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))


def _available(nodes: int, why: str) -> str:
    return f"0/{nodes} nodes are available: {why}." if why else f"0/{nodes} nodes are available:"
