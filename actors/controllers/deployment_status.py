"""What a Deployment says of itself: counts, Available, Progressing, ReplicaFailure.

Source: upstream's deployment/progress.go and sync.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from oarlock.actors.controllers import conditions
from oarlock.actors.controllers.actions import Action, Requeue, UpdateStatus
from oarlock.actors.controllers.revisions import REVISION
from oarlock.actors.controllers.rollout import Bounds
from oarlock.actors.controllers.view import View, parse_time

Object = dict[str, Any]
Conditions = list[Object]

NO_DEADLINE_S = 2**31 - 1
_APART_S = 0.005
"""Between two writes of one status: the first retry of upstream's queue, whose second write meets the first."""
_PAUSED = "DeploymentPaused"
_RESUMED = "DeploymentResumed"
_TIMED_OUT = "ProgressDeadlineExceeded"
_DONE = "NewReplicaSetAvailable"


def write(
    view: View,
    deployment: Object,
    sets: Sequence[Object],
    new_set: Object | None,
    limit: Bounds,
    *,
    tracked: bool,
    created: bool = False,
    revision: int = 0,
) -> list[Action]:
    """Return the write of annotation and status that is due, if any, and a look at the progress deadline.

    `tracked` judges progress (not while paused or only scaling); `created` tells that `new_set` is made just now.
    """
    old = deployment.get("status") or {}
    told = list(old.get("conditions") or [])
    held = _paused(view, deployment, told)
    if held != told:
        # That it pauses or goes on is told at once, and the rest when that has been seen, as upstream does.
        return [UpdateStatus({**deployment, "status": {**old, "conditions": held}}, stands=True), Requeue(_APART_S)]
    before = conditions.find(held, "Progressing")
    if _has_deadline(deployment) and new_set is not None and (created or before is None) and tracked:
        name = new_set["metadata"]["name"]
        ours = created or (not old.get("conditions") and not _is_older(new_set, deployment))
        reason, words = ("NewReplicaSetCreated", "Created") if ours else ("FoundNewReplicaSet", "Found")
        message = f'{words} new replica set "{name}"'
        held = conditions.put(held, _progressing(view, "True", reason, message))
    new = _counts(deployment, sets, new_set)
    held = conditions.put(held, _available(view, new, limit))
    if tracked:
        held = _judged(view, deployment, new, new_set, held)
    held = _failures(sets, held)
    new["conditions"] = held
    annotations = deployment["metadata"].get("annotations") or {}
    if revision and annotations.get(REVISION) != str(revision):
        annotations = {**annotations, REVISION: str(revision)}
    actions: list[Action] = []
    same = annotations == (deployment["metadata"].get("annotations") or {})
    if new != old or not same:
        metadata = {**deployment["metadata"], "annotations": annotations}
        actions.append(UpdateStatus({**deployment, "metadata": metadata, "status": new}, stands=same))
    if tracked and (wait_s := _deadline_in_s(view, deployment, new)) is not None:
        actions.append(Requeue(wait_s))
    return actions


def _is_older(replica_set: Object, deployment: Object) -> bool:
    """Whether a ReplicaSet was there before the Deployment, which then adopted it."""
    return bool(replica_set["metadata"]["creationTimestamp"] < deployment["metadata"]["creationTimestamp"])


def collided(deployment: Object) -> UpdateStatus:
    """Return the write that makes the next template hash another one."""
    old = deployment.get("status") or {}
    return UpdateStatus({**deployment, "status": {**old, "collisionCount": old.get("collisionCount", 0) + 1}})


def is_complete(deployment: Object, status: Object) -> bool:
    """Whether all pods are of the new template and available, and no others are left."""
    replicas = deployment["spec"].get("replicas", 1)
    counts = ("updatedReplicas", "replicas", "availableReplicas")
    seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    return seen and all(status.get(name, 0) == replicas for name in counts)


def _counts(deployment: Object, sets: Iterable[Object], new_set: Object | None) -> Object:
    def total(name: str) -> int:
        return sum((one.get("status") or {}).get(name, 0) for one in sets)

    sets = list(sets)
    asked = sum(one["spec"].get("replicas", 1) for one in sets)
    counts = {
        "replicas": total("replicas"),
        "updatedReplicas": ((new_set or {}).get("status") or {}).get("replicas", 0),
        "readyReplicas": total("readyReplicas"),
        "availableReplicas": total("availableReplicas"),
        "unavailableReplicas": max(0, asked - total("availableReplicas")),
    }
    new: Object = {name: count for name, count in counts.items() if count}
    new["observedGeneration"] = deployment["metadata"].get("generation", 0)
    if all("terminatingReplicas" in (one.get("status") or {}) for one in sets):
        new["terminatingReplicas"] = total("terminatingReplicas")
    if "collisionCount" in (deployment.get("status") or {}):
        new["collisionCount"] = deployment["status"]["collisionCount"]
    return new


