"""`decide`: where a pod goes, or why nowhere. Pure: the same cluster gives the same answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, Filter, Score
from oarlock.actors.scheduler.plugins import FILTERS, SCORES
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_FEASIBLE_MIN = 100
_PERCENT_MIN, _PERCENT_MAX, _NODES_PER_PERCENT = 5, 50, 125


@dataclass(frozen=True, slots=True)
class Placement:
    """The node that got the most points. `feasible` counts nodes that passed, `examined` those looked at."""

    node: str
    examined: int
    feasible: int


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node will do. `message` is upstream's wording; `filters` refused nodes, so their events may help."""

    message: str
    filters: frozenset[str]
    failures: dict[str, Failure] = field(default_factory=dict[str, Failure])


@dataclass(slots=True)
class Search:
    """Where the next search for feasible nodes starts, so that in a large cluster each node gets its turn."""

    start: int = 0


def decide(
    pod: PodFacts,
    snapshot: Snapshot,
    *,
    search: Search | None = None,
    filters: Sequence[Filter] = FILTERS,
    scores: Sequence[Score] = SCORES,
) -> Placement | Unschedulable:
    """Return the best node for `pod`, or why there is none.

    Of equally good nodes the first in the snapshot's order wins, which is what upstream mostly does.
    Looks at all nodes of a small cluster; at 100 or more it stops at enough feasible ones, as upstream does.
    """
    if not len(snapshot):
        return Unschedulable("no nodes available to schedule pods", frozenset(one.name for one in filters))
    checks = _checks(pod, snapshot, filters)
    feasible, failures, refusing = _feasible(snapshot, checks, search or Search())
    if not feasible:
        return Unschedulable(_message(pod, snapshot, failures, filters), frozenset(refusing), failures)
    examined = len(feasible) + len(failures)
    node = feasible[0] if len(feasible) == 1 else _best(pod, snapshot, feasible, scores)
    return Placement(node.name, examined, len(feasible))


def _checks(pod: PodFacts, snapshot: Snapshot, filters: Iterable[Filter]) -> list[tuple[str, Check]]:
    prepared = ((one.name, one.prepare(pod, snapshot)) for one in filters)
    return [(name, check) for name, check in prepared if check is not None]


def _feasible(
    snapshot: Snapshot, checks: Sequence[tuple[str, Check]], search: Search
) -> tuple[list[NodeState], dict[str, Failure], set[str]]:
    """Return (nodes that pass, why others don't, the filters that refused any)."""
    nodes = snapshot.ordered()
    enough = _enough(len(nodes))
    feasible: list[NodeState] = []
    failures: dict[str, Failure] = {}
    refusing: set[str] = set()
    start = search.start % len(nodes)
    examined = 0
    for node in (*nodes[start:], *nodes[:start]):
        examined += 1
        refusal = first_failure(node, checks)
        if refusal is None:
            feasible.append(node)
            if len(feasible) >= enough:
                break
        else:
            refusing.add(refusal[0])
            failures[node.name] = refusal[1]
    search.start = (start + examined) % len(nodes)
    return feasible, failures, refusing


def first_failure(node: NodeState, checks: Iterable[tuple[str, Check]]) -> tuple[str, Failure] | None:
    """Return the first filter that refuses the node and why, or None."""
    for name, check in checks:
        failure = check(node)
        if failure is not None:
            return name, failure
    return None


def _enough(nodes: int) -> int:
    """How many feasible nodes suffice. Source: upstream's numFeasibleNodesToFind, percentageOfNodesToScore 0."""
    if nodes < _FEASIBLE_MIN:
        return nodes
    percent = max(_PERCENT_MIN, _PERCENT_MAX - nodes // _NODES_PER_PERCENT)
    return max(_FEASIBLE_MIN, nodes * percent // 100)


def _best(pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState], scores: Iterable[Score]) -> NodeState:
    totals = dict.fromkeys((node.name for node in nodes), 0)
    for score in scores:
        grades = score.grade(pod, snapshot, nodes)
        if grades is not None:
            for name, grade in grades.items():
                totals[name] += score.weight * grade
    return max(nodes, key=lambda node: totals[node.name])


def _message(pod: PodFacts, snapshot: Snapshot, failures: dict[str, Failure], filters: Sequence[Filter]) -> str:
    """Word the refusal as upstream does: reasons by number of nodes, then what preemption would have done."""
    total = len(snapshot)
    said = f"0/{total} nodes are available: {_counted(failure.reasons for failure in failures.values())}."
    if not pod.preempts:
        return f"{said} preemption: not eligible due to preemptionPolicy=Never."
    outlook = _preemption_outlook(pod, snapshot, failures, filters)
    if outlook is None:
        return said
    return f"{said} no new claims to deallocate, preemption: 0/{total} nodes are available: {outlook}."


def _preemption_outlook(
    pod: PodFacts, snapshot: Snapshot, failures: dict[str, Failure], filters: Sequence[Filter]
) -> str | None:
    """Say why removing lower pods would help on no node; None if it would help somewhere."""
    reasons: list[tuple[str, ...]] = []
    for name, failure in failures.items():
        if failure.final:
            reasons.append(("Preemption is not helpful for scheduling",))
            continue
        node = snapshot.nodes[name]
        lower = [key for key, other in node.pods.items() if other.priority < pod.priority]
        if not lower:
            reasons.append(("No preemption victims found for incoming pod",))
            continue
        emptied = node.without(lower)
        refusal = first_failure(emptied, _checks(pod, snapshot.replacing(emptied), filters))
        if refusal is None:
            return None
        reasons.append(refusal[1].reasons)
    return _counted(reasons)


def _counted(reasons: Iterable[Iterable[str]]) -> str:
    counts = Counter(reason for some in reasons for reason in some)
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
