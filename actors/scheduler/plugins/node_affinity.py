"""Keeps a pod to the nodes that its node selector and node affinity ask for, and near those it prefers."""

from __future__ import annotations

from collections.abc import Sequence

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults, Grades, Impossible, scaled
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_UNWANTED = Failure(("node(s) didn't match Pod's node affinity/selector",), final=True)


class NodeAffinity(FilterDefaults):
    name = "NodeAffinity"
    events = frozenset(("NodeAdded", "NodeLabelChanged"))

    def only(self, pod: PodFacts) -> frozenset[str] | None:
        """Return the nodes that every term names, as pods of a DaemonSet do. Raises Impossible."""
        if not pod.node_required:
            return None
        named = [term.names() for term in pod.node_required]
        found = [names for names in named if names is not None]
        if len(found) < len(named):
            return None
        if not any(found):
            raise Impossible("pod affinity terms conflict", self.name)
        return frozenset[str]().union(*found)

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:  # noqa: ARG002 - a filter's shape
        if not pod.node_selector and pod.node_required is None:
            return None

        def check(node: NodeState) -> Failure | None:
            return None if wants(pod, node) else _UNWANTED

        return check

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:  # noqa: ARG002
        if not pod.node_preferred:
            return None
        return scaled(
            {
                node.name: sum(weight for weight, term in pod.node_preferred if term.matches(node.name, node.labels))
                for node in nodes
            }
        )


def wants(pod: PodFacts, node: NodeState) -> bool:
    """Whether the pod's node selector and required node affinity choose the node."""
    labels = node.labels
    if any(labels.get(key) != value for key, value in pod.node_selector.items()):
        return False
    return pod.node_required is None or any(term.matches(node.name, labels) for term in pod.node_required)
