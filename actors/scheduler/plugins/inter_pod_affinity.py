"""Keeps pods together or apart within a domain, as the pod itself or the pods already there require."""

from __future__ import annotations

from collections import Counter

from oarlock.actors.scheduler.facts import PodFacts
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
        first = not together and all(_means(term, pod, snapshot) for term in pod.affinity)

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


def _means(term: PodTerm, pod: PodFacts, snapshot: Snapshot) -> bool:
    return term.matches(pod.namespace, pod.labels, snapshot.namespace_labels)


def _rejecting(pod: PodFacts, snapshot: Snapshot) -> set[tuple[str, str]]:
    """Return the domains in which a pod that is there will not have this one near."""
    return {
        (term.topology_key, node.labels[term.topology_key])
        for node in snapshot.affinity_nodes()
        for other in node.pods.values()
        for term in other.anti_affinity
        if term.topology_key in node.labels and _means(term, pod, snapshot)
    }


def _wanted(pod: PodFacts, snapshot: Snapshot) -> Domains:
    """Count the pods that all affinity terms mean. With none anywhere, a pod that means itself may be the first."""
    counts: Domains = Counter()
    if pod.affinity:
        for node in snapshot:
            met = sum(all(_means(term, other, snapshot) for term in pod.affinity) for other in node.pods.values())
            if met:
                for term in pod.affinity:
                    if term.topology_key in node.labels:
                        counts[term.topology_key, node.labels[term.topology_key]] += met
    return counts


def _unwanted(pod: PodFacts, snapshot: Snapshot) -> Domains:
    counts: Domains = Counter()
    for term in pod.anti_affinity:
        for node in snapshot:
            if term.topology_key in node.labels:
                met = sum(_means(term, other, snapshot) for other in node.pods.values())
                counts[term.topology_key, node.labels[term.topology_key]] += met
    return counts
