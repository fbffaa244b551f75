"""Remove pods that nothing will end: their node is gone or out of service, or they were deleted before they were bound.

Source: kubernetes.io "Pod garbage collection", "Non-graceful node shutdown"; upstream's podgc controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from oarlock.actors.controllers import pods, zones
from oarlock.actors.controllers.actions import Action, Delete, Patch, Requeue
from oarlock.actors.controllers.evictions import target_of_disruption
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.taints import OUT_OF_SERVICE
from oarlock.actors.controllers.view import View, parse_time
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.client.http import STRATEGIC_PATCH

Object = dict[str, Any]

QUARANTINE_S = 40.0
"""A pod on an unknown node waits so long: its node may be about to register."""

ENDED_MAX = 12_500
"""So many pods that have ended are kept for their logs and reasons. Source: --terminated-pod-gc-threshold."""

_REASON = "DeletionByPodGC"


def reconcile(key: str, view: View) -> list[Action]:
    """Return the removal of one pod, if it is due."""
    pod = view.get("pods", key)
    if pod is None:
        return []
    name = pod["spec"].get("nodeName")
    deleted = pod["metadata"].get("deletionTimestamp")
    if not name:
        return _remove(view, pod) if deleted else []
    node = view.get("nodes", name)
    if node is not None:
        return _remove(view, pod) if deleted and _is_out_of_service(node) else []
    left_s = QUARANTINE_S - (view.now - _bound_at(pod)).total_seconds()
    return [Requeue(left_s)] if left_s > 0 else _remove(view, pod, "PodGC: node no longer exists")


def reconcile_ended(_key: str, view: View) -> list[Action]:
    """Return the deletion of the oldest pods that have ended, as far as there are too many."""
    ended = [pod for pod in view.ended_pods() if not pod["metadata"].get("deletionTimestamp")]
    over = len(ended) - ENDED_MAX
    if over <= 0:
        return []
    oldest = sorted(ended, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
    return [Delete(pod, grace_s=0) for pod in oldest[:over]]


def _remove(view: View, pod: Object, why: str = "") -> list[Action]:
    """End a pod that never ended itself, tell why, and take it away."""
    told = [target_of_disruption(view, pod, _REASON, why)] if why and not pods.is_ended(pod) else []
    failed = {"status": {"phase": "Failed"}}
    ended = [] if pods.is_ended(pod) else [Patch(pod, failed, STRATEGIC_PATCH, "status")]
    return [*told, *ended, Delete(pod, grace_s=0)]


def _is_out_of_service(node: Object) -> bool:
    """Whether somebody vouches that a node that isn't ready runs nothing any more."""
    taints = node["spec"].get("taints") or ()
    return not zones.is_ready(node) and any(one["key"] == OUT_OF_SERVICE for one in taints)


def _bound_at(pod: Object) -> datetime:
    for one in (pod.get("status") or {}).get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("lastTransitionTime"):
            return parse_time(one["lastTransitionTime"])
    return parse_time(pod["metadata"]["creationTimestamp"])


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    if plural == "nodes":
        lost = old if new is None else new if _is_out_of_service(new) else None
        return [Due(key_of(pod)) for pod in view.pods_on(lost["metadata"]["name"])] if lost is not None else []
    if new is None:
        return []
    deleted = bool(new["metadata"].get("deletionTimestamp"))
    node = view.get("nodes", new["spec"]["nodeName"]) if new["spec"].get("nodeName") else None
    bound = bool(new["spec"].get("nodeName"))
    stray = bound and (node is None or (deleted and _is_out_of_service(node)))
    return [Due(key_of(new))] if stray or (not bound and deleted) else []


POD_GC = Controller(
    name="pod_garbage_collector",
    source="pod-garbage-collector",
    reads=("pods", "nodes"),
    keys=_keys,
    reconcile=reconcile,
    workers=4,
)
ENDED_PODS = Controller(
    name="pod_garbage_collector_ended",
    source="pod-garbage-collector",
    reads=("pods",),
    keys=lambda *_: (),
    reconcile=reconcile_ended,
    workers=1,
    resync_s=20.0,
    all_keys=lambda _view: ("ended",),
)
