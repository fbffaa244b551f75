"""Pods that a node's NoExecute taints drive away, each when its toleration ends.

Source: kubernetes.io "Taint based Evictions"; upstream's tainteviction controller; decision 0019 for nodes that died.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.actors.controllers.actions import Action, Delete, Patch, RecordEvent, Requeue
from oarlock.actors.controllers.taints import NOT_READY, UNREACHABLE, tolerates
from oarlock.actors.controllers.view import View, parse_time
from oarlock.cluster.client.http import STRATEGIC_PATCH

Object = dict[str, Any]

_FOR_EVER = float("inf")
_REASON = "TaintManagerEviction"
_BY_DEFAULT = tuple(
    {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for key in (NOT_READY, UNREACHABLE)
)
"""What admission gives every pod that says nothing itself. Source: the DefaultTolerationSeconds admission plugin."""


def evictions(
    view: View, node: Mapping[str, Any], taints: Iterable[Mapping[str, Any]], unreachable_s: float | None
) -> list[Action]:
    """Return the deletions of pods that tolerate the node's taints no longer, and when the next is due.

    `unreachable_s` takes the place of admission's 300 s on a node that can't be reached; None leaves these.
    """
    taints = [one for one in taints if one["effect"] == "NoExecute"]
    if not taints:
        return []
    actions: list[Action] = []
    waits: list[float] = []
    for pod in view.pods_on(node["metadata"]["name"]):
        if pod["metadata"].get("deletionTimestamp"):
            continue
        left_s = min(_left_s(view, pod, taint, unreachable_s) for taint in taints)
        if left_s <= 0:
            actions += _evict(view, pod)
        elif left_s != _FOR_EVER:
            waits.append(left_s)
    return [*actions, Requeue(min(waits))] if waits else actions


def cancelled(
    view: View, node: Mapping[str, Any], before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]
) -> list[Action]:
    """Tell of the pods that would have gone in time, had their node kept the taints from `before`."""
    had, has = ([one for one in taints if one["effect"] == "NoExecute"] for taints in (before, after))
    if len(has) >= len(had):
        return []
    spared = [
        pod
        for pod in view.pods_on(node["metadata"]["name"])
        if not pod["metadata"].get("deletionTimestamp")
        and 0 < min(_left_s(view, pod, one, None) for one in had) < _FOR_EVER
        and all(_left_s(view, pod, one, None) == _FOR_EVER for one in has)
    ]
    return [RecordEvent(pod, _REASON, f"Cancelling deletion of Pod {_name(pod)}") for pod in spared]


def _evict(view: View, pod: Object) -> list[Action]:
    done = RecordEvent(pod, _REASON, f"Marking for deletion Pod {_name(pod)}")
    message = "Taint manager: deleting due to NoExecute taint"
    return [target_of_disruption(view, pod, "DeletionByTaintManager", message), Delete(pod, done=done)]


def _name(pod: Mapping[str, Any]) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def target_of_disruption(view: View, pod: Mapping[str, Any], reason: str, message: str) -> Patch:
    """Tell in the pod's status why it goes, before it goes. Source: kubernetes.io "Pod disruption conditions"."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": view.stamp,
    }
    return Patch(pod, {"status": {"conditions": [condition]}}, STRATEGIC_PATCH, "status")


def _left_s(view: View, pod: Mapping[str, Any], taint: Mapping[str, Any], unreachable_s: float | None) -> float:
    """Return how many seconds more a pod stays with a taint: infinity for ever, 0 when its time is up."""
    limits = [
        _limit_s(one, taint, unreachable_s) for one in pod["spec"].get("tolerations") or () if tolerates(one, taint)
    ]
    if not limits:
        return 0.0
    if min(limits) == _FOR_EVER:
        return _FOR_EVER
    since = parse_time(taint["timeAdded"]) if taint.get("timeAdded") else view.now
    return max(0.0, min(limits) - (view.now - since).total_seconds())


def _limit_s(toleration: Mapping[str, Any], taint: Mapping[str, Any], unreachable_s: float | None) -> float:
    if unreachable_s is not None and taint["key"] == UNREACHABLE and toleration in _BY_DEFAULT:
        return unreachable_s
    return float(toleration.get("tolerationSeconds", _FOR_EVER))
