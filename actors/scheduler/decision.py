"""`decide`: where a pod goes, or why nowhere. Pure: the same cluster and search give the same answer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from oarlock.actors.scheduler.devices.releasing import NOTHING, Release
from oarlock.actors.scheduler.examination import Examination
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Failure, Impossible
from oarlock.actors.scheduler.plugins import DEFAULT, dynamic_resources
from oarlock.actors.scheduler.preemption import NOT_HELPFUL, Nomination, NoPreemption, best, preempt
from oarlock.actors.scheduler.profile import Profile
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot
from oarlock.actors.scheduler.wording import NO_NODES, refusal

_FEASIBLE_MIN = 100
_PERCENT_MIN, _PERCENT_MAX, _NODES_PER_PERCENT = 5, 50, 125
_UNASKED = "node(s) didn't satisfy plugin(s) [{}]"


@dataclass(frozen=True, slots=True)
class Placement:
    """The node that got the most points. `feasible` counts nodes that passed, `examined` those looked at."""

    node: str
    examined: int
    feasible: int


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No node will do now.

    `message` is upstream's wording; `filters` refused nodes, so their events may help. With a `nomination` the pod
    will fit once the victims are gone; `hopeless` says that preemption helps nowhere, so an earlier nomination ends.
    """

    message: str
    filters: frozenset[str]
    failures: Mapping[str, Failure] = field(default_factory=dict[str, Failure])
    nomination: Nomination | None = None
    hopeless: bool = False
    release: Release | None = None
    """A claim that the pod had better not have, so that it gets other devices elsewhere."""
    candidates: tuple[Nomination, ...] = ()
    """All nominations that there is a choice of."""


@dataclass(slots=True)
class Search:
    """Where the next search for feasible nodes starts, so that in a large cluster each node gets its turn."""

    start: int = 0
    chance: random.Random = field(default_factory=lambda: random.Random(0))


def decide(
    pod: PodFacts, snapshot: Snapshot, *, search: Search | None = None, profile: Profile = DEFAULT
) -> Placement | Unschedulable:
    """Return the best node for `pod`, or why there is none.

    Of equally good nodes the first in the snapshot's order wins, which is what upstream mostly does.
    Looks at all nodes of a small cluster; at 100 or more it stops at enough feasible ones, as upstream does.
    A pod that room was made for gets its nominated node if that will do.
    """
    search = search or Search()
    if not len(snapshot):
        return Unschedulable(NO_NODES, frozenset(one.name for one in profile.filters))
    try:
        examination = Examination(pod, snapshot, profile.filters)
        asked = _asked(examination, profile)
    except Impossible as impossible:
        return _impossible(snapshot, impossible, profile)
    nominated = snapshot.nodes.get(pod.nominated_node)
    if nominated is not None and examination.judge(nominated) is None:
        return Placement(nominated.name, 1, 1)
    fitting, failures, refusing = _feasible(examination, asked, search, profile)
    if not fitting:
        return _unschedulable(examination, failures, frozenset(refusing), search, profile)
    examined = len(fitting) + len(failures)
    node = fitting[0] if len(fitting) == 1 else _best(pod, snapshot, fitting, profile)
    return Placement(node.name, examined, len(fitting))


def feasible(pod: PodFacts, snapshot: Snapshot, search: Search, profile: Profile) -> list[NodeState]:
    """Return the nodes that a decision would choose from; none if the pod can run nowhere."""
    try:
        examination = Examination(pod, snapshot, profile.filters)
        return _feasible(examination, _asked(examination, profile), replace(search), profile)[0]
    except Impossible:
        return []


def _impossible(snapshot: Snapshot, impossible: Impossible, profile: Profile) -> Unschedulable:
    everywhere = {name: Failure((impossible.reason,), final=True) for name in snapshot.nodes}
    none = NoPreemption(dict.fromkeys(snapshot.nodes, NOT_HELPFUL))
    said = NOTHING if profile.releases else ""
    message = refusal(len(snapshot), {}, none if profile.preemption else None, impossible.reason, said=said)
    return Unschedulable(message, frozenset((impossible.filter,)), everywhere, hopeless=True)


def _unschedulable(
    examination: Examination,
    failures: dict[str, Failure],
    refusing: frozenset[str],
    search: Search,
    profile: Profile,
) -> Unschedulable:
    nodes = len(examination.snapshot)
    said, release = _claims_outlook(examination, failures, profile)
    if profile.preemption is None:
        return Unschedulable(refusal(nodes, failures, None, said=said), refusing, failures, release=release)
    outcome = preempt(examination, failures, limits=profile.preemption, chance=search.chance)
    if not isinstance(outcome, NoPreemption):
        nomination = best(outcome, examination.snapshot)
        message = refusal(nodes, failures, None)
        return Unschedulable(message, refusing, failures, nomination, release=release, candidates=tuple(outcome))
    message = refusal(nodes, failures, outcome, said=said)
    return Unschedulable(message, refusing, failures, hopeless=not outcome.hint, release=release)


def _claims_outlook(
    examination: Examination, failures: dict[str, Failure], profile: Profile
) -> tuple[str, Release | None]:
    if not profile.releases:
        return "", None
    return dynamic_resources.outlook(examination.pod, examination.snapshot, failures)


_Outcome = tuple[list[NodeState], dict[str, Failure], set[str]]
"""(Nodes that will do, why others don't, the filters that refused any)."""


def _feasible(examination: Examination, asked: _Outcome, search: Search, profile: Profile) -> _Outcome:
    nodes, failures, refusing = asked
    fitting: list[NodeState] = []
    if not nodes:
        return fitting, failures, refusing
    enough = _enough(len(nodes), profile.nodes_percent)
    start = search.start % len(nodes)
    examined = 0
    for node in (*nodes[start:], *nodes[:start]):
        examined += 1
        refused = examination.judge(node)
        if refused is None:
            fitting.append(node)
            if len(fitting) >= enough:
                break
        else:
            refusing.add(refused.filter)
            failures[node.name] = refused.failure
    search.start = (start + examined) % len(nodes)
    return fitting, failures, refusing


def _asked(examination: Examination, profile: Profile) -> _Outcome:
    """Return the nodes worth asking: a pod may name the few it wants. Raises Impossible."""
    nodes = examination.snapshot.ordered()
    named: frozenset[str] | None = None
    naming: list[str] = []
    for one in profile.filters:
        some = one.only(examination.pod)
        if some is not None:
            named = some if named is None else named & some
            naming.append(one.name)
    if named is None:
        return nodes, {}, set()
    failure = Failure((_UNASKED.format(" ".join(sorted(naming))),), final=True)
    others = {node.name: failure for node in nodes if node.name not in named}
    return [node for node in nodes if node.name in named], others, set(naming) if others else set()


def _enough(nodes: int, percent: int) -> int:
    """How many feasible nodes suffice; percent 0 means by size. Source: upstream's numFeasibleNodesToFind."""
    if nodes < _FEASIBLE_MIN or percent >= 100:
        return nodes
    share = percent or max(_PERCENT_MIN, _PERCENT_MAX - nodes // _NODES_PER_PERCENT)
    return max(_FEASIBLE_MIN, nodes * share // 100)


def _best(pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState], profile: Profile) -> NodeState:
    totals = dict.fromkeys((node.name for node in nodes), 0)
    for score, weight in profile.scores:
        grades = score.grade(pod, snapshot, nodes)
        if grades is not None:
            for name, grade in grades.items():
                totals[name] += weight * grade
    return max(nodes, key=lambda node: totals[node.name])
