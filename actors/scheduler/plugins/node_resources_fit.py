"""Keeps pods off nodes without room for their requests."""

from __future__ import annotations

from oarlock.actors.scheduler.facts import PODS, PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot


class NodeResourcesFit(FilterDefaults):
    """Extended resources that `ignored` names, or whose prefix it names, aren't asked for here."""

    name = "NodeResourcesFit"
    events = frozenset(("NodeAdded", "NodeAllocatableChanged", "AssignedPodDeleted", "AssignedPodShrunk"))

    def __init__(self, ignored: frozenset[str] = frozenset()) -> None:
        self._ignored = ignored

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:  # noqa: ARG002 - a filter's shape
        wanted = [(name, amount) for name, amount in pod.requests.items() if amount and not self._ignores(name)]

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

    def _ignores(self, name: str) -> bool:
        return bool(self._ignored) and (name in self._ignored or name.partition("/")[0] in self._ignored)
