"""Keeps a pod to the nodes that its node selector and node affinity ask for, and near those it prefers."""

from __future__ import annotations

from collections.abc import Sequence

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults, Grades, Impossible, scaled
from oarlock.actors.scheduler.selection import NodeTerm
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_UNWANTED_BY_PROFILE = Failure(("node(s) didn't match scheduler-enforced node affinity",), final=True)
Liked = tuple[tuple[int, NodeTerm], ...]
"""(Weight, term) of nodes that are liked."""
_UNWANTED = Failure(("node(s) didn't match Pod's node affinity/selector",), final=True)


class NodeAffinity(FilterDefaults):
    """What a profile adds holds for every pod, beside what the pod says."""

    name = "NodeAffinity"
    events = frozenset(("NodeAdded", "NodeLabelChanged"))

    def __init__(self, added: tuple[NodeTerm, ...] | None = None, liked: Liked = ()) -> None:
        self._added, self._liked = added, liked

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
        added = self._added
        if not pod.node_selector and pod.node_required is None and added is None:
            return None

        def check(node: NodeState) -> Failure | None:
            if added is not None and not any(term.matches(node.name, node.labels) for term in added):
                return _UNWANTED_BY_PROFILE
            return None if wants(pod, node) else _UNWANTED

        return check

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:  # noqa: ARG002
        liked = (*pod.node_preferred, *self._liked)
        if not liked:
            return None
        return scaled(
            {node.name: sum(weight for weight, term in liked if term.matches(node.name, node.labels)) for node in nodes}
        )


def wants(pod: PodFacts, node: NodeState) -> bool:
    """Whether the pod's node selector and required node affinity choose the node."""
    labels = node.labels
    if any(labels.get(key) != value for key, value in pod.node_selector.items()):
        return False
    return pod.node_required is None or any(term.matches(node.name, labels) for term in pod.node_required)
