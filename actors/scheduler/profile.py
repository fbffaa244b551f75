"""A profile: which filters and scores decide for the pods that name it."""

from __future__ import annotations

from dataclasses import dataclass

from oarlock.actors.scheduler.framework import Filter, Gate, Rescue, Score, Step
from oarlock.actors.scheduler.preemption import PreemptionLimits

DEFAULT_NAME = "default-scheduler"


@dataclass(frozen=True, slots=True)
class Profile:
    """`filters` are asked in order, and only the first that refuses a node is named to the user.

    `steps` take part between decision and binding; their permits may take `permit_s` together. `nodes_percent` is how
    many feasible nodes suffice (0: by the size of the cluster). Without `preemption` nobody has to make room.
    """

    name: str
    filters: tuple[Filter, ...]
    scores: tuple[tuple[Score, int], ...]
    steps: tuple[Step, ...] = ()
    preemption: PreemptionLimits | None = PreemptionLimits()
    permit_s: float = 900.0
    nodes_percent: int = 0
    releases: bool = True
    """Whether idle claims may have to give back their devices."""
    gates: tuple[Gate, ...] = ()
    """What holds the profile's pods back before any attempt."""
    rescues: tuple[Rescue, ...] = ()
    """Who is asked, after preemption has found nothing, to make room for a pod."""
    guarded: bool = False
    """Whether foreign code takes part, so that an attempt must be limited in time."""
