"""Finished Jobs go when their time to live is over, with all that they own.

Source: kubernetes.io "Automatic Cleanup for Finished Jobs"; upstream's ttlafterfinished_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oarlock.actors.controllers.actions import Action, Delete, Requeue
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View, parse_time
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]


def reconcile(key: str, view: View) -> list[Action]:
    """Return the deletion of a Job whose time is over, or a look at it when that will be."""
    job = view.get("jobs", key)
    ended = _ended(job) if job is not None and not job["metadata"].get("deletionTimestamp") else None
    if job is None or ended is None:
        return []
    left_s = job["spec"]["ttlSecondsAfterFinished"] - (view.now - parse_time(ended)).total_seconds()
    return [Delete(job, propagation="Foreground") if left_s <= 0 else Requeue(left_s)]


def _ended(job: Object) -> str | None:
    """Return when a Job that is to be cleaned up ended."""
    if job["spec"].get("ttlSecondsAfterFinished") is None:
        return None
    held = (job.get("status") or {}).get("conditions") or ()
    ends = [one for one in held if one["type"] in ("Complete", "Failed") and one["status"] == "True"]
    return str(ends[0]["lastTransitionTime"]) if ends else None


def _keys(_plural: str, _old: Object | None, new: Object | None, _view: View) -> Iterable[Due]:
    return [Due(key_of(new))] if new is not None and _ended(new) is not None else []


TTL_AFTER_FINISHED = Controller(
    name="ttl_after_finished",
    source="ttl-after-finished-controller",
    reads=("jobs",),
    keys=_keys,
    reconcile=reconcile,
    workers=2,
)
