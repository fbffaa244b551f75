"""How far and how fast an autoscaler may go from one look to the next: bounds, policies, stabilization.

Source: kubernetes.io "Horizontal Pod Autoscaling", configurable scaling behavior; KEP-853; upstream's horizontal.go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

Object = dict[str, Any]

STABILIZATION_S = 300
"""How long a recommendation holds replicas up where no behaviour says otherwise."""
_UP_FACTOR, _UP_MIN = 2.0, 4.0
_IN_RANGE = ("DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
_TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
_UP_RATE = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
_DOWN_RATE = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")
_HELD_UP = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
_HELD_DOWN = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
_READY = ("ReadyForNewScale", "recommended size matches current size")


@dataclass
class Past:
    """What an autoscaler recommended, and by how much it scaled, lately."""

    recommendations: list[tuple[datetime, int]] = field(default_factory=list)
    ups: list[tuple[datetime, int]] = field(default_factory=list)
    downs: list[tuple[datetime, int]] = field(default_factory=list)

    def scaled(self, now: datetime, before: int, after: int, longest_s: int) -> None:
        """Note a scaling; what is older than the longest period of a policy is forgotten."""
        events = self.ups if after > before else self.downs
        events.append((now, abs(after - before)))
        for held in (self.ups, self.downs):
            held[:] = [one for one in held if one[0] > now - timedelta(seconds=longest_s)]


@dataclass(frozen=True)
class Limited:
    """A replica count after the limits, with what they did to it: (reason, message), and whether anything."""

    replicas: int
    stabilized: tuple[str, str]
    limited: bool
    limit: tuple[str, str]


def limit(past: Past, now: datetime, spec: Mapping[str, Any], current: int, wanted: int) -> Limited:
    """Return what an autoscaler may scale to now, and remember what it wanted."""
    least, most = spec.get("minReplicas", 1), spec["maxReplicas"]
    behavior = spec.get("behavior")
    up, down = _windows(behavior)
    steady, said = _stabilize(past, now, current, wanted, up, down, plain=behavior is None)
    if behavior is None:
        allowed, why = _plain(current, steady, least, most)
    else:
        allowed, why = _paced(past, now, behavior, current, steady, least, most)
    return Limited(allowed, said, allowed != steady, why)


def longest_period_s(spec: Mapping[str, Any]) -> int:
    """Return the longest period that a policy looks back."""
    behavior = spec.get("behavior") or {}
    rules = [rule for rule in (behavior.get("scaleUp"), behavior.get("scaleDown")) if rule]
    return max((one["periodSeconds"] for rule in rules for one in rule.get("policies") or ()), default=60)


def _windows(behavior: Mapping[str, Any] | None) -> tuple[int, int]:
    held = behavior or {}
    up = (held.get("scaleUp") or {}).get("stabilizationWindowSeconds", 0)
    down = (held.get("scaleDown") or {}).get("stabilizationWindowSeconds", STABILIZATION_S)
    return up, down


def _stabilize(
    past: Past, now: datetime, current: int, wanted: int, up_s: int, down_s: int, *, plain: bool
) -> tuple[int, tuple[str, str]]:
    """Within its window, go down only as far as the highest recommendation, up as far as the lowest."""

    def since(window_s: int) -> list[int]:
        return [size for at, size in past.recommendations if at > now - timedelta(seconds=window_s)]

    highest = max([wanted, *since(down_s)])
    if plain:
        steady = highest
    else:
        lowest = min([wanted, *since(up_s)])
        steady = min(max(current, lowest), highest)
    longest = timedelta(seconds=max(up_s, down_s))
    past.recommendations = [one for one in past.recommendations if one[0] > now - longest]
    past.recommendations.append((now, wanted))
    said = _READY if steady == wanted else _HELD_UP if steady > wanted else _HELD_DOWN
    return steady, said


def _plain(current: int, wanted: int, least: int, most: int) -> tuple[int, tuple[str, str]]:
    rate = int(max(_UP_FACTOR * current, _UP_MIN))
    highest, why = (rate, _UP_RATE) if most > rate else (most, _TOO_MANY)
    if wanted < least:
        return least, _TOO_FEW
    return (highest, why) if wanted > highest else (wanted, _IN_RANGE)


def _paced(
    past: Past, now: datetime, behavior: Mapping[str, Any], current: int, wanted: int, least: int, most: int
) -> tuple[int, tuple[str, str]]:
    if wanted > current:
        rate = max(current, _rate(past, now, behavior.get("scaleUp") or {}, current, up=True))
        highest, why = (rate, _UP_RATE) if most > rate else (most, _TOO_MANY)
        return (highest, why) if wanted > highest else (wanted, _IN_RANGE)
    if wanted < current:
        rate = min(current, _rate(past, now, behavior.get("scaleDown") or {}, current, up=False))
        lowest, why = (rate, _DOWN_RATE) if least < rate else (least, _TOO_FEW)
        return (lowest, why) if wanted < lowest else (wanted, _IN_RANGE)
    return wanted, _IN_RANGE


def _rate(past: Past, now: datetime, rules: Mapping[str, Any], current: int, *, up: bool) -> int:
    """Return the size up or down to which the policies allow to go now."""
    select = rules.get("selectPolicy", "Max")
    if select == "Disabled":
        return current
    sizes = []
    for policy in rules.get("policies") or _DEFAULTS[up]:
        period = policy["periodSeconds"]
        start = current - _sum(past.ups, now, period) + _sum(past.downs, now, period)
        value = policy["value"]
        if policy["type"] == "Pods":
            sizes.append(start + value if up else start - value)
        elif up:
            sizes.append(math.ceil(start * (1 + value / 100)))
        else:
            sizes.append(int(start * (1 - value / 100)))
    farthest = max if up == (select == "Max") else min
    return int(farthest(sizes))


#: What a direction without policies may do. Source: the API's defaults.
_DEFAULTS: Mapping[bool, Sequence[Object]] = {
    True: (
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ),
    False: ({"type": "Percent", "value": 100, "periodSeconds": 15},),
}


def _sum(events: Sequence[tuple[datetime, int]], now: datetime, period_s: int) -> int:
    return sum(change for at, change in events if at > now - timedelta(seconds=period_s))
