"""Prefers domains with pods that this pod likes or that like it, and avoids the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import SCORE_MAX, Grades
from oarlock.actors.scheduler.plugins.inter_pod_affinity import means
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot


class InterPodPreference:
    """`required_weight` is what the required affinity of a pod that is there counts for.

    With `ignores_present` what pods that are there prefer counts for pods with preferences of their own only.
    """

    name = "InterPodAffinity"

    def __init__(self, required_weight: int = 1, *, ignores_present: bool = False) -> None:
        self._required_weight, self._ignores_present = required_weight, ignores_present

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:
        choosy = bool(pod.preferred_affinity or pod.preferred_anti_affinity)
        if self._ignores_present and not choosy:
            return None
        sums: Counter[tuple[str, str]] = Counter()
        if choosy:
            self._add_own(sums, pod, snapshot)
        for node in snapshot.affinity_nodes():
            for other in node.choosy.values():
                for weight, key in self._opinions(other, pod, snapshot):
                    if key in node.labels:
                        sums[key, node.labels[key]] += weight
        if not sums:
            return None
        raw = {node.name: sum(sums.get(label, 0) for label in node.labels.items()) for node in nodes}
        lowest, highest = min(raw.values()), max(raw.values())
        spread = highest - lowest
        return {name: int(SCORE_MAX * ((value - lowest) / spread)) if spread else 0 for name, value in raw.items()}

    def _add_own(self, sums: Counter[tuple[str, str]], pod: PodFacts, snapshot: Snapshot) -> None:
        """Add what the pod itself thinks of the pods that are there."""
        for group, nodes in snapshot.groups.items():
            weighed = [
                (sign * term.weight, term.topology_key)
                for sign, terms in ((1, pod.preferred_affinity), (-1, pod.preferred_anti_affinity))
                for term in terms
                if means(term, group, snapshot)
            ]
            for name, count in nodes.items() if weighed else ():
                labels = snapshot.nodes[name].labels
                for weight, key in weighed:
                    if key in labels:
                        sums[key, labels[key]] += weight * count

    def _opinions(self, other: PodFacts, pod: PodFacts, snapshot: Snapshot) -> Iterable[tuple[int, str]]:
        """Yield (weight, topology key) for every term of a pod that is there that means the one that comes."""
        for term in other.preferred_affinity:
            if means(term, pod.group, snapshot):
                yield term.weight, term.topology_key
        for term in other.preferred_anti_affinity:
            if means(term, pod.group, snapshot):
                yield -term.weight, term.topology_key
        for term in other.affinity if self._required_weight else ():
            if means(term, pod.group, snapshot):
                yield self._required_weight, term.topology_key
