"""`decide`: where a pod goes, or why nowhere. Pure: the same cluster and search give the same answer."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import add

from oarlock.actors.scheduler.devices.releasing import NOTHING, Release
from oarlock.actors.scheduler.examination import Examination, Refusal
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Failure, Filter, Grades, Impossible
from oarlock.actors.scheduler.plugins import DEFAULT, dynamic_resources
from oarlock.actors.scheduler.preemption import NOT_HELPFUL, Nomination, NoPreemption, best, preempt
from oarlock.actors.scheduler.profile import Profile
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot
from oarlock.actors.scheduler.wording import NO_NODES, refusal

_FEASIBLE_MIN = 100
_PERCENT_MIN, _PERCENT_MAX, _NODES_PER_PERCENT = 5, 50, 125
_UNASKED = "node(s) didn't satisfy plugin(s) [{}]"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What came up on the way to a decision, as it was found: nothing of it is worked out for its own sake.

    Nodes are told by name. `refusals` has the first filter that refused each of `refused`, place by place, of `kinds`
    different ones; `only` are the filters that named the only nodes worth asking, `impossible` is one that made asking
    nodes needless. `grades` holds (score, weight, grades of `fitting`, place by place) of the scores that had something
    to say, `totals` their sums; one fitting node isn't graded.
    """

    filters: Sequence[Filter] = ()
    fitting: Sequence[str] = ()
    refused: Sequence[str] = ()
    refusals: Sequence[Refusal] = ()
    kinds: int = 0
    only: tuple[str, ...] = ()
    impossible: str = ""
    grades: Sequence[tuple[str, int, Sequence[int]]] = ()
    totals: Sequence[int] = ()


NOTHING_ASKED = Diagnosis()


@dataclass(frozen=True, slots=True)
class Placement:
    """The node that got the most points. `feasible` counts nodes that passed, `examined` those looked at."""

    node: str
    examined: int
    feasible: int
    diagnosis: Diagnosis = field(default=NOTHING_ASKED, compare=False, repr=False)


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
    diagnosis: Diagnosis = field(default=NOTHING_ASKED, compare=False, repr=False)


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
        return Placement(nominated.name, 1, 1, Diagnosis(profile.filters, (nominated.name,)))
    fitting, found = _feasible(examination, asked, search, profile)
    if not fitting:
        return _unschedulable(examination, found, search, profile)
    found = found if len(fitting) == 1 else _graded(pod, snapshot, fitting, profile, found)
    best = found.totals.index(max(found.totals)) if found.totals else 0
    return Placement(found.fitting[best], len(fitting) + len(found.refused), len(fitting), found)


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
    diagnosis = Diagnosis(profile.filters, impossible=impossible.filter)
    return Unschedulable(message, frozenset((impossible.filter,)), everywhere, hopeless=True, diagnosis=diagnosis)


def _unschedulable(examination: Examination, diagnosis: Diagnosis, search: Search, profile: Profile) -> Unschedulable:
    nodes = len(examination.snapshot)
    failures = {name: one.failure for name, one in zip(diagnosis.refused, diagnosis.refusals, strict=True)}
    refusing = frozenset([one.filter for one in diagnosis.refusals]).union(diagnosis.only)
    said, release = _claims_outlook(examination, failures, profile)
    found = Unschedulable(refusal(nodes, failures, None), refusing, failures, release=release, diagnosis=diagnosis)
    outcome: NoPreemption | None = None
    if profile.preemption is not None:
        tried = preempt(examination, failures, limits=profile.preemption, chance=search.chance)
        if not isinstance(tried, NoPreemption):
            return replace(found, nomination=best(tried, examination.snapshot), candidates=tuple(tried))
        outcome = tried
    for rescue in profile.rescues:
        if (node := rescue(examination.pod, examination.snapshot, failures)) is not None:
            return replace(found, nomination=Nomination(node, ()))
    message = refusal(nodes, failures, outcome, said=said)
    return replace(found, message=message, hopeless=outcome is not None and not outcome.hint)


def _claims_outlook(
    examination: Examination, failures: dict[str, Failure], profile: Profile
) -> tuple[str, Release | None]:
    if not profile.releases:
        return "", None
    return dynamic_resources.outlook(examination.pod, examination.snapshot, failures)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The nodes worth asking, why others aren't, and the filters that say so."""

    nodes: Sequence[NodeState]
    others: Sequence[str] = ()
    refusal: Refusal | None = None
    naming: tuple[str, ...] = ()


def _feasible(
    examination: Examination, asked: _Asked, search: Search, profile: Profile
) -> tuple[list[NodeState], Diagnosis]:
    """Return the nodes that will do, and what came up."""
    nodes, others = asked.nodes, list(asked.others)
    refusals = [] if asked.refusal is None else [asked.refusal] * len(others)
    fitting: list[NodeState] = []
    if nodes:
        _ask(examination, nodes, search, profile, fitting, others, refusals)
    kinds = examination.kinds + (asked.refusal is not None)
    names = [node.name for node in fitting]
    return fitting, Diagnosis(profile.filters, names, others, refusals, kinds, asked.naming)


def _ask(
    examination: Examination,
    nodes: Sequence[NodeState],
    search: Search,
    profile: Profile,
    fitting: list[NodeState],
    refused: list[str],
    refusals: list[Refusal],
) -> None:
    """Ask about nodes until enough will do; add to the lists what comes of it."""
    enough = _enough(len(nodes), profile.nodes_percent)
    start = search.start % len(nodes)
    examined = 0
    for node in (*nodes[start:], *nodes[:start]):
        examined += 1
        refusal = examination.judge(node)
        if refusal is None:
            fitting.append(node)
            if len(fitting) >= enough:
                break
        else:
            refused.append(node.name)
            refusals.append(refusal)
    search.start = (start + examined) % len(nodes)


def _asked(examination: Examination, profile: Profile) -> _Asked:
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
        return _Asked(nodes)
    others = [node.name for node in nodes if node.name not in named]
    if not others:
        return _Asked(nodes)
    unasked = Refusal(naming[0], Failure((_UNASKED.format(" ".join(sorted(naming))),), final=True))
    return _Asked([node for node in nodes if node.name in named], others, unasked, tuple(naming))


def _enough(nodes: int, percent: int) -> int:
    """How many feasible nodes suffice; percent 0 means by size. Source: upstream's numFeasibleNodesToFind."""
    if nodes < _FEASIBLE_MIN or percent >= 100:
        return nodes
    share = percent or max(_PERCENT_MIN, _PERCENT_MAX - nodes // _NODES_PER_PERCENT)
    return max(_FEASIBLE_MIN, nodes * share // 100)


def _graded(
    pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState], profile: Profile, found: Diagnosis
) -> Diagnosis:
    """Return the diagnosis with the grades of each score, and their sums."""
    names, columns = found.fitting, list[tuple[str, int, Sequence[int]]]()
    totals = [0] * len(names)
    for score, weight in profile.scores:
        grades = score.grade(pod, snapshot, nodes)
        if grades is not None:
            column = _column(grades, names)
            columns.append((score.name, weight, column))
            totals = list(map(add, totals, column if weight == 1 else map(weight.__mul__, column)))
    return replace(found, grades=columns, totals=totals)


def _column(grades: Grades, names: Sequence[str]) -> list[int]:
    """Return the grades in the order of the names; a score may be silent about a node."""
    return list(grades.values()) if list(grades) == names else [grades.get(name, 0) for name in names]
