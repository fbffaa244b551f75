"""Built-in plugins made from the arguments of a profile's `pluginConfig`.

Source: upstream's kubescheduler.config.k8s.io/v1 types and their validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.actors.scheduler.framework import SCORE_MAX, Filter, Gate, Rescue, Score, Step
from oarlock.actors.scheduler.located import Section
from oarlock.actors.scheduler.plugins import FILTERS, GATES, SCORES, STEPS
from oarlock.actors.scheduler.plugins.allocation_score import (
    EVEN,
    AllocationScore,
    Weights,
    along,
    least_allocated,
    most_allocated,
)
from oarlock.actors.scheduler.plugins.balanced_allocation import BalancedAllocation
from oarlock.actors.scheduler.plugins.dynamic_steps import BIND_TIMEOUT_S as DEVICE_TIMEOUT_S
from oarlock.actors.scheduler.plugins.dynamic_steps import DynamicSteps
from oarlock.actors.scheduler.plugins.inter_pod_preference import InterPodPreference
from oarlock.actors.scheduler.plugins.node_affinity import NodeAffinity
from oarlock.actors.scheduler.plugins.node_resources_fit import NodeResourcesFit
from oarlock.actors.scheduler.plugins.pod_topology_preference import SYSTEM_DEFAULTS, PodTopologyPreference
from oarlock.actors.scheduler.plugins.pod_topology_spread import Default, PodTopologySpread
from oarlock.actors.scheduler.plugins.volume_steps import BIND_TIMEOUT_S, VolumeSteps
from oarlock.actors.scheduler.preemption import PreemptionLimits
from oarlock.actors.scheduler.selection import node_term

_UTILIZATION_MAX, _POINTS_MAX = 100, 10
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True)
class Parts:
    """What one plugin is made of; `sorts` and `gates` stand for what the queue does itself."""

    filter: Filter | None = None
    score: Score | None = None
    weight: int = 1
    step: Step | None = None
    preemption: PreemptionLimits | None = None
    gate: Gate | None = None
    rescue: Rescue | None = None
    order: Callable[[PodFacts], Any] | None = None


def _defaults() -> dict[str, Parts]:
    parts = {
        name: Parts()
        for name in ("SchedulingGates", "PrioritySort", "DefaultBinder", "DynamicResources", "DefaultPreemption")
    }
    for one in FILTERS:
        parts[one.name] = replace(parts.get(one.name, Parts()), filter=one)
    for score, weight in SCORES:
        parts[score.name] = replace(parts.get(score.name, Parts()), score=score, weight=weight)
    for step in STEPS:
        parts[step.name] = replace(parts.get(step.name, Parts()), step=step)
    for name, gate in GATES.items():
        parts[name] = replace(parts[name], gate=gate)
    parts["DefaultPreemption"] = Parts(preemption=PreemptionLimits())
    return parts


BUILT_IN: Mapping[str, Parts] = _defaults()
"""The default profile's plugins by name."""


def with_arguments(name: str, parts: Parts, args: Section) -> Parts:
    """Return a built-in plugin that heeds its arguments. Raises Broken."""
    for key in ("apiVersion", "kind"):
        args.get(key, str, "")
    made = _READERS[name](parts, args) if name in _READERS else parts
    args.done()
    return made


def _fit(parts: Parts, args: Section) -> Parts:
    ignored = frozenset(args.get("ignoredResources", list, [])) | frozenset(args.get("ignoredResourceGroups", list, []))
    fit = NodeResourcesFit(frozenset(map(str, ignored)))
    strategy = args.section("scoringStrategy")
    if strategy is None:
        return replace(parts, filter=fit)
    kind = strategy.get("type", str, "LeastAllocated")
    weights = _weights(strategy)
    ratio = strategy.section("requestedToCapacityRatio")
    if kind == "RequestedToCapacityRatio":
        if ratio is None:
            raise strategy.broken("requestedToCapacityRatio", "is required for that type")
        score = AllocationScore(along(_line(ratio)), weights, skips_zero=True)
    elif kind in ("LeastAllocated", "MostAllocated"):
        score = AllocationScore(least_allocated if kind == "LeastAllocated" else most_allocated, weights)
    else:
        raise strategy.broken("type", "must be LeastAllocated, MostAllocated or RequestedToCapacityRatio")
    strategy.done()
    return replace(parts, filter=fit, score=score)


def _weights(section: Section) -> Weights:
    found: dict[str, int] = {}
    for one in section.sections("resources"):
        name, weight = one.get("name", str, ""), one.get("weight", int, 1)
        if not name or not 1 <= weight <= 100:
            raise one.broken("weight" if name else "name", "must be from 1 to 100" if name else "is required")
        one.done()
        found[name] = weight
    return found or EVEN


