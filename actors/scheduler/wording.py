"""What a pod's owner reads when there is no node for it: upstream's FitError, word for word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from oarlock.actors.scheduler.framework import Failure
from oarlock.actors.scheduler.preemption import NoPreemption

NO_NODES = "no nodes available to schedule pods"
_NO_CLAIMS = "no new claims to deallocate"
"""What upstream's DynamicResources says after every refusal of a pod without claims."""


def refusal(nodes: int, failures: Mapping[str, Failure], preemption: NoPreemption | None, impossible: str = "") -> str:
    """Reasons with their numbers of nodes, then why preemption doesn't help; None: it does, or wasn't asked."""
    said = _available(nodes, impossible or counted(one.reasons for one in failures.values()))
    if preemption is None:
        return said
    outlook = preemption.hint or _available(nodes, counted(one.reasons for one in preemption.failures.values()))
    return f"{said} {_NO_CLAIMS}, preemption: {outlook}"


def counted(reasons: Iterable[Iterable[str]]) -> str:
    """Return each reason with how often it is there, sorted as text."""
    counts = Counter(reason for some in reasons for reason in some)
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))


def _available(nodes: int, why: str) -> str:
    return f"0/{nodes} nodes are available: {why}." if why else f"0/{nodes} nodes are available:"
