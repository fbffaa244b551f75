"""Which pods of lower priority must go so that a pod fits: as few and as unimportant as will do.

Source: upstream's DefaultPreemption plugin and preemption.Evaluator.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice

from oarlock.actors.scheduler.disruption import breaking
from oarlock.actors.scheduler.examination import Examination, Refusal
from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import Failure
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

NOT_HELPFUL = Failure(("Preemption is not helpful for scheduling",), final=True)
_NO_VICTIMS = Failure(("No preemption victims found for incoming pod",), final=True)
_NEVER = "not eligible due to preemptionPolicy=Never."
_WAITS = "not eligible due to a terminating pod on the nominated node."
_SETS_MAX = 500
_PRIORITY_SHIFT = 2**31
"""Makes every priority positive, so that among negative ones fewer victims still count as less."""


@dataclass(frozen=True, slots=True)
class PreemptionLimits:
    """On how many nodes it is tried at most: a share of those where it may help, but at least so many."""

    candidates_percent: int = 10
    candidates_min: int = 100

    def candidates(self, nodes: int) -> int:
        return min(nodes, max(nodes * self.candidates_percent // 100, self.candidates_min))


@dataclass(frozen=True, slots=True)
class Nomination:
    """The node that will be the pod's once `victims`, most important first, are gone."""

    node: str
    victims: tuple[PodFacts, ...]
    broken_budgets: int = 0


@dataclass(frozen=True, slots=True)
class NoPreemption:
    """Why nothing is gained. With a `hint` the pod may not preempt, else `failures` tell why it helps on no node."""

    failures: Mapping[str, Failure]
    hint: str = ""


def preempt(
    examination: Examination,
    failures: Mapping[str, Failure],
    *,
    limits: PreemptionLimits,
    chance: random.Random,
) -> list[Nomination] | NoPreemption:
    """Find the nodes where room can be made. `failures` are the reasons why each node is out now."""
    pod, snapshot = examination.pod, examination.snapshot
    if hint := _ineligible(pod, snapshot, failures):
        return NoPreemption({}, hint)
    hopeful = [node for node in snapshot.ordered() if node.name in failures and not failures[node.name].final]
    found, refused = _candidates(examination, hopeful, limits, chance)
    if found:
        return found
    return NoPreemption({name: refused.get(name, NOT_HELPFUL) for name in snapshot.nodes})


def best(candidates: Sequence[Nomination], snapshot: Snapshot) -> Nomination:
    """Return the candidate by which the least is lost."""
    budgets = snapshot.budgets.values()
    # Upstream counts a budget as broken even if the pods that would break it stay after all.
    sparing = [one for one in candidates if not one.broken_budgets or not breaking(one.victims, budgets)[0]]
    return min(sparing or candidates, key=_loss)


def _ineligible(pod: PodFacts, snapshot: Snapshot, failures: Mapping[str, Failure]) -> str:
    """A pod for which room is being made already waits, unless its node can't take it any more."""
    if not pod.preempts:
        return _NEVER
    node = snapshot.nodes.get(pod.nominated_node)
    if node is None or (node.name in failures and failures[node.name].final):
        return ""
    going = any(other.preempted and other.priority < pod.priority for other in node.pods.values())
    return _WAITS if going else ""


def _candidates(
    examination: Examination, hopeful: Sequence[NodeState], limits: PreemptionLimits, chance: random.Random
) -> tuple[list[Nomination], dict[str, Failure]]:
    """Return (ways to make room, why others won't do); stops when enough are found and one breaks no budget."""
    found: list[Nomination] = []
    refused: dict[str, Failure] = {}
    if not hopeful:
        return found, refused
    enough = limits.candidates(len(hopeful))
    # All are tried in a small cluster, so where it begins matters in a large one only.
    start = chance.randrange(len(hopeful)) if enough < len(hopeful) else 0
    for node in (*hopeful[start:], *hopeful[:start]):
        outcome = victims_on(examination, node)
        if isinstance(outcome, Failure):
            refused[node.name] = outcome
            continue
        found.append(outcome)
        if len(found) >= enough and any(not one.broken_budgets for one in found):
            break
    return found, refused


