"""How full a node may be: least or most allocated first, or along a line that the user draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from oarlock.actors.scheduler.facts import CPU, MEMORY, PodFacts
from oarlock.actors.scheduler.framework import SCORE_MAX, Grades
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

Weights = Mapping[str, int]
"""Resources by name, with what each weighs."""
Line = Sequence[tuple[int, int]]
"""(Utilization in hundredths, grade) points, by utilization."""
Grade = Callable[[int, int], int]
"""Grades (requested, allocatable), 0 to SCORE_MAX."""

EVEN: Weights = {CPU: 1, MEMORY: 1}


class AllocationScore:
    """NodeResourcesFit's score. Source: upstream's noderesources, resource_allocation.go and the scorers beside it."""

    name = "NodeResourcesFit"

    def __init__(self, grade: Grade, weights: Weights = EVEN, *, skips_zero: bool = False) -> None:
        self._grade, self._weights, self._skips_zero = grade, dict(weights), skips_zero

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:  # noqa: ARG002
        if self._weights == EVEN and not self._skips_zero:
            return {node.name: self._mean_of_two(pod, node) for node in nodes}
        return {node.name: self._mean(pod, node) for node in nodes}

    def _mean_of_two(self, pod: PodFacts, node: NodeState) -> int:
        """The same as `_mean`, for the usual two resources."""
        cpu, memory = node.allocatable.get(CPU, 0), node.allocatable.get(MEMORY, 0)
        if not cpu or not memory:
            return self._mean(pod, node)
        grade, wanted = self._grade, pod.scored
        return (grade(node.scored_cpu + wanted[0], cpu) + grade(node.scored_memory + wanted[1], memory)) // 2

    def _mean(self, pod: PodFacts, node: NodeState) -> int:
        """A resource that the node lacks, or an extended one that the pod doesn't ask for, is left out."""
        total = weights = 0
        for name, weight in self._weights.items():
            room, requested = node.allocatable.get(name, 0), _requested(pod, node, name)
            if not room or requested is None:
                continue
            grade = self._grade(requested, room)
            if grade or not self._skips_zero:
                total += weight * grade
                weights += weight
        if not weights:
            return 0
        return math.floor(total / weights + 0.5) if self._skips_zero else total // weights


def _requested(pod: PodFacts, node: NodeState, name: str) -> int | None:
    if name == CPU:
        return node.scored_cpu + pod.scored[0]
    if name == MEMORY:
        return node.scored_memory + pod.scored[1]
    wanted = pod.requests.get(name, 0)
    return node.requested[name] + wanted if wanted else None


def least_allocated(requested: int, room: int) -> int:
    return 0 if requested > room else (room - requested) * SCORE_MAX // room


def most_allocated(requested: int, room: int) -> int:
    return min(requested, room) * SCORE_MAX // room


def along(line: Line) -> Grade:
    """Return a grade that follows the line between its points and stays level beyond them."""

    def grade(requested: int, room: int) -> int:
        return interpolated(line, SCORE_MAX if requested > room else requested * SCORE_MAX // room)

    return grade


def interpolated(line: Line, at: int) -> int:
    """Return the line's height; whole numbers, cut towards zero as upstream does."""
    for place, (utilization, grade) in enumerate(line):
        if at <= utilization:
            if not place:
                return grade
            before, start = line[place - 1]
            return start + int((grade - start) * (at - before) / (utilization - before))
    return line[-1][1]
