"""Prefers nodes on which the pod evens out how much of cpu and of memory is requested."""

from __future__ import annotations

from collections.abc import Sequence

from oarlock.actors.scheduler.facts import CPU, MEMORY, PodFacts
from oarlock.actors.scheduler.framework import SCORE_MAX, Grades
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot


class BalancedAllocation:
    name = "NodeResourcesBalancedAllocation"

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:  # noqa: ARG002
        if pod.requests_nothing:
            return None
        return {node.name: _grade(pod, node) for node in nodes}


def _grade(pod: PodFacts, node: NodeState) -> int:
    """Half the grade for balance as such, half for what the pod does to it; whole numbers, cut towards zero."""
    cpu, memory = node.requested[CPU], node.requested[MEMORY]
    before = _balance(node, cpu, memory)
    after = _balance(node, cpu + pod.requests.get(CPU, 0), memory + pod.requests.get(MEMORY, 0))
    half = SCORE_MAX // 2
    return half + int((half + after - before) / 2)


def _balance(node: NodeState, cpu: int, memory: int) -> int:
    """Return SCORE_MAX less the standard deviation of the requested shares."""
    rooms = ((cpu, node.allocatable.get(CPU, 0)), (memory, node.allocatable.get(MEMORY, 0)))
    shares = [min(1.0, requested / room) for requested, room in rooms if room]
    deviation = abs(shares[0] - shares[1]) / 2 if len(shares) == len(rooms) else 0.0
    return int((1 - deviation) * SCORE_MAX)
