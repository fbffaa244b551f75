"""Keeps pods off nodes without room for their requests."""

from __future__ import annotations

from oarlock.actors.scheduler.devices.extended import by_devices
from oarlock.actors.scheduler.facts import PODS, PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot


class NodeResourcesFit(FilterDefaults):
    """Extended resources that `ignored` names, or whose prefix it names, aren't asked for here.

    Nor are those that a class of devices stands for on a node that has none of them itself: see `dynamic_resources`.
    """

    name = "NodeResourcesFit"
    events = frozenset(("NodeAdded", "NodeAllocatableChanged", "AssignedPodDeleted", "AssignedPodShrunk"))

    def __init__(self, ignored: frozenset[str] = frozenset()) -> None:
        self._ignored = ignored

    def ignoring(self, resources: frozenset[str]) -> NodeResourcesFit:
        """Return the same filter that doesn't ask for these either."""
        return NodeResourcesFit(self._ignored | resources)

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:
        wanted = [(name, amount) for name, amount in pod.requests.items() if amount and not self._ignores(name)]

        by_claim = frozenset(by_devices(pod.needs, snapshot.devices)) if pod.needs else frozenset[str]()

        def check(node: NodeState) -> Failure | None:
            allocatable, requested = node.allocatable, node.requested
            reasons, final = [], False
            if len(node.pods) + 1 > allocatable.get(PODS, 0):
                reasons.append("Too many pods")
            for name, amount in wanted:
                room = allocatable.get(name, 0)
                if amount > room - requested[name] and not (name in by_claim and not room):
                    reasons.append(f"Insufficient {name}")
                    final = final or amount > room
            return Failure(tuple(reasons), final) if reasons else None

        return check

    def _ignores(self, name: str) -> bool:
        return bool(self._ignored) and (name in self._ignored or name.partition("/")[0] in self._ignored)
