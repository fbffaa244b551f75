"""Keeps a pod that names its node to that node."""

from __future__ import annotations

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_OTHER = Failure(("node(s) didn't match the requested node name",), final=True)


class NodeName(FilterDefaults):
    name = "NodeName"
    events = frozenset(("NodeAdded",))

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:  # noqa: ARG002 - a filter's shape
        if not pod.node_name:
            return None

        def check(node: NodeState) -> Failure | None:
            return None if node.name == pod.node_name else _OTHER

        return check
