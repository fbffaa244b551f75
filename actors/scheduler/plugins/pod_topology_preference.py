"""Prefers nodes whose domains hold fewer of the pods that a ScheduleAnyway constraint chooses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from oarlock.actors.scheduler.facts import PodFacts, SpreadConstraint
from oarlock.actors.scheduler.framework import SCORE_MAX, Grades
from oarlock.actors.scheduler.plugins.pod_topology_spread import Default, chosen_pods, constraints_of, eligible
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_HOSTNAME = "kubernetes.io/hostname"


SYSTEM_DEFAULTS = (Default(3, _HOSTNAME, required=False), Default(5, "topology.kubernetes.io/zone", required=False))


class PodTopologyPreference:
    """Pods without constraints of their own that belong to a Service or an owner get `defaults`.

    Nodes that lack the label of one of the system's defaults are graded by the others, since nobody asked for it.
    """

    name = "PodTopologySpread"

    def __init__(self, defaults: Sequence[Default] = SYSTEM_DEFAULTS) -> None:
        self._defaults = defaults

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:
        constraints = [one for one in constraints_of(pod, snapshot, self._defaults) if not one.required]
        if not constraints:
            return None
        asked = constraints if pod.spread or self._defaults is not SYSTEM_DEFAULTS else []
        counted = [node for node in nodes if _has_domains(node, asked)]
        raw = dict.fromkeys((node.name for node in counted), 0.0)
        for constraint in constraints:
            _add(raw, pod, constraint, asked, counted, snapshot)
        return _normalized({name: math.floor(value + 0.5) for name, value in raw.items()}, nodes)


def _add(
    raw: dict[str, float],
    pod: PodFacts,
    constraint: SpreadConstraint,
    constraints: Sequence[SpreadConstraint],
    nodes: Sequence[NodeState],
    snapshot: Snapshot,
) -> None:
    key = constraint.topology_key
    chosen = chosen_pods(pod, constraint, snapshot)
    counted = [node for node in nodes if key in node.labels]
    if key == _HOSTNAME:
        # Every node is a domain of its own: it counts its own pods whatever the policies say.
        per_node = {node.name: chosen[node.name] for node in counted}
        weight = math.log(len(nodes) + 2)
    else:
        domains = {node.labels.get(key, "") for node in nodes}
        counts: Counter[str] = Counter()
        for node in snapshot:
            if (
                key in node.labels
                and node.labels[key] in domains
                and _has_domains(node, constraints)
                and eligible(pod, constraint, node)
            ):
                counts[node.labels[key]] += chosen[node.name]
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
