"""What a plugin is: a filter that rules nodes out, a score that ranks those left. Both are pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot
from oarlock.cluster.client.http import ApiClient

SCORE_MAX = 100


class Failure(NamedTuple):
    """Why a node is out. `final`: no pod's leaving would change that, so preemption need not look at it."""

    reasons: tuple[str, ...]
    final: bool


Check = Callable[[NodeState], Failure | None]
"""Judges one node; None lets it pass."""
Gate = Callable[[PodFacts, Snapshot], "str | None"]
"""Returns why a pod isn't tried at all yet, or None."""
Rescue = Callable[[PodFacts, Snapshot, Mapping[str, Failure]], "str | None"]
"""Is told why no node will do for a pod; returns the node on which it has made room, or None."""
Grades = Mapping[str, int]
"""Grades by node name, 0 to SCORE_MAX, higher is better."""


class Impossible(Exception):
    """The pod can run on no node, whatever the nodes are like; `reason` says why, `filter` who says so."""

    def __init__(self, reason: str, filter_name: str = "") -> None:
        super().__init__(reason)
        self.reason, self.filter = reason, filter_name


class PluginFailed(Exception):
    """A plugin can't say, or took too long; the attempt fails, and the message is for the pod's owner."""


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


@dataclass(frozen=True)
class Handle:
    """What a step may use: the API server, under the scheduler's lease, and the cluster as it is seen now.

    `changed()` returns when anything about storage or devices has changed; `tell(pod, reason, message)` is an Event.
    """

    client: ApiClient
    snapshot: Snapshot
    changed: Callable[[], Awaitable[None]]
    tell: Callable[[PodFacts, str, str], None]


class StepFailed(Exception):
    """The pod can't be bound to the node after all; it is scheduled anew. The message tells its owner why."""


class Step(Protocol):
    """Takes part between the decision and the binding. `reserved` is what this step's `reserve` returned."""

    @property
    def name(self) -> str: ...

    def reserve(self, pod: PodFacts, node: str, snapshot: Snapshot) -> object | None:
        """Keep what the pod needs on the node before anything else is decided; None if that is nothing."""
        ...

    def unreserve(self, pod: PodFacts, node: str, reserved: object, snapshot: Snapshot) -> None:
        """Give back what was reserved, since the pod won't be bound. Idempotent."""
        ...

    async def permit(self, pod: PodFacts, node: str) -> None:
        """Return once the pod may be bound; may wait as long as `permit_s` of the profile. Raises StepFailed."""
        ...

    async def pre_bind(self, pod: PodFacts, node: str, reserved: object, handle: Handle) -> None:
        """Do what must be done before the binding. Raises StepFailed, or what ApiClient raises."""
        ...

    async def bind(self, pod: PodFacts, node: str, handle: Handle) -> bool:
        """Bind the pod and return True, or leave it to the next step, at last to the scheduler."""
        ...

    def post_bind(self, pod: PodFacts, node: str) -> None:
        """Learn that the pod was bound."""
        ...


class StepDefaults:
    """What most steps leave alone."""

    def reserve(self, pod: PodFacts, node: str, snapshot: Snapshot) -> object | None:  # noqa: ARG002
        return None

    def unreserve(self, pod: PodFacts, node: str, reserved: object, snapshot: Snapshot) -> None:
        pass

    async def permit(self, pod: PodFacts, node: str) -> None:
        pass

    async def pre_bind(self, pod: PodFacts, node: str, reserved: object, handle: Handle) -> None:
        pass

    async def bind(self, pod: PodFacts, node: str, handle: Handle) -> bool:  # noqa: ARG002
        return False

    def post_bind(self, pod: PodFacts, node: str) -> None:
        pass


def scaled(raw: Mapping[str, int], *, reverse: bool = False) -> Grades:
    """Stretch raw scores so that the highest becomes SCORE_MAX; `reverse` makes the lowest best.

    Source: upstream's DefaultNormalizeScore.
    """
    highest = max(raw.values(), default=0)
    if not highest:
        return {name: SCORE_MAX if reverse else value for name, value in raw.items()}
    grades = {name: SCORE_MAX * value // highest for name, value in raw.items()}
    return {name: SCORE_MAX - grade for name, grade in grades.items()} if reverse else grades
