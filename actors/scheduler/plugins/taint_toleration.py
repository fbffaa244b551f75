"""Keeps pods off nodes whose taints they don't tolerate, and away from those that would rather not have them."""

from __future__ import annotations

from collections.abc import Sequence

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults, Grades, scaled
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_REPELLING = frozenset(("NoSchedule", "NoExecute"))
_UNTOLERATED = Failure(("node(s) had untolerated taint(s)",), final=True)


class TaintToleration(FilterDefaults):
    name = "TaintToleration"
    events = frozenset(("NodeAdded", "NodeTaintChanged", "PodChanged"))

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:  # noqa: ARG002 - a filter's shape
        def check(node: NodeState) -> Failure | None:
            if not node.facts.taints:
                return None
            repelled = any(taint.effect in _REPELLING and not pod.tolerates(taint) for taint in node.facts.taints)
            return _UNTOLERATED if repelled else None

        return check

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:  # noqa: ARG002
        return scaled(
            {
                node.name: sum(
                    taint.effect == "PreferNoSchedule" and not pod.tolerates(taint) for taint in node.facts.taints
                )
                for node in nodes
            },
            reverse=True,
        )
