"""Prefers nodes whose domains hold fewer of the pods that a ScheduleAnyway constraint chooses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from oarlock.actors.scheduler.facts import PodFacts, SpreadConstraint
from oarlock.actors.scheduler.framework import SCORE_MAX, Grades
from oarlock.actors.scheduler.plugins.pod_topology_spread import chosen_pods, eligible
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_HOSTNAME = "kubernetes.io/hostname"


class PodTopologyPreference:
    name = "PodTopologySpread"

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:
        constraints = [constraint for constraint in pod.spread if not constraint.required]
        if not constraints:
            return None
        counted = [node for node in nodes if _has_domains(node, constraints)]
        raw = dict.fromkeys((node.name for node in counted), 0.0)
        for constraint in constraints:
            _add(raw, pod, constraint, constraints, counted, snapshot)
        return _normalized({name: math.floor(value + 0.5) for name, value in raw.items()}, nodes)


def _add(
    raw: dict[str, float],
    pod: PodFacts,
    constraint: SpreadConstraint,
    constraints: Sequence[SpreadConstraint],
    counted: Sequence[NodeState],
    snapshot: Snapshot,
) -> None:
    key = constraint.topology_key
    if key == _HOSTNAME:
        # Every node is a domain of its own: it counts its own pods whatever the policies say.
        per_node = {node.name: chosen_pods(pod, constraint, node) for node in counted}
        weight = math.log(len(counted) + 2)
    else:
        domains = {node.labels[key] for node in counted}
        counts: Counter[str] = Counter()
        for node in snapshot:
            if node.labels.get(key) in domains and _has_domains(node, constraints) and eligible(pod, constraint, node):
                counts[node.labels[key]] += chosen_pods(pod, constraint, node)
        per_node = {node.name: counts[node.labels[key]] for node in counted}
        # Domains that are few differ more from each other in numbers, so they would outweigh those that are many.
        weight = math.log(len(domains) + 2)
    for name, count in per_node.items():
        raw[name] += count * weight + (constraint.max_skew - 1)


def _has_domains(node: NodeState, constraints: Sequence[SpreadConstraint]) -> bool:
    return all(constraint.topology_key in node.labels for constraint in constraints)


def _normalized(raw: dict[str, int], nodes: Sequence[NodeState]) -> Grades:
    """Turn counts into grades, fewest best; a node without the domains gets 0."""
    lowest, highest = min(raw.values(), default=0), max(raw.values(), default=0)

    def grade(name: str) -> int:
        if name not in raw:
            return 0
        return SCORE_MAX * (highest + lowest - raw[name]) // highest if highest else SCORE_MAX

    return {node.name: grade(node.name) for node in nodes}
