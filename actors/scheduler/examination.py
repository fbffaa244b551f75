"""One pod's filters, made ready once and asked about many nodes, as they are or as they would be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, Filter, Impossible
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

NamedCheck = tuple[str, Check]


class Refusal(NamedTuple):
    """The first filter that refused a node, and why."""

    filter: str
    failure: Failure


class Examination:
    """Raises Impossible when made, if a filter finds that the pod can run nowhere.

    A node to which other pods of the same or a higher priority are nominated must do with them there and without:
    they may come, but their affinity must not be counted on. Source: upstream's RunFilterPluginsWithNominatedPods.
    """

    def __init__(self, pod: PodFacts, snapshot: Snapshot, filters: Sequence[Filter]) -> None:
        self.pod, self.snapshot = pod, snapshot
        self._filters = filters
        self._checks = prepared(pod, snapshot, filters)
        # What a filter says of a node by that node alone holds for the node as it would be, too.
        self._wide = [one for one in filters if not one.local]
        self._order = {one.name: place for place, one in enumerate(filters)}
        self._refusals: dict[Failure, Refusal] = {}

    @property
    def kinds(self) -> int:
        """How many different refusals there were."""
        return len(self._refusals)

    def judge(self, node: NodeState) -> Refusal | None:
        """Return the first refusal of the node as it is, or None."""
        if node.name in self.snapshot.nominated:
            crowded = self._crowded(node)
            if crowded is not None and (refusal := self._first(crowded)) is not None:
                return refusal
        for name, check in self._checks:
            failure = check(node)
            if failure is not None:
                return self._refusal(name, failure)
        return None

    def _refusal(self, name: str, failure: Failure) -> Refusal:
        """Return the one refusal of that kind: thousands of nodes share it, for as long as an attempt is kept."""
        known = self._refusals.get(failure)
        if known is None or known.filter != name:
            known = self._refusals[failure] = Refusal(name, failure)
        return known

    def judge_changed(self, node: NodeState) -> Refusal | None:
        """Return the first refusal of a node as it would be, with some of its pods gone."""
        crowded = self._crowded(node)
        if crowded is not None and (refusal := self._first(crowded)) is not None:
            return refusal
        return self._first(node)

    def verdicts(self, node: NodeState) -> list[tuple[str, Failure | None]]:
        """Return what every filter says of the node, also those after the first that refuses it."""
        checks = dict(self._checks)
        return [(one.name, checks[one.name](node) if one.name in checks else None) for one in self._filters]

    def _first(self, changed: NodeState) -> Refusal | None:
        if not self._wide:
            return first_refusal(changed, self._checks)
        again = dict(prepared(self.pod, self.snapshot.replacing(changed), self._wide))
        wide = {one.name for one in self._wide}
        kept = [(name, check) for name, check in self._checks if name not in wide]
        return first_refusal(changed, sorted([*kept, *again.items()], key=lambda one: self._order[one[0]]))

    def _crowded(self, node: NodeState) -> NodeState | None:
        """Return the node with the pods nominated to it that come before this one; None if there are none."""
        rivals = [
            other
            for other in self.snapshot.nominated.get(node.name, {}).values()
            if other.key != self.pod.key and other.priority >= self.pod.priority and other.key not in node.pods
        ]
        return node.with_pods(rivals) if rivals else None


def prepared(pod: PodFacts, snapshot: Snapshot, filters: Iterable[Filter]) -> list[NamedCheck]:
    """Make the filters ready; those of which the pod asks nothing are left out. Raises Impossible."""
    made: list[NamedCheck] = []
    for one in filters:
        try:
            check = one.prepare(pod, snapshot)
        except Impossible as impossible:
            raise Impossible(impossible.reason, one.name) from None
        if check is not None:
            made.append((one.name, check))
    return made


def first_refusal(node: NodeState, checks: Iterable[NamedCheck]) -> Refusal | None:
    for name, check in checks:
        failure = check(node)
        if failure is not None:
            return Refusal(name, failure)
    return None
