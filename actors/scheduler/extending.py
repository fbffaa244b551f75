"""What HTTP extenders answered, as one filter and one score of the profile for this one attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from oarlock.actors.scheduler.decision import Search, feasible
from oarlock.actors.scheduler.extender import Extender, Object
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults, Grades
from oarlock.actors.scheduler.profile import Profile
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

NAME = "Extenders"


class _Said(FilterDefaults):
    """Refuses the nodes that an extender refused, and grades as extenders did."""

    name = NAME
    events = frozenset(("NodeAdded", "NodeLabelChanged", "AssignedPodDeleted"))

    def __init__(self, failures: Mapping[str, Failure], grades: Mapping[str, int]) -> None:
        self._failures, self._grades = failures, grades

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:  # noqa: ARG002
        return (lambda node: self._failures.get(node.name)) if self._failures else None

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

    Raises ExtenderFailed.
    """
    asked = [extender for extender in extenders if extender.wants(pod)]
    nodes = [one for node in feasible(pod, snapshot, search, profile) if (one := node_of(node.name)) is not None]
    if not asked or not nodes:
        return profile
    failures: dict[str, Failure] = {}
    for extender in asked:
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
    said = _Said(failures, grades)
    return replace(profile, filters=(*profile.filters, said), scores=(*profile.scores, (said, 1)))
