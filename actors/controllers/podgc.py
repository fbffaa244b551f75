"""Remove pods that nothing will end: bound to a node that is gone, or deleted before they were bound.

Source: kubernetes.io "Pod garbage collection".
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from oarlock.actors.controllers import pods
from oarlock.actors.controllers.actions import Action, Delete, Patch, Requeue
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View, parse_time
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

QUARANTINE_S = 40.0
"""A pod on an unknown node waits so long: its node may be about to register."""


def reconcile(key: str, view: View) -> list[Action]:
    """Return the removal of one pod, if it is due."""
    pod = view.get("pods", key)
    if pod is None:
        return []
    node = pod["spec"].get("nodeName")
    deleted = pod["metadata"].get("deletionTimestamp")
    if not node:
        return [Delete(pod, grace_s=0)] if deleted else []
    if view.get("nodes", node) is not None:
        return []
    left_s = QUARANTINE_S - (view.now - _bound_at(pod)).total_seconds()
    if left_s > 0:
        return [Requeue(left_s)]
    ended = [] if pods.is_ended(pod) else [Patch(pod, {"status": {"phase": "Failed"}}, subresource="status")]
    return [*ended, Delete(pod, grace_s=0)]


def _bound_at(pod: Object) -> datetime:
    for one in (pod.get("status") or {}).get("conditions") or ():
        if one.get("type") == "PodScheduled" and one.get("lastTransitionTime"):
            return parse_time(one["lastTransitionTime"])
    return parse_time(pod["metadata"]["creationTimestamp"])


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    if plural == "nodes":
        gone = old if new is None else None
        return [Due(key_of(pod)) for pod in view.pods_on(gone["metadata"]["name"])] if gone is not None else []
    if new is None:
        return []
    unbound = not new["spec"].get("nodeName")
    stray = not unbound and view.get("nodes", new["spec"]["nodeName"]) is None
    return [Due(key_of(new))] if stray or (unbound and new["metadata"].get("deletionTimestamp")) else []


POD_GC = Controller(
    name="pod_garbage_collector",
    source="pod-garbage-collector",
    reads=("pods", "nodes"),
    keys=_keys,
    reconcile=reconcile,
    workers=4,
)
