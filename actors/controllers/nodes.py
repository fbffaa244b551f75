"""Nodes that fell silent: their conditions become Unknown, taints follow, and pods that don't tolerate them go.

A node is silent when its lease in kube-node-lease wasn't renewed for as long as that lease says it lasts. What keeps
this from doing harm: `sight` (we may be the ones who can't hear), `zones` (too many at once), and the order of steps:
all that comes before the eviction is undone as soon as the node is heard again.
Source: kubernetes.io "Nodes"; upstream's node_lifecycle_controller.go; decision 0019.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from oarlock.actors.controllers import conditions
from oarlock.actors.controllers.actions import Action, Patch, RecordEvent, Requeue, Update, UpdateStatus
from oarlock.actors.controllers.evictions import cancelled, evictions
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.sight import Sight
from oarlock.actors.controllers.taints import NOT_READY, UNREACHABLE
from oarlock.actors.controllers.view import View
from oarlock.actors.controllers.zones import disrupted, zone_of
from oarlock.cluster.client.http import STRATEGIC_PATCH

Object = dict[str, Any]

LEASE_NAMESPACE = "kube-node-lease"
_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OURS = {NOT_READY, UNREACHABLE, _UNSCHEDULABLE, *_PRESSURES.values()}
_KNOWN = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_NEVER = ("NodeStatusNeverUpdated", "Kubelet never posted node status.")
_STOPPED = ("NodeStatusUnknown", "Kubelet stopped posting node status.")
_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True)
class Timings:
    """All in seconds.

    `grace_s` is the longest silence, `trust_leases` lets a shorter lease of the node's own count instead,
    `unreachable_s` takes the place of admission's 300 s of toleration (None: it stands), `apart_s` lies between the
    evictions of two nodes of a zone. Source: the defaults of kube-controller-manager are `UPSTREAM`.
    """

    grace_s: float = 50.0
    trust_leases: bool = True
    unreachable_s: float | None = 2.0
    apart_s: float = 1.0


UPSTREAM = Timings(trust_leases=False, unreachable_s=None, apart_s=10.0)
TIMINGS = {"fast": Timings(), "upstream": UPSTREAM}


@dataclass
class Lifecycle:
    """Judges nodes by what was heard of them."""

    timings: Timings = field(default_factory=Timings)
    sight: Sight = field(default_factory=Sight)
    _driven: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def reconcile(self, key: str, view: View) -> list[Action]:
        """Return what a node's state asks for: its conditions, its taints, its pods."""
        node = view.get("nodes", key)
        if node is None:
            self.sight.forget(key)
            return []
        left_s = self._left_s(key, view)
        if left_s <= 0:
            silenced = _silenced(view, node)
            if silenced is not None:
                told = RecordEvent(node, "NodeNotReady", f"Node {key} status is now: NodeNotReady")
                return [UpdateStatus(silenced, done=told)]
        status = _ready_status(node)
        actions: list[Action] = [*_unready_pods(view, node)]
        taints, again_s = self._taints(view, node, status)
        old = node["spec"].get("taints") or []
        if taints != old:
            actions.append(Update({**node, "spec": {**node["spec"], "taints": taints}}))
            actions += cancelled(view, node, old, taints)
        actions += evictions(view, node, taints, self.timings.unreachable_s)
        waits = [one for one in (left_s, again_s) if one > 0]
        return [*actions, Requeue(min(waits))] if waits else actions

    def keys(self, plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
        """Note signs of life, and return the nodes to look at; a renewal alone needs no look."""
        present = new if new is not None else old
        assert present is not None
        name = present["metadata"]["name"]
        if plural == "nodes":
            if new is not None and (old is None or _heartbeat(old) != _heartbeat(new)):
                self.sight.heard(name, view.now, self._lease_s(name, view))
            return [Due(name)]
        if plural == "leases":
            if new is not None and new["metadata"].get("namespace") == LEASE_NAMESPACE:
                self.sight.heard(name, view.now, self._lease_s(name, view))
                node = view.get("nodes", name)
                return [Due(name)] if node is not None and _ready_status(node) == "Unknown" else []
            return []
        was, now = ((one or {}).get("spec", {}).get("nodeName") for one in (old, new))
        return [Due(now)] if now and now != was else []

    def _lease_s(self, name: str, view: View) -> float:
        """How long a node may be silent by its own lease; that of a kubelet lasts 40 s."""
        lease = view.get("leases", f"{LEASE_NAMESPACE}/{name}")
        said = float(((lease or {}).get("spec") or {}).get("leaseDurationSeconds") or self.timings.grace_s)
        return min(said, self.timings.grace_s) if self.timings.trust_leases else self.timings.grace_s

    def _left_s(self, name: str, view: View) -> float:
        """Return the seconds until a node counts as silent; with nobody to be heard the long grace counts."""
        silence_s = self.sight.silence_s(name, view.now)
        left_s = self._lease_s(name, view) - silence_s
        if left_s <= 0 and self.sight.is_blind(view.now) and silence_s < self.timings.grace_s:
            return _LOOK_AGAIN_S
        return left_s

    def _taints(self, view: View, node: Object, status: str) -> tuple[list[Object], float]:
        """Return the node's taints with ours as its conditions ask for, and when to look again (0: no need).

        Their order and times are kept. What drives pods away waits its turn, and goes in a disrupted zone.
        """
        held = (node.get("status") or {}).get("conditions") or ()
        old = node["spec"].get("taints") or []
        wanted: list[tuple[str, str]] = []
        again_s = 0.0
        if status != "True":
            key = UNREACHABLE if status == "Unknown" else NOT_READY
            wanted.append((key, "NoSchedule"))
            driving = (key, "NoExecute")
            again_s = self._waits_s(view, node, already=driving in {(one["key"], one["effect"]) for one in old})
            if again_s == 0:
                wanted.append(driving)
            again_s = again_s or _LOOK_AGAIN_S
        wanted += [(taint, "NoSchedule") for kind, taint in _PRESSURES.items() if conditions.is_true(held, kind)]
        if node["spec"].get("unschedulable"):
            wanted.append((_UNSCHEDULABLE, "NoSchedule"))
        kept = [one for one in old if one["key"] not in _OURS or (one["key"], one["effect"]) in wanted]
        present = {(one["key"], one["effect"]) for one in kept}
        return [*kept, *(_taint(view, *pair) for pair in wanted if pair not in present)], again_s

    def _waits_s(self, view: View, node: Object, *, already: bool) -> float:
        """Return the seconds after which to ask again whether a lost node's pods may be driven away; 0: they may."""
        zone = zone_of(node)
        if zone in disrupted(view.list("nodes")):
            return _LOOK_AGAIN_S
        last = self._driven.get(zone)
        if already:
            return 0.0
        if last is not None and (view.now - last).total_seconds() < self.timings.apart_s:
            return self.timings.apart_s
        self._driven[zone] = view.now
        return 0.0


def _ready_status(node: Object) -> str:
    ready = conditions.find((node.get("status") or {}).get("conditions"), "Ready")
    return str(ready["status"]) if ready is not None else "False"


def _heartbeat(node: Object) -> str | None:
    ready = conditions.find((node.get("status") or {}).get("conditions"), "Ready")
    return ready.get("lastHeartbeatTime") if ready is not None else None


def _silenced(view: View, node: Object) -> Object | None:
    """Return the node with its conditions Unknown, or None if they are already."""
    status = node.get("status") or {}
    held = list(status.get("conditions") or [])
    changed = [_unknown(view, one) if one["type"] in _KNOWN else one for one in held]
    there = {one["type"] for one in held}
    never = {"lastHeartbeatTime": node["metadata"].get("creationTimestamp")}
    changed += [_unknown(view, {"type": kind, **never}, *_NEVER) for kind in _KNOWN if kind not in there]
    return {**node, "status": {**status, "conditions": changed}} if changed != held else None


def _unknown(view: View, held: Object, reason: str = _STOPPED[0], message: str = _STOPPED[1]) -> Object:
    if held.get("status") == "Unknown":
        return held
    said = {"status": "Unknown", "reason": reason, "message": message, "lastTransitionTime": view.stamp}
    return {**held, **said}


def _unready_pods(view: View, node: Object) -> Iterable[Action]:
    """Take the pods that were ready when their node was lost out of their Services."""
    ready = conditions.find((node.get("status") or {}).get("conditions"), "Ready")
    if ready is None or ready["status"] == "True" or ready.get("reason") == _NEVER[0]:
        return
    lost_at = ready.get("lastTransitionTime") or ""
    for pod in view.pods_on(node["metadata"]["name"]):
        held = conditions.find((pod.get("status") or {}).get("conditions"), "Ready")
        if held is not None and held["status"] == "True" and (held.get("lastTransitionTime") or "") <= lost_at:
            change = {"type": "Ready", "status": "False", "lastTransitionTime": view.stamp}
            done = RecordEvent(pod, "NodeNotReady", "Node is not ready", "Warning")
            yield Patch(pod, {"status": {"conditions": [change]}}, STRATEGIC_PATCH, "status", done)


def _taint(view: View, key: str, effect: str) -> Object:
    return {"key": key, "effect": effect, "timeAdded": view.stamp}


def node_lifecycle(timings: Timings) -> Controller:
    """Return the controller, with its timings."""
    lifecycle = Lifecycle(timings)
    return Controller(
        name="node_lifecycle_controller",
        source="node-controller",
        reads=("nodes", "leases", "pods"),
        keys=lifecycle.keys,
        reconcile=lifecycle.reconcile,
        workers=4,
    )
