"""Nodes that fell silent: Ready becomes Unknown, taints follow, and pods that don't tolerate them go.

A node is silent when its lease in kube-node-lease wasn't renewed for the grace period. The age of a renewal is
counted from when we saw it, not from what the node's clock says, so that neither a wrong clock nor our own absence
condemns a node. Source: kubernetes.io "Nodes", "Taints and Tolerations"; upstream's node_lifecycle_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from oarlock.actors.controllers import conditions
from oarlock.actors.controllers.actions import Action, Delete, Patch, RecordEvent, Requeue, Update, UpdateStatus
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.taints import tolerates
from oarlock.actors.controllers.view import View, parse_time

Object = dict[str, Any]

LEASE_NAMESPACE = "kube-node-lease"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OURS = {NOT_READY, UNREACHABLE, _UNSCHEDULABLE, *_PRESSURES.values()}
_KNOWN = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass
class Lifecycle:
    """Judges nodes: `grace_s` is the longest silence, `seen` each node's last sign of life."""

    grace_s: float = 40.0
    seen: dict[str, datetime] = field(default_factory=dict)

    def reconcile(self, key: str, view: View) -> list[Action]:
        """Return what a node's state asks for: its conditions, its taints, its pods."""
        node = view.get("nodes", key)
        if node is None:
            self.seen.pop(key, None)
            return []
        left_s = self._left_s(key, view)
        if left_s <= 0:
            silenced = _silenced(view, node)
            if silenced is not None:
                return [UpdateStatus(silenced), *_unready_pods(view, node)]
        actions: list[Action] = [Requeue(left_s)] if left_s > 0 else []
        taints = _taints(view, node)
        if taints != (node["spec"].get("taints") or []):
            actions.append(Update({**node, "spec": {**node["spec"], "taints": taints}}))
        return [*actions, *evictions(view, node, taints)]

    def keys(self, plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
        """Note signs of life, and return the nodes to look at; a renewal alone needs no look."""
        present = new if new is not None else old
        assert present is not None
        name = present["metadata"]["name"]
        if plural == "nodes":
            if old is None or _heartbeat(old) != _heartbeat(present):
                self.seen[name] = view.now
            return [Due(name)]
        if plural == "leases":
            if new is not None and new["metadata"].get("namespace") == LEASE_NAMESPACE:
                self.seen[name] = view.now
                ready = conditions.find(
                    ((view.get("nodes", name) or {}).get("status") or {}).get("conditions"), "Ready"
                )
                return [Due(name)] if ready is not None and ready["status"] == "Unknown" else []
            return []
        was, now = ((one or {}).get("spec", {}).get("nodeName") for one in (old, new))
        return [Due(now)] if now and now != was else []

    def _left_s(self, key: str, view: View) -> float:
        return self.grace_s - (view.now - self.seen.setdefault(key, view.now)).total_seconds()


def _heartbeat(node: Object) -> str | None:
    ready = conditions.find((node.get("status") or {}).get("conditions"), "Ready")
    return ready.get("lastHeartbeatTime") if ready is not None else None


def _silenced(view: View, node: Object) -> Object | None:
    """Return the node with its conditions Unknown, or None if they are already."""
    status = node.get("status") or {}
    held = list(status.get("conditions") or [])
    ready = conditions.find(held, "Ready")
    if ready is None or ready["status"] == "Unknown":
        return None
    changed = [
        {
            **one,
            "status": "Unknown",
            "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.",
            "lastTransitionTime": view.stamp,
        }
        if one["type"] in _KNOWN and one["status"] != "Unknown"
        else one
        for one in held
    ]
    return {**node, "status": {**status, "conditions": changed}}


def _unready_pods(view: View, node: Object) -> Iterable[Action]:
    """Take the pods of a silent node out of their Services."""
    name = node["metadata"]["name"]
    for pod in view.pods_on(name):
        if conditions.is_true((pod.get("status") or {}).get("conditions"), "Ready"):
            change = {"type": "Ready", "status": "False", "lastTransitionTime": view.stamp}
            done = RecordEvent(pod, "NodeNotReady", "Node is not ready", "Warning")
            patch = {"status": {"conditions": [change]}}
            yield Patch(pod, patch, "application/strategic-merge-patch+json", "status", done)


def _taints(view: View, node: Object) -> list[Object]:
    """Return the node's taints with ours as its conditions ask for, in their order, times kept."""
    held = (node.get("status") or {}).get("conditions") or ()
    ready = conditions.find(held, "Ready")
    wanted: list[tuple[str, str]] = []
    status = ready["status"] if ready is not None else "False"
    if status != "True":
        key = UNREACHABLE if status == "Unknown" else NOT_READY
        wanted += [(key, "NoSchedule"), (key, "NoExecute")]
    wanted += [(taint, "NoSchedule") for kind, taint in _PRESSURES.items() if conditions.is_true(held, kind)]
    if node["spec"].get("unschedulable"):
        wanted.append((_UNSCHEDULABLE, "NoSchedule"))
    old = node["spec"].get("taints") or []
    kept = [one for one in old if one["key"] not in _OURS or (one["key"], one["effect"]) in wanted]
    present = {(one["key"], one["effect"]) for one in kept}
    return [*kept, *(_taint(view, *pair) for pair in wanted if pair not in present)]


def _taint(view: View, key: str, effect: str) -> Object:
    made = {"key": key, "effect": effect}
    return {**made, "timeAdded": view.stamp} if effect == "NoExecute" else made


def evictions(view: View, node: Object, taints: Iterable[Mapping[str, Any]]) -> list[Action]:
    """Return the deletions of pods that tolerate the node's NoExecute taints no longer, and when the next is due."""
    taints = [one for one in taints if one["effect"] == "NoExecute"]
    if not taints:
        return []
    actions: list[Action] = []
    waits: list[float] = []
    for pod in view.pods_on(node["metadata"]["name"]):
        if pod["metadata"].get("deletionTimestamp"):
            continue
        left_s = min((_tolerated_s(view, pod, taint) for taint in taints), default=float("inf"))
        if left_s <= 0:
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            done = RecordEvent(pod, "TaintManagerEviction", f"Marking for deletion Pod {name}")
            actions.append(Delete(pod, done=done))
        elif left_s != float("inf"):
            waits.append(left_s)
    return [*actions, Requeue(min(waits))] if waits else actions


def _tolerated_s(view: View, pod: Object, taint: Mapping[str, Any]) -> float:
    """Return how many seconds more a pod stays with a taint: infinity for ever, 0 when its time is up."""
    limits = [
        float(one.get("tolerationSeconds", "inf"))
        for one in pod["spec"].get("tolerations") or ()
        if tolerates(one, taint)
    ]
    if not limits:
        return 0.0
    if min(limits) == float("inf"):
        return float("inf")
    since = parse_time(taint["timeAdded"]) if taint.get("timeAdded") else view.now
    return max(0.0, min(limits) - (view.now - since).total_seconds())


def node_lifecycle(grace_s: float) -> Controller:
    """Return the controller, with the silence after which a node counts as unknown."""
    lifecycle = Lifecycle(grace_s)
    return Controller(
        name="node_lifecycle_controller",
        source="node-controller",
        reads=("nodes", "leases", "pods"),
        keys=lifecycle.keys,
        reconcile=lifecycle.reconcile,
        workers=4,
    )
