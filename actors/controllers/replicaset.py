"""ReplicaSets and ReplicationControllers: as many pods as asked for.

Source: kubernetes.io "ReplicaSet"; upstream's replica_set.go for names, order and wording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from oarlock.actors.controllers import conditions, pods
from oarlock.actors.controllers.actions import Action, Burst, Create, Delete, RecordEvent, Requeue, UpdateStatus
from oarlock.actors.controllers.loop import Controller
from oarlock.actors.controllers.ownership import STATUS_SETTLE_S, claim, keys_for, selector_of
from oarlock.actors.controllers.view import View, controller_of

Object = dict[str, Any]

BURST_REPLICAS = 500
"""Pods made or deleted in one reconcile at most."""
_COUNTS = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")


def reconcile(key: str, view: View) -> list[Action]:
    """Return what brings a ReplicaSet's pods to its replicas, and its status up to date."""
    return _reconcile(view, "replicasets", key)


def reconcile_controller(key: str, view: View) -> list[Action]:
    """The same for a ReplicationController."""
    return _reconcile(view, "replicationcontrollers", key)


def _reconcile(view: View, plural: str, key: str) -> list[Action]:
    owner = view.get(plural, key)
    if owner is None:
        return []
    found = claim(view, "pods", owner, selector_of(owner), pods.is_active)
    if found.patches:
        # The adopted and released pods come back as changes; counting goes on from there.
        return found.patches
    active = [pod for pod in found.owned if pods.is_active(pod)]
    scaling = [] if owner["metadata"].get("deletionTimestamp") else _scale(view, owner, active)
    # While pods are being made or deleted the counts are about to change: only the status after that is written.
    return scaling or _status(view, owner, active)


def _scale(view: View, owner: Object, active: Sequence[Object]) -> list[Action]:
    missing = owner["spec"].get("replicas", 1) - len(active)
    if missing > 0:
        done = RecordEvent(owner, "SuccessfulCreate", "Created pod: {name}")
        failed = RecordEvent(owner, "FailedCreate", "Error creating: {error}", "Warning")
        template = owner["spec"]["template"]
        made = [pods.from_template(view, template, owner) for _ in range(min(missing, BURST_REPLICAS))]
        return [Burst([Create(pod, done, failed) for pod in made], _refusal(view, owner, active, "FailedCreate"))]
    if missing < 0:
        done = RecordEvent(owner, "SuccessfulDelete", "Deleted pod: {name}")
        failed = RecordEvent(owner, "FailedDelete", "Error deleting: {error}", "Warning")
        chosen = pods.least_wanted(active, _related(view, owner), view.now)[: min(-missing, BURST_REPLICAS)]
        refused = _refusal(view, owner, active, "FailedDelete")
        return [Burst([Delete(pod, done=done, failed=failed) for pod in chosen], refused)]
    return []


def _refusal(
    view: View, owner: Object, active: Sequence[Object], reason: str
) -> Callable[[str], Sequence[UpdateStatus]]:
    """Return what tells in the status why pods couldn't be made or deleted."""

    def refused(message: str) -> Sequence[UpdateStatus]:
        new = _counted(view, owner, active)[0]
        failure = conditions.condition("ReplicaFailure", "True", reason, message, view.stamp)
        new["conditions"] = conditions.put((owner.get("status") or {}).get("conditions"), failure)
        return () if new == owner.get("status") else (UpdateStatus({**owner, "status": new}, stands=True),)

    return refused


def _related(view: View, owner: Object) -> list[Object]:
    """Return the pods of all ReplicaSets with the same controller: those spread together over the nodes."""
    parent = controller_of(owner)
    if parent is None or owner["kind"] != "ReplicaSet":
        return list(view.controlled("pods", owner))
    siblings = view.caches["replicasets"].by_index("controller", parent["uid"])
    return [pod for sibling in siblings for pod in view.controlled("pods", sibling)]


def _status(view: View, owner: Object, active: Sequence[Object]) -> list[Action]:
    """Return the status write that is due, if any, and when the next pod becomes available by age alone."""
    old = owner.get("status") or {}
    new, waits = _counted(view, owner, active)
    if held := conditions.without(old.get("conditions"), "ReplicaFailure"):
        new["conditions"] = held
    actions: list[Action] = []
    if new != old:
        actions.append(UpdateStatus({**owner, "status": new}, stands=True))
    pending = [wait_s for wait_s in waits if wait_s]
    if pending:
        actions.append(Requeue(min(pending)))
    return actions


def _counted(view: View, owner: Object, active: Sequence[Object]) -> tuple[Object, list[float | None]]:
    """Return the status without conditions, and each active pod's seconds until it is available."""
    spec = owner["spec"]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    waits = [pods.available_in_s(pod, spec.get("minReadySeconds", 0), view.now) for pod in active]
    counts = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(1 for pod in active if labels.items() <= pod["metadata"].get("labels", {}).items()),
        "readyReplicas": sum(1 for wait_s in waits if wait_s is not None),
        "availableReplicas": sum(1 for wait_s in waits if wait_s == 0),
    }
    new: Object = {name: count for name, count in counts.items() if count or name not in _COUNTS}
    if owner["kind"] == "ReplicaSet":
        leaving = (pod for pod in view.controlled("pods", owner) if pod["metadata"].get("deletionTimestamp"))
        new["terminatingReplicas"] = sum(1 for pod in leaving if not pods.is_ended(pod))
    new["observedGeneration"] = owner["metadata"].get("generation", 0)
    return new, waits


REPLICASET = Controller(
    name="replicaset",
    source="replicaset-controller",
    reads=("replicasets", "pods"),
    keys=keys_for("ReplicaSet", "replicasets", STATUS_SETTLE_S),
    reconcile=reconcile,
)
REPLICATION_CONTROLLER = Controller(
    name="replicationmanager",
    source="replication-controller",
    reads=("replicationcontrollers", "pods"),
    keys=keys_for("ReplicationController", "replicationcontrollers", STATUS_SETTLE_S),
    reconcile=reconcile_controller,
    workers=2,
)
