"""A Deployment's arithmetic: how many pods above, how many below, and which ReplicaSet gets how many.

Source: upstream's deployment/util; the invariants are kubernetes.io's "Max Unavailable" and "Max Surge".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX = "deployment.kubernetes.io/max-replicas"


def scaled(value: int | str, total: int, *, up: bool) -> int:
    """Return `value`, or its percentage of `total` rounded up or down."""
    if isinstance(value, int):
        return value
    share = int(value.removesuffix("%")) * total / 100
    return math.ceil(share) if up else math.floor(share)


@dataclass(frozen=True)
class Bounds:
    """What a rollout must stay within: `replicas` asked for, so many above, so many unavailable."""

    replicas: int
    surge: int
    unavailable: int

    @property
    def most(self) -> int:
        """Pods there may be at a time."""
        return self.replicas + self.surge

    @property
    def least_available(self) -> int:
        """Pods that must stay available."""
        return self.replicas - self.unavailable


def bounds(deployment: Mapping[str, Any]) -> Bounds:
    """Return the bounds of a Deployment; Recreate has neither surge nor unavailable."""
    spec = deployment["spec"]
    replicas = spec.get("replicas", 1)
    strategy = spec.get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return Bounds(replicas, 0, 0)
    rolling = strategy.get("rollingUpdate") or {}
    surge = scaled(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1  # otherwise nothing could ever move
    return Bounds(replicas, surge, min(unavailable, replicas))


@dataclass
class Set:
    """A ReplicaSet as a rollout sees it: `size` is what it is asked for, and changes as decisions are made."""

    name: str
    size: int
    available: int
    created: str = ""
    max_before: int = 0
    desired_before: int = 0


def new_size(limit: Bounds, sets: Iterable[Set], new: Set) -> int:
    """Return the size that the new ReplicaSet may have now. `sets` includes it."""
    total = sum(one.size for one in sets)
    if new.size > limit.replicas:
        return limit.replicas
    if total >= limit.most:
        return new.size
    return new.size + min(limit.most - total, limit.replicas - new.size)


def shrink_old(limit: Bounds, old: Iterable[Set], new: Set | None) -> None:
    """Take from the old sets, oldest first, what may go: what isn't available before what is."""
    old = sorted(old, key=lambda one: (one.created, one.name))
    everything = [*old, new] if new is not None else old
    new_unavailable = new.size - new.available if new is not None else 0
    most = sum(one.size for one in everything) - limit.least_available - new_unavailable
    if most <= 0:
        return
    for one in old:
        unhealthy = min(most, max(0, one.size - one.available))
        one.size -= unhealthy
        most -= unhealthy
    spare = sum(min(one.available, one.size) for one in everything) - limit.least_available
    for one in old:
        taken = min(one.size, max(0, spare))
        one.size -= taken
        spare -= taken


def spread(limit: Bounds, sets: Iterable[Set], held_before: int) -> None:
    """Share a change of replicas among the active sets in proportion to their sizes.

    `held_before` stands in for a set that doesn't say how many pods there might be when it was sized.
    """
    active = [one for one in sets if one.size > 0]
    allowed = limit.most if limit.replicas > 0 else 0
    change = allowed - sum(one.size for one in active)
    newest_first = sorted(active, key=lambda one: one.created, reverse=True)
    active = sorted(
        newest_first if change > 0 else sorted(active, key=lambda one: one.created), key=lambda one: -one.size
    )
    added = 0
    for one in active:
        if change == 0 or change == added:
            break
        before = one.max_before or held_before or one.size
        share = -one.size if limit.replicas == 0 else _round(one.size * limit.most / before) - one.size
        share = min(share, change - added) if change > 0 else max(share, change - added)
        one.size += share
        added += share
    if active and change != added:
        active[0].size = max(0, active[0].size + change - added)


def _round(value: float) -> int:
    """Round half away from zero, as Go does."""
    return math.floor(value + 0.5)
