"""Keeps the pods that a constraint chooses evenly spread: refuses nodes whose domain would grow too far ahead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from oarlock.actors.scheduler.facts import Group, PodFacts, SpreadConstraint
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults
from oarlock.actors.scheduler.plugins.node_affinity import wants
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_REASON = "node(s) didn't match pod topology spread constraints"
_NO_DOMAIN = Failure((f"{_REASON} (missing required label)",), final=True)
_TOO_MANY = Failure((_REASON,), final=False)
_REPELLING = frozenset(("NoSchedule", "NoExecute"))


@dataclass(frozen=True, slots=True)
class Default:
    """A constraint for pods that have none of their own; it chooses the pods that belong with them."""

    max_skew: int
    topology_key: str
    required: bool


class PodTopologySpread(FilterDefaults):
    """Handles constraints that say DoNotSchedule; `pod_topology_preference` handles the others."""

    name = "PodTopologySpread"
    local = False
    events = frozenset(("NodeAdded", "NodeLabelChanged", "NodeTaintChanged", "AssignedPodAdded", "AssignedPodDeleted"))

    def __init__(self, defaults: Sequence[Default] = ()) -> None:
        self._defaults = defaults

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:
        constraints = [one for one in constraints_of(pod, snapshot, self._defaults) if one.required]
        if not constraints:
            return None
        domains = [domain_counts(pod, constraint, constraints, snapshot) for constraint in constraints]
        rules = [
            (constraint, counts, _floor(constraint, counts), constraint.selector.matches(pod.labels))
            for constraint, counts in zip(constraints, domains, strict=True)
        ]

        def check(node: NodeState) -> Failure | None:
            for constraint, counts, floor, own in rules:
                domain = node.labels.get(constraint.topology_key)
                if domain is None:
                    return _NO_DOMAIN
                if counts[domain] + own - floor > constraint.max_skew:
                    return _TOO_MANY
            return None

        return check


def constraints_of(pod: PodFacts, snapshot: Snapshot, defaults: Sequence[Default]) -> tuple[SpreadConstraint, ...]:
    """Return the pod's own constraints, or the defaults for the workload that it belongs to."""
    if pod.spread or not defaults:
        return pod.spread
    selector = snapshot.workloads.selector_of(pod)
    if selector is None:
        return ()
    return tuple(
        SpreadConstraint(
            one.max_skew,
            one.topology_key,
            one.required,
            selector,
            min_domains=1,
            honor_affinity=True,
            honor_taints=False,
        )
        for one in defaults
    )


def domain_counts(
    pod: PodFacts, constraint: SpreadConstraint, constraints: Sequence[SpreadConstraint], snapshot: Snapshot
) -> Counter[str]:
    """Count the pods that the constraint chooses in each domain; a domain without any counts 0, not nothing.

    Only nodes with the keys of all constraints count, and only those the pod could use, as far as policies say so.
    """
    keys = [one.topology_key for one in constraints]
    chosen = chosen_pods(pod, constraint, snapshot)
    counts: Counter[str] = Counter()
    for node in snapshot:
        labels = node.labels
        if all(key in labels for key in keys) and eligible(pod, constraint, node):
            counts[labels[constraint.topology_key]] += chosen[node.name]
    return counts


def eligible(pod: PodFacts, constraint: SpreadConstraint, node: NodeState) -> bool:
    """Whether the constraint's policies count the node in."""
    if constraint.honor_affinity and not wants(pod, node):
        return False
    return not constraint.honor_taints or all(
        taint.effect not in _REPELLING or pod.tolerates(taint) for taint in node.facts.taints
    )


def chosen_pods(pod: PodFacts, constraint: SpreadConstraint, snapshot: Snapshot) -> Counter[str]:
    """Count the pods in the pod's namespace that the constraint chooses, by node, but not those on their way out."""

    def chooses(group: Group) -> bool:
        is_here = group.namespace == pod.namespace and not group.terminating
        return is_here and constraint.selector.matches(dict(group.labels))

    return Counter() if constraint.selector.nothing else snapshot.count_by_node(chooses)


def _floor(constraint: SpreadConstraint, counts: Counter[str]) -> int:
    """Return the count of the emptiest domain; fewer domains than asked for count as an empty one."""
    return 0 if len(counts) < constraint.min_domains else min(counts.values(), default=0)
