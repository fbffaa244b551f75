"""Pods that were named a disruption's target and then not deleted: the mark is taken off after a while.

Source: upstream's disruption.go, syncStalePodDisruption.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oarlock.actors.controllers import conditions, pods
from oarlock.actors.controllers.actions import Action, Patch, Requeue
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View, parse_time
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

STALE_S = 120
_MARK = "DisruptionTarget"


def reconcile(key: str, view: View) -> list[Action]:
    """Take the mark of a disruption from a pod that nobody deleted in time."""
    pod = view.get("pods", key)
    if pod is None or (wait_s := _stale_in_s(pod, view)) is None:
        return []
    if wait_s > 0:
        return [Requeue(wait_s)]
    cleared = {"type": _MARK, "status": "False", "lastTransitionTime": view.stamp}
    held = pod["status"]["conditions"]
    changed = [cleared if one["type"] == _MARK else one for one in held]
    precondition = {"resourceVersion": pod["metadata"]["resourceVersion"], "uid": pod["metadata"]["uid"]}
    return [Patch(pod, {"metadata": precondition, "status": {"conditions": changed}}, subresource="status")]


def _stale_in_s(pod: Object, view: View) -> float | None:
    target = conditions.find((pod.get("status") or {}).get("conditions"), _MARK)
    if target is None or target["status"] != "True" or pod["metadata"].get("deletionTimestamp") or pods.is_ended(pod):
        return None
    if target.get("reason") == "TerminationByKubelet":
        return None  # its node takes as long as it takes
    since = parse_time(target["lastTransitionTime"])
    return max(0.0, STALE_S - (view.now - since).total_seconds())


def _keys(_plural: str, _old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    return [Due(key_of(new))] if new is not None and _stale_in_s(new, view) is not None else []


DISRUPTION_TARGET = Controller(
    name="disruption_target",
    source="controllermanager",
    reads=("pods",),
    keys=_keys,
    reconcile=reconcile,
    workers=1,
)
