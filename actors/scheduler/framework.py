"""What a plugin is: a filter that rules nodes out, a score that ranks those left. Both are pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

SCORE_MAX = 100


class Failure(NamedTuple):
    """Why a node is out. `final`: no pod's leaving would change that, so preemption need not look at it."""

    reasons: tuple[str, ...]
    final: bool


Check = Callable[[NodeState], Failure | None]
"""Judges one node; None lets it pass."""
Grades = Mapping[str, int]
"""Grades by node name, 0 to SCORE_MAX, higher is better."""


class Impossible(Exception):
    """The pod can run on no node, whatever the nodes are like; `reason` says why, `filter` who says so."""

    def __init__(self, reason: str, filter_name: str = "") -> None:
        super().__init__(reason)
        self.reason, self.filter = reason, filter_name


class Filter(Protocol):
    """Rules nodes out. `events` names the changes that may let a refused pod pass: see queue.py.

    `local` promises that a node is judged by itself and its pods alone, whatever the other nodes hold.
    """

    @property
    def name(self) -> str: ...

    @property
    def events(self) -> frozenset[str]: ...

    @property
    def local(self) -> bool: ...

    def only(self, pod: PodFacts) -> frozenset[str] | None:
        """Return the names of the only nodes that the pod may run on, if it names them; None otherwise."""
        ...

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:
        """Do once per pod what need not be done per node; None if the pod asks nothing of this filter.

        Raises Impossible.
        """
        ...


class FilterDefaults:
    """What most filters are like."""

    local = True

    def only(self, pod: PodFacts) -> frozenset[str] | None:  # noqa: ARG002 - most pods name no nodes
        return None


class Score(Protocol):
    """Ranks nodes."""

    @property
    def name(self) -> str: ...

    def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades | None:
        """Return a grade for each node; None if the pod gives no reason to prefer any."""
        ...


def scaled(raw: Mapping[str, int], *, reverse: bool = False) -> Grades:
    """Stretch raw scores so that the highest becomes SCORE_MAX; `reverse` makes the lowest best.

    Source: upstream's DefaultNormalizeScore.
    """
    highest = max(raw.values(), default=0)
    if not highest:
        return {name: SCORE_MAX if reverse else value for name, value in raw.items()}
    grades = {name: SCORE_MAX * value // highest for name, value in raw.items()}
    return {name: SCORE_MAX - grade for name, grade in grades.items()} if reverse else grades
