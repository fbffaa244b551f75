"""How many replicas a metric asks for: the arithmetic of horizontal autoscaling, without any effects.

Pods that aren't ready or that no metric came from are assumed to change the answer as little as possible.
Source: kubernetes.io "Horizontal Pod Autoscaling", algorithm details; upstream's replica_calculator.go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from oarlock.actors.controllers import conditions, pods
from oarlock.actors.controllers.view import parse_time
from oarlock.cluster.objects import quantity

Object = dict[str, Any]

CPU_INITIALIZATION_S = 300
READINESS_DELAY_S = 30


class NoReplicaCount(ValueError):
    """Nothing can be concluded from what was measured; the text says why, as upstream does."""


@dataclass(frozen=True)
class Tolerance:
    """How far the ratio of measured to wanted may be off without scaling."""

    up: float = 0.1
    down: float = 0.1

    def holds(self, ratio: float) -> bool:
        """Whether a ratio is near enough to one."""
        return 1.0 - self.down <= ratio <= 1.0 + self.up


@dataclass(frozen=True)
class Sample:
    """What was measured of one pod, in thousandths of the metric's unit."""

    milli: int
    at: datetime
    window_s: float = 60.0


@dataclass(frozen=True)
class Groups:
    """Pods by what is known of them."""

    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


@dataclass(frozen=True)
class Usage:
    """What the pods of a target use: replicas wanted, and what the status tells of it."""

    replicas: int
    average_milli: int
    utilization: int | None = None


def group(found: Iterable[Object], samples: Mapping[str, Sample], now: datetime, *, cpu: bool) -> Groups:
    """Sort pods: a starting pod's CPU says nothing yet of the load to come."""
    ready = 0
    sets: dict[str, set[str]] = {"unready": set(), "missing": set(), "ignored": set()}
    for pod in found:
        name = pod["metadata"]["name"]
        if pod["metadata"].get("deletionTimestamp") or pods.phase(pod) == "Failed":
            sets["ignored"].add(name)
        elif pods.phase(pod) == "Pending":
            sets["unready"].add(name)
        elif name not in samples:
            sets["missing"].add(name)
        elif cpu and _is_starting(pod, samples[name], now):
            sets["unready"].add(name)
        else:
            ready += 1
    return Groups(ready, **{kind: frozenset(names) for kind, names in sets.items()})


def _is_starting(pod: Object, sample: Sample, now: datetime) -> bool:
    status = pod.get("status") or {}
    condition = conditions.find(status.get("conditions"), "Ready")
    if condition is None or not status.get("startTime"):
        return True
    started, changed = parse_time(status["startTime"]), parse_time(condition["lastTransitionTime"])
    unready = condition["status"] == "False"
    if started + timedelta(seconds=CPU_INITIALIZATION_S) > now:
        return unready or sample.at < changed + timedelta(seconds=sample.window_s)
    return unready and started + timedelta(seconds=READINESS_DELAY_S) > changed


def by_utilization(
    current: int,
    groups: Groups,
    samples: Mapping[str, Sample],
    requests: Mapping[str, int],
    target: int,
    near: Tolerance,
) -> Usage:
    """Return the replicas that bring the pods' use to `target` percent of their requests."""
    known = _known(groups, samples)

    def utilization(used: Mapping[str, int]) -> int:
        asked = sum(requests[name] for name in used if name in requests)
        if asked == 0:
            raise NoReplicaCount("no metrics returned matched known pods")
        return sum(amount for name, amount in used.items() if name in requests) * 100 // asked

    def low(name: str) -> int:
        return requests.get(name, 0) * max(100, target) // 100

    replicas = _replicas(current, groups, known, lambda used: utilization(used) / target, low, near)
    counted = [amount for name, amount in known.items() if name in requests]
    return Usage(replicas, sum(counted) // len(counted), utilization(known))


def by_average(
    current: int, groups: Groups, samples: Mapping[str, Sample], target_milli: int, near: Tolerance
) -> Usage:
    """Return the replicas that bring the pods' average to the target."""
    known = _known(groups, samples)
    average = sum(known.values()) // len(known)

    def ratio(used: Mapping[str, int]) -> float:
        return sum(used.values()) // len(used) / target_milli

    return Usage(_replicas(current, groups, known, ratio, lambda _: target_milli, near), average)


def by_value(current: int, ready: int, value_milli: int, target_milli: int, near: Tolerance) -> int:
    """Return the replicas that bring one value, shared by all pods, to the target."""
    ratio = value_milli / target_milli
    if current == 0:
        return math.ceil(ratio)
    return current if near.holds(ratio) else math.ceil(ratio * ready)


def by_share(current: int, value_milli: int, target_milli: int, near: Tolerance) -> int:
    """Return the replicas whose shares of one value are the target each."""
    ratio = value_milli / (target_milli * current) if current else math.inf
    return current if near.holds(ratio) else math.ceil(value_milli / target_milli)


def _known(groups: Groups, samples: Mapping[str, Sample]) -> dict[str, int]:
    left_out = groups.ignored | groups.unready
    known = {name: sample.milli for name, sample in samples.items() if name not in left_out}
    if not known:
        raise NoReplicaCount("did not receive metrics for targeted pods (pods might be unready)")
    return known


def _replicas(
    current: int,
    groups: Groups,
    known: Mapping[str, int],
    ratio: Callable[[Mapping[str, int]], float],
    low: Callable[[str], int],
    near: Tolerance,
) -> int:
    first = ratio(known)
    count_unready = bool(groups.unready) and first > 1.0
    if not count_unready and not groups.missing:
        return current if near.holds(first) else math.ceil(first * groups.ready)
    filled = dict(known)
    for name in groups.missing:
        if first != 1.0:
            filled[name] = low(name) if first < 1.0 else 0
    for name in groups.unready if count_unready else ():
        filled[name] = 0
    again = ratio(filled)
    if near.holds(again) or first < 1.0 < again or first > 1.0 > again:
        return current
    wanted = math.ceil(again * len(filled))
    return current if (again < 1.0 and wanted > current) or (again > 1.0 and wanted < current) else wanted


def requests(found: Iterable[Object], resource: str, container: str = "") -> dict[str, int]:
    """Return what each pod, or one container of it, asks for of a resource, in thousandths."""
    asked: dict[str, int] = {}
    for pod in found:
        name, spec = pod["metadata"]["name"], pod["spec"]
        whole = ((spec.get("resources") or {}).get("requests") or {}).get(resource)
        if whole is not None and not container:
            asked[name] = quantity.milli(whole)
            continue
        sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
        chosen = [one for one in [*sidecars, *spec["containers"]] if container in ("", one["name"])]
        if not chosen:
            raise NoReplicaCount(f"container {container} not found in Pod {name}")
        total = 0
        for one in chosen:
            held = ((one.get("resources") or {}).get("requests") or {}).get(resource)
            if held is None:
                raise NoReplicaCount(f"missing request for {resource} in container {one['name']} of Pod {name}")
            total += quantity.milli(held)
        asked[name] = total
    return asked
