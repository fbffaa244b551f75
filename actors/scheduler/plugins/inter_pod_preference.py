"""Prefers domains with pods that this pod likes or that like it, and avoids the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import SCORE_MAX, Grades
from oarlock.actors.scheduler.selection import PodTerm
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
        for node in snapshot if choosy else snapshot.affinity_nodes():
            for other in node.pods.values():
                for weight, key in self._opinions(pod, other, snapshot):
                    if key in node.labels:
                        sums[key, node.labels[key]] += weight
        if not sums:
            return None
        raw = {node.name: sum(sums.get(label, 0) for label in node.labels.items()) for node in nodes}
        lowest, highest = min(raw.values()), max(raw.values())
        spread = highest - lowest
        return {name: int(SCORE_MAX * ((value - lowest) / spread)) if spread else 0 for name, value in raw.items()}

    def _opinions(self, pod: PodFacts, other: PodFacts, snapshot: Snapshot) -> Iterable[tuple[int, str]]:
        """Yield (weight, topology key) for every term of either pod that means the other one."""
        yield from _weighed(pod.preferred_affinity, other, snapshot, 1)
        yield from _weighed(pod.preferred_anti_affinity, other, snapshot, -1)
        yield from _weighed(other.preferred_affinity, pod, snapshot, 1)
        yield from _weighed(other.preferred_anti_affinity, pod, snapshot, -1)
        for term in other.affinity if self._required_weight else ():
            if term.matches(pod.namespace, pod.labels, snapshot.namespace_labels):
                yield self._required_weight, term.topology_key


def _weighed(terms: Iterable[PodTerm], meant: PodFacts, snapshot: Snapshot, sign: int) -> Iterable[tuple[int, str]]:
    for term in terms:
        if term.matches(meant.namespace, meant.labels, snapshot.namespace_labels):
            yield sign * term.weight, term.topology_key
