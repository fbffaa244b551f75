"""Prefers nodes on which the pod evens out how much of cpu and of memory is requested."""

from __future__ import annotations

import math
from collections.abc import Sequence

from oarlock.actors.scheduler.facts import CPU, MEMORY, PodFacts
from oarlock.actors.scheduler.framework import SCORE_MAX, Grades
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot


class BalancedAllocation:
    """`resources` are those that are to be balanced; extended ones count for pods that ask for them."""

    name = "NodeResourcesBalancedAllocation"

    def __init__(self, resources: Sequence[str] = (CPU, MEMORY)) -> None:
        self._resources = tuple(resources)

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:  # noqa: ARG002
        wanted = pod.requests
        counted = [(name, wanted.get(name, 0)) for name in self._resources if name in _ALWAYS or wanted.get(name)]
        if not any(amount for _, amount in counted):
            return None
        if len(counted) == 2:
            return {node.name: _grade_two(node, *counted) for node in nodes}
        return {node.name: _grade(node, counted) for node in nodes}


_ALWAYS = frozenset((CPU, MEMORY))


def _grade_two(node: NodeState, one: tuple[str, int], other: tuple[str, int]) -> int:
    """The same as `_grade`, for the usual two resources."""
    room, other_room = node.allocatable.get(one[0], 0), node.allocatable.get(other[0], 0)
    half = SCORE_MAX // 2
    if not room or not other_room:
        return half + int(half / 2)
    taken, other_taken = node.requested[one[0]], node.requested[other[0]]
    apart = abs(min(1.0, taken / room) - min(1.0, other_taken / other_room)) / 2
    after = abs(min(1.0, (taken + one[1]) / room) - min(1.0, (other_taken + other[1]) / other_room)) / 2
    return half + int((half + int((1 - after) * SCORE_MAX) - int((1 - apart) * SCORE_MAX)) / 2)


def _grade(node: NodeState, counted: Sequence[tuple[str, int]]) -> int:
    """Half the grade for balance as such, half for what the pod does to it; whole numbers, cut towards zero."""
    requested, allocatable = node.requested, node.allocatable
    rooms = [(requested[name], amount, room) for name, amount in counted if (room := allocatable.get(name, 0))]
    before = _balance([min(1.0, taken / room) for taken, _, room in rooms])
    after = _balance([min(1.0, (taken + amount) / room) for taken, amount, room in rooms])
    half = SCORE_MAX // 2
    return half + int((half + after - before) / 2)


def _balance(shares: Sequence[float]) -> int:
    """Return SCORE_MAX less the standard deviation of the requested shares."""
    if len(shares) < 2:
        return SCORE_MAX
    if len(shares) == 2:
        return int((1 - abs(shares[0] - shares[1]) / 2) * SCORE_MAX)
    mean = sum(shares) / len(shares)
    return int((1 - math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))) * SCORE_MAX)