def _available(view: View, new: Object, limit: Bounds) -> Object:
    if new.get("availableReplicas", 0) >= limit.least_available:
        return _dated(view, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    message = "Deployment does not have minimum availability."
    return _dated(view, "Available", "False", "MinimumReplicasUnavailable", message)


def _judged(view: View, deployment: Object, new: Object, new_set: Object | None, held: Conditions) -> Conditions:
    """Return the conditions with Progressing as it is now."""
    if not _has_deadline(deployment):
        return conditions.without(held, "Progressing")
    before = conditions.find((deployment.get("status") or {}).get("conditions"), "Progressing")
    settled = before is not None and before.get("reason") == _DONE
    if settled and new.get("replicas", 0) == new.get("updatedReplicas", 0):
        return held
    who = f'ReplicaSet "{new_set["metadata"]["name"]}"' if new_set else f'Deployment "{deployment["metadata"]["name"]}"'
    if is_complete(deployment, new):
        return conditions.put(held, _progressing(view, "True", _DONE, f"{who} has successfully progressed."))
    if _moved(deployment.get("status") or {}, new):
        made = _progressing(view, "True", "ReplicaSetUpdated", f"{who} is progressing.")
        if before is not None and before["status"] == "True":
            made["lastTransitionTime"] = before["lastTransitionTime"]
        return [*conditions.without(held, "Progressing"), made]
    if _timed_out(view, deployment, held):
        return conditions.put(held, _progressing(view, "False", _TIMED_OUT, f"{who} has timed out progressing."))
    return held


def _moved(old: Object, new: Object) -> bool:
    """Whether more is new, less is old, or more is ready than before."""

    def old_pods(status: Object) -> int:
        return int(status.get("replicas", 0) - status.get("updatedReplicas", 0))

    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return old_pods(new) < old_pods(old) or any(new.get(name, 0) > old.get(name, 0) for name in grown)


def _timed_out(view: View, deployment: Object, held: Conditions) -> bool:
    found = conditions.find(held, "Progressing")
    if found is None or found.get("reason") == _DONE:
        return False
    if found.get("reason") == _TIMED_OUT:
        return True
    deadline = timedelta(seconds=deployment["spec"]["progressDeadlineSeconds"])
    return parse_time(found["lastUpdateTime"]) + deadline < view.now


def _deadline_in_s(view: View, deployment: Object, new: Object) -> float | None:
    """Return the seconds until the rollout will have timed out, None when that can't happen."""
    found = conditions.find(new["conditions"], "Progressing")
    if not _has_deadline(deployment) or found is None or found.get("reason") in (_DONE, _TIMED_OUT):
        return None
    if is_complete(deployment, new) or not found.get("lastUpdateTime"):
        return None
    left = parse_time(found["lastUpdateTime"]) - view.now
    return max(1.0, left.total_seconds() + float(deployment["spec"]["progressDeadlineSeconds"]) + 1)


def _paused(view: View, deployment: Object, held: Conditions) -> Conditions:
    if not _has_deadline(deployment):
        return held
    found = conditions.find(held, "Progressing")
    if found is not None and found.get("reason") == _TIMED_OUT:
        return held
    was, is_now = found is not None and found.get("reason") == _PAUSED, bool(deployment["spec"].get("paused"))
    if is_now and not was:
        return conditions.put(held, _progressing(view, "Unknown", _PAUSED, "Deployment is paused"))
    if was and not is_now:
        return conditions.put(held, _progressing(view, "Unknown", _RESUMED, "Deployment is resumed"))
    return held


def _failures(sets: Iterable[Object], held: Conditions) -> Conditions:
    for one in sets:
        found = conditions.find((one.get("status") or {}).get("conditions"), "ReplicaFailure")
        if found is not None:
            moved = {**found, "lastUpdateTime": found.get("lastTransitionTime")}
            return conditions.put(held, moved)
    return conditions.without(held, "ReplicaFailure")


def _has_deadline(deployment: Object) -> bool:
    return int(deployment["spec"].get("progressDeadlineSeconds", NO_DEADLINE_S)) != NO_DEADLINE_S


def _progressing(view: View, status: str, reason: str, message: str) -> Object:
    return _dated(view, "Progressing", status, reason, message)


def _dated(view: View, kind: str, status: str, reason: str, message: str) -> Object:
    return conditions.condition(kind, status, reason, message, view.stamp, lastUpdateTime=view.stamp)