def _line(ratio: Section) -> list[tuple[int, int]]:
    points: list[tuple[int, int]] = []
    for one in ratio.sections("shape"):
        utilization, grade = one.get("utilization", int, -1), one.get("score", int, -1)
        if not (points[-1][0] if points else -1) < utilization <= _UTILIZATION_MAX:
            raise one.broken("utilization", "must grow from 0 to 100")
        if not 0 <= grade <= _POINTS_MAX:
            raise one.broken("score", "must be from 0 to 10")
        one.done()
        points.append((utilization, grade * (SCORE_MAX // _POINTS_MAX)))
    if not points:
        raise ratio.broken("shape", "must have a point")
    ratio.done()
    return points


def _balanced(parts: Parts, args: Section) -> Parts:
    return replace(parts, score=BalancedAllocation(tuple(_weights(args))))


def _spread(parts: Parts, args: Section) -> Parts:
    kind = args.get("defaultingType", str, "System")
    constraints: list[Default] = []
    for one in args.sections("defaultConstraints"):
        when = one.get("whenUnsatisfiable", str, "")
        skew, key = one.get("maxSkew", int, 0), one.get("topologyKey", str, "")
        if when not in ("DoNotSchedule", "ScheduleAnyway"):
            raise one.broken("whenUnsatisfiable", "must be DoNotSchedule or ScheduleAnyway")
        if skew < 1 or not key:
            raise one.broken("topologyKey" if skew > 0 else "maxSkew", "is required")
        one.done()
        constraints.append(Default(skew, key, when == "DoNotSchedule"))
    if kind not in ("System", "List"):
        raise args.broken("defaultingType", "must be System or List")
    if kind == "System":
        if constraints:
            raise args.broken("defaultConstraints", 'must be empty with defaultingType "System"')
        return replace(parts, filter=PodTopologySpread(), score=PodTopologyPreference(SYSTEM_DEFAULTS))
    return replace(parts, filter=PodTopologySpread(constraints), score=PodTopologyPreference(tuple(constraints)))


def _pod_affinity(parts: Parts, args: Section) -> Parts:
    weight = args.get("hardPodAffinityWeight", int, 1)
    if not 0 <= weight <= 100:
        raise args.broken("hardPodAffinityWeight", "must be from 0 to 100")
    ignores = args.get("ignorePreferredTermsOfExistingPods", bool, default=False)
    return replace(parts, score=InterPodPreference(weight, ignores_present=ignores))


def _node_affinity(parts: Parts, args: Section) -> Parts:
    added = args.section("addedAffinity")
    if added is None:
        return parts
    required, liked = added.section(_REQUIRED), added.get(_PREFERRED, list, [])
    terms = None
    if required is not None:
        terms = tuple(node_term(one.values()) for one in required.sections("nodeSelectorTerms"))
        required.done()
    added.done()
    plugin = NodeAffinity(terms, tuple((one["weight"], node_term(one["preference"])) for one in liked))
    return replace(parts, filter=plugin, score=plugin)


def _preemption(parts: Parts, args: Section) -> Parts:
    percent = args.get("minCandidateNodesPercentage", int, 10)
    least = args.get("minCandidateNodesAbsolute", int, 100)
    if not 0 <= percent <= 100:
        raise args.broken("minCandidateNodesPercentage", "must be from 0 to 100")
    if least < 0 or not (least or percent):
        raise args.broken("minCandidateNodesAbsolute", "must not be negative, nor 0 beside a percentage of 0")
    return replace(parts, preemption=PreemptionLimits(percent, least))


def _volumes(parts: Parts, args: Section) -> Parts:
    timeout_s = args.get("bindTimeoutSeconds", int, int(BIND_TIMEOUT_S))
    if timeout_s < 0:
        raise args.broken("bindTimeoutSeconds", "must not be negative")
    return replace(parts, step=VolumeSteps(float(timeout_s)))


def _devices(parts: Parts, args: Section) -> Parts:
    # How long one node may take is bounded by steps here, so that a decision can be repeated.
    args.seconds("filterTimeout", 10.0)
    return replace(parts, step=DynamicSteps(args.seconds("bindingTimeout", DEVICE_TIMEOUT_S)))


_READERS: Mapping[str, Callable[[Parts, Section], Parts]] = {
    "NodeResourcesFit": _fit,
    "NodeResourcesBalancedAllocation": _balanced,
    "PodTopologySpread": _spread,
    "InterPodAffinity": _pod_affinity,
    "NodeAffinity": _node_affinity,
    "DefaultPreemption": _preemption,
    "VolumeBinding": _volumes,
    "DynamicResources": _devices,
}
