"""A profile: which filters and scores decide for the pods that name it."""

from __future__ import annotations

from dataclasses import dataclass

from oarlock.actors.scheduler.framework import Filter, Score
from oarlock.actors.scheduler.preemption import PreemptionLimits

DEFAULT_NAME = "default-scheduler"


@dataclass(frozen=True, slots=True)
class Profile:
    """`filters` are asked in order, and only the first that refuses a node is named to the user.

    `nodes_percent` is how many feasible nodes suffice (0: by the size of the cluster). Without `preemption` nobody has
    to make room.
    """

    name: str
    filters: tuple[Filter, ...]
    scores: tuple[tuple[Score, int], ...]
    preemption: PreemptionLimits | None = PreemptionLimits()
    nodes_percent: int = 0
