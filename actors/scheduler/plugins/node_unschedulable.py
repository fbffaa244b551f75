"""Keeps pods off cordoned nodes, unless they tolerate that."""

from __future__ import annotations

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults
from oarlock.actors.scheduler.selection import Taint
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_CORDON = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
_CORDONED = Failure(("node(s) were unschedulable",), final=True)


class NodeUnschedulable(FilterDefaults):
    name = "NodeUnschedulable"
    events = frozenset(("NodeAdded", "NodeSpecChanged", "NodeTaintChanged"))

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:  # noqa: ARG002 - a filter's shape
        if pod.tolerates(_CORDON):
            return None

        def check(node: NodeState) -> Failure | None:
            return _CORDONED if node.facts.unschedulable else None

        return check
