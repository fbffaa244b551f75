"""Keeps pods together or apart within a domain, as the pod itself or the pods already there require."""

from __future__ import annotations

from collections import Counter

from oarlock.actors.scheduler.facts import Group, PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults
from oarlock.actors.scheduler.selection import PodTerm
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_ALONE = Failure(("node(s) didn't match pod affinity rules",), final=True)
_TOO_NEAR = Failure(("node(s) didn't match pod anti-affinity rules",), final=False)
_REJECTED = Failure(("node(s) didn't satisfy existing pods anti-affinity rules",), final=False)

Domains = Counter[tuple[str, str]]
"""Pods met in each (node label, value)."""


class InterPodAffinity(FilterDefaults):
    """Handles required terms; `inter_pod_preference` handles preferred ones."""

    name = "InterPodAffinity"
    local = False
    events = frozenset(
        ("NodeAdded", "NodeLabelChanged", "AssignedPodAdded", "AssignedPodChanged", "AssignedPodDeleted")
    )

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:
        rejecting = _rejecting(pod, snapshot)
        if not rejecting and not pod.affinity and not pod.anti_affinity:
            return None
        together, apart = _wanted(pod, snapshot), _unwanted(pod, snapshot)
        first = not together and all(means(term, pod.group, snapshot) for term in pod.affinity)

        def check(node: NodeState) -> Failure | None:
            labels = node.labels
            if not all(term.topology_key in labels for term in pod.affinity):
                return _ALONE
            if not first and not all(together[term.topology_key, labels[term.topology_key]] for term in pod.affinity):
                return _ALONE
            if any(apart[term.topology_key, labels.get(term.topology_key, "")] for term in pod.anti_affinity):
                return _TOO_NEAR
            return _REJECTED if any(labels.get(key) == value for key, value in rejecting) else None

        return check


def means(term: PodTerm, group: Group, snapshot: Snapshot) -> bool:
    """Whether the term means the pods of a group."""
    return term.matches(group.namespace, dict(group.labels), snapshot.namespace_labels)


def _rejecting(pod: PodFacts, snapshot: Snapshot) -> set[tuple[str, str]]:
    """Return the domains in which a pod that is there will not have this one near."""
    return {
        (term.topology_key, node.labels[term.topology_key])
        for node in snapshot.affinity_nodes()
        for other in node.choosy.values()
        for term in other.anti_affinity
        if term.topology_key in node.labels and means(term, pod.group, snapshot)
    }


def _wanted(pod: PodFacts, snapshot: Snapshot) -> Domains:
    """Count the pods that all affinity terms mean. With none anywhere, a pod that means itself may be the first."""
    if not pod.affinity:
        return Counter()
    met = snapshot.count_by_node(lambda group: all(means(term, group, snapshot) for term in pod.affinity))
    counts: Domains = Counter()
    for term in pod.affinity:
        _add(counts, term.topology_key, met, snapshot)
    return counts


def _unwanted(pod: PodFacts, snapshot: Snapshot) -> Domains:
    counts: Domains = Counter()
    for term in pod.anti_affinity:
        met = snapshot.count_by_node(lambda group, term=term: means(term, group, snapshot))  # type: ignore[misc]
        _add(counts, term.topology_key, met, snapshot)
    return counts


def _add(counts: Domains, key: str, met: Counter[str], snapshot: Snapshot) -> None:
    for name, count in met.items():
        labels = snapshot.nodes[name].labels
        if key in labels:
            counts[key, labels[key]] += count
