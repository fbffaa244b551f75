"""Pod disruption budgets, as far as preemption asks them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from oarlock.actors.scheduler.facts import PodFacts
from oarlock.cluster.objects.selectors import LabelSelector, from_object


@dataclass(frozen=True, slots=True)
class Budget:
    """How many of the chosen pods may go now. Pods in `disrupted` are going already and were counted."""

    namespace: str
    selector: LabelSelector
    allowed: int
    disrupted: frozenset[str]

    def covers(self, pod: PodFacts) -> bool:
        """An empty selector, like none, chooses nothing here. Source: upstream's filterPodsWithPDBViolation."""
        return (
            pod.namespace == self.namespace
            and bool(pod.labels)
            and not self.selector.everything
            and self.selector.matches(pod.labels)
            and pod.name not in self.disrupted
        )


def budget(obj: Mapping[str, Any]) -> Budget:
    """Read a PodDisruptionBudget object."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return Budget(
        obj["metadata"].get("namespace") or "default",
        from_object(spec.get("selector")),
        status.get("disruptionsAllowed") or 0,
        frozenset(status.get("disruptedPods") or ()),
    )


def breaking(pods: Iterable[PodFacts], budgets: Iterable[Budget]) -> tuple[list[PodFacts], list[PodFacts]]:
    """Split pods, in their order, into (those whose going breaks a budget, the others)."""
    known = list(budgets)
    left = [one.allowed for one in known]
    breaks: list[PodFacts] = []
    keeps: list[PodFacts] = []
    for pod in pods:
        broken = False
        for place, one in enumerate(known):
            if one.covers(pod):
                left[place] -= 1
                broken = broken or left[place] < 0
        (breaks if broken else keeps).append(pod)
    return breaks, keeps
