"""Keeps pods off nodes without room for their requests, and prefers those with the most room left."""

from __future__ import annotations

from collections.abc import Sequence

from oarlock.actors.scheduler.facts import CPU, MEMORY, PODS, PodFacts
from oarlock.actors.scheduler.framework import SCORE_MAX, Check, Failure, FilterDefaults, Grades
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot


class NodeResourcesFit(FilterDefaults):
    """The score is LeastAllocated over cpu and memory, containers without requests counted at assumed amounts."""

    name = "NodeResourcesFit"
    events = frozenset(("NodeAdded", "NodeAllocatableChanged", "AssignedPodDeleted", "AssignedPodShrunk"))

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:  # noqa: ARG002 - a filter's shape
        wanted = [(name, amount) for name, amount in pod.requests.items() if amount]

        def check(node: NodeState) -> Failure | None:
            allocatable, requested = node.allocatable, node.requested
            reasons, final = [], False
            if len(node.pods) + 1 > allocatable.get(PODS, 0):
                reasons.append("Too many pods")
            for name, amount in wanted:
                room = allocatable.get(name, 0)
                if amount > room - requested[name]:
                    reasons.append(f"Insufficient {name}")
                    final = final or amount > room
            return Failure(tuple(reasons), final) if reasons else None

        return check

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:  # noqa: ARG002
        cpu, memory = pod.scored
        return {
            node.name: _mean(
                (node.scored_cpu + cpu, node.allocatable.get(CPU, 0)),
                (node.scored_memory + memory, node.allocatable.get(MEMORY, 0)),
            )
            for node in nodes
        }


def _mean(*shares: tuple[int, int]) -> int:
    """Return the mean share left free, in hundredths; a resource the node doesn't have is left out."""
    grades = [0 if requested > room else (room - requested) * SCORE_MAX // room for requested, room in shares if room]
    return sum(grades) // len(grades) if grades else 0
