"""What HTTP extenders answered, as one filter and one score of the profile for this one attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from oarlock.actors.scheduler.decision import Search, Unschedulable, feasible
from oarlock.actors.scheduler.extender import Extender, Object
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults, Grades
from oarlock.actors.scheduler.preemption import Nomination, NoPreemption, best
from oarlock.actors.scheduler.profile import Profile
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot
from oarlock.actors.scheduler.wording import refusal

NAME = "Extenders"
_NO_CANDIDATE = "no candidate node for preemption"
_UNASKED = Failure((), final=False)


class _Said(FilterDefaults):
    """Refuses the nodes that an extender refused, or wasn't asked about, and grades as extenders did.

    A node as it would be with some of its pods gone is judged by extenders' word on preemption, not by this one.
    """

    name = NAME
    events = frozenset(("NodeAdded", "NodeLabelChanged", "AssignedPodDeleted"))

    def __init__(self, asked: frozenset[str], failures: Mapping[str, Failure], grades: Mapping[str, int]) -> None:
        self._asked, self._failures, self._grades = asked, failures, grades

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:  # noqa: ARG002
        def check(node: NodeState) -> Failure | None:
            failure = self._failures.get(node.name) if node.name in self._asked else _UNASKED
            is_present = snapshot.nodes.get(node.name) is node
            return failure if failure is None or failure.final or is_present else None

        return check

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:  # noqa: ARG002
        return {node.name: self._grades.get(node.name, 0) for node in nodes} if self._grades else None


async def extended(
    pod: PodFacts,
    obj: Object,
    snapshot: Snapshot,
    search: Search,
    profile: Profile,
    extenders: Sequence[Extender],
    node_of: Callable[[str], Object | None],
) -> Profile:
    """Ask the extenders about the nodes that filters let pass; return the profile with their word.

    The cluster may have changed by the time they have answered. Raises ExtenderFailed.
    """
    asked = [extender for extender in extenders if extender.wants(pod)]
    nodes = [one for node in feasible(pod, snapshot, search, profile) if (one := node_of(node.name)) is not None]
    if not asked or not nodes:
        return profile
    names = frozenset(node["metadata"]["name"] for node in nodes)
    failures: dict[str, Failure] = {}
    for extender in asked if nodes else ():
        passed, failed, unresolvable = await extender.filter(obj, nodes)
        failures.update({name: Failure((reason,), final=False) for name, reason in failed.items()})
        failures.update({name: Failure((reason,), final=True) for name, reason in unresolvable.items()})
        dropped = {node["metadata"]["name"] for node in nodes} - set(passed) - failures.keys()
        failures.update(dict.fromkeys(dropped, Failure((), final=False)))
        nodes = [node for node in nodes if node["metadata"]["name"] in passed]
    grades: dict[str, int] = {}
    for extender in asked if nodes else ():
        for name, grade in (await extender.grade(obj, nodes)).items():
            grades[name] = grades.get(name, 0) + grade
    said = _Said(names, failures, grades)
    return replace(profile, filters=(*profile.filters, said), scores=(*profile.scores, (said, 1)))


async def agreed(
    pod: PodFacts,
    obj: Object,
    refused: Unschedulable,
    snapshot: Snapshot,
    extenders: Sequence[Extender],
    pod_of: Callable[[str], Object | None],
) -> Unschedulable:
    """Let extenders choose who makes room, where somebody would have to. Raises ExtenderFailed.

    Source: upstream's preemption.Evaluator, callExtenders.
    """
    asked = [one for one in extenders if one.settings.preempt_verb and one.wants(pod)]
    candidates = {one.node: one for one in refused.candidates}
    if not asked or not candidates:
        return refused
    for extender in asked:
        victims = {node: (one.victims, one.broken_budgets) for node, one in candidates.items()}
        objects = {
            victim.key: found for some, _ in victims.values() for victim in some if (found := pod_of(victim.key))
        }
        spared = await extender.spare(obj, victims, objects)
        candidates = {
            node: made
            for node, (uids, broken) in spared.items()
            if (made := _nomination(snapshot, node, uids, broken)) is not None
        }
        if not candidates:
            message = refusal(len(snapshot), refused.failures, NoPreemption({}, _NO_CANDIDATE))
            return replace(refused, message=message, nomination=None, candidates=())
    chosen = tuple(candidates.values())
    return replace(refused, nomination=best(chosen, snapshot), candidates=chosen)


def _nomination(snapshot: Snapshot, node: str, uids: Sequence[str], broken: int) -> Nomination | None:
    """Return what the extender chose, as far as those pods are still there."""
    state = snapshot.nodes.get(node)
    wanted = set(uids)
    victims = tuple(one for one in state.pods.values() if one.uid in wanted) if state is not None else ()
    return Nomination(node, victims, broken) if len(victims) == len(wanted) else None