def victims_on(examination: Examination, node: NodeState) -> Nomination | Failure:
    """Return the pods that must leave the node, or why their leaving doesn't help.

    All that may go are taken off; then each comes back if the pod still fits, those whose going breaks a budget first
    and the more important before the less.
    """
    pod = examination.pod
    lower = [other for other in node.pods.values() if other.priority < pod.priority]
    if not lower:
        return _NO_VICTIMS
    state = node.without(other.key for other in lower)
    refusal = examination.judge_changed(state)
    if refusal is not None:
        return refusal.failure
    breaks, keeps = breaking(by_importance(lower), examination.snapshot.budgets.values())
    victims: list[PodFacts] = []
    broken = 0
    for other, is_breaking in (*((one, 1) for one in breaks), *((one, 0) for one in keeps)):
        if _stays(examination, state, other):
            continue
        victims.append(other)
        broken += is_breaking
    if not victims:
        # Their being gone has changed nothing, so a filter contradicts itself.
        return NOT_HELPFUL
    budgets = examination.snapshot.budgets.values()
    if broken and breaking(victims, budgets)[0] and (others := _unbroken(examination, node, lower)):
        return Nomination(node.name, others)
    return Nomination(node.name, tuple(by_importance(victims) if breaks and keeps else victims), broken)


def _unbroken(examination: Examination, node: NodeState, lower: Sequence[PodFacts]) -> tuple[PodFacts, ...]:
    """Return the fewest and least important pods that may go without breaking any budget; none if there are no such.

    Giving pods back one by one, as upstream does, can miss them. Looks at the first `_SETS_MAX` sets.
    """
    budgets = examination.snapshot.budgets.values()
    least_first = by_importance(lower)[::-1]
    sets = chain.from_iterable(combinations(least_first, count) for count in range(1, len(lower) + 1))
    for some in islice(sets, _SETS_MAX):
        if breaking(by_importance(some), budgets)[0]:
            continue
        if examination.judge_changed(node.without(one.key for one in some)) is None:
            return tuple(by_importance(some))
    return ()


def _stays(examination: Examination, state: NodeState, other: PodFacts) -> bool:
    state.put(other)
    refusal: Refusal | None = examination.judge_changed(state)
    if refusal is not None:
        state.drop(other.key)
    return refusal is None


def by_importance(pods: Iterable[PodFacts]) -> list[PodFacts]:
    """Order pods by priority, then by how long they run; of those that haven't started the newest comes first."""
    newest_first = list(pods)[::-1]
    return sorted(newest_first, key=lambda one: (-one.priority, one.started or _NOT_YET))


_NOT_YET = "9999"
"""Sorts behind every time stamp."""


def _loss(candidate: Nomination) -> tuple[object, ...]:
    """What a candidate costs, in order of weight. Source: upstream's pickOneNodeForPreemption."""
    victims = candidate.victims
    highest = max(one.priority for one in victims)
    earliest = min(one.started or _NOT_YET for one in victims if one.priority == highest)
    return (
        candidate.broken_budgets,
        highest,
        sum(one.priority + _PRIORITY_SHIFT for one in victims),
        len(victims),
        _Later(earliest),
    )


@dataclass(frozen=True, slots=True)
class _Later:
    """Orders time stamps latest first."""

    stamp: str

    def __lt__(self, other: _Later) -> bool:
        return self.stamp > other.stamp


def lower_nominated(pod: PodFacts, node: str, snapshot: Snapshot) -> Iterator[PodFacts]:
    """Yield the pods nominated to the node that this one goes before: they had better look elsewhere."""
    for other in snapshot.nominated.get(node, {}).values():
        if other.priority < pod.priority:
            yield other
