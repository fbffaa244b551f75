"""The pods of a Job: which to make, which to stop, and letting go of those that are counted.

Source: upstream's job_controller.go (manageJob) and indexed_job_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from oarlock.actors.controllers import indexes, job_backoff, job_policies, pods
from oarlock.actors.controllers.actions import Action, Burst, Create, Delete, Patch, RecordEvent, Requeue
from oarlock.actors.controllers.job_work import TRACKING, Work, index_of, is_tracked
from oarlock.actors.controllers.view import View

Object = dict[str, Any]

BURST_MAX = 500
"""Pods made or stopped in one reconcile at most."""


def scale(view: View, work: Work) -> list[Action]:
    """Return what brings the active pods to as many as the Job wants now: stops first, starts another time."""
    active = work.active
    wanted = _wanted(work, len(active))
    surplus = _repeated(work, active)
    if len(active) - len(surplus) > wanted:
        chosen = {pod["metadata"]["uid"] for pod in surplus}
        left = [pod for pod in active if pod["metadata"]["uid"] not in chosen]
        surplus += pods.least_wanted(left, (), view.now)[: len(left) - wanted]
    if surplus:
        return stop(work, surplus[:BURST_MAX])
    missing = wanted - len(active)
    if job_policies.replaces_only_failed(work.job):
        missing -= len(work.terminating)
    return _start(view, work, min(missing, BURST_MAX)) if missing > 0 else []


def stop(work: Work, chosen: Sequence[Object]) -> list[Action]:
    """Delete pods that are to be no failures: they are let go before."""
    done = RecordEvent(work.job, "SuccessfulDelete", "Deleted pod: {name}")
    failed = RecordEvent(work.job, "FailedDelete", "Error deleting: {error}", "Warning")
    return [*release(chosen), Burst([Delete(pod, done=done, failed=failed) for pod in chosen])]


def release(owned: Iterable[Object]) -> list[Action]:
    """Take the tracking finalizer from pods."""
    patches = []
    for pod in owned:
        if is_tracked(pod):
            left = [one for one in pod["metadata"]["finalizers"] if one != TRACKING]
            body = {"uid": pod["metadata"]["uid"], "finalizers": left or None}
            patches.append(Patch(pod, {"metadata": {**body, "resourceVersion": pod["metadata"]["resourceVersion"]}}))
    return [Burst(patches)] if patches else []


def _wanted(work: Work, active: int) -> int:
    spec = work.job["spec"]
    parallelism = int(spec.get("parallelism", 1))
    if spec.get("completions") is None:
        return min(active, parallelism) if work.total("succeeded") else parallelism
    return max(0, min(parallelism, int(spec["completions"]) - work.total("succeeded")))


def _repeated(work: Work, active: Iterable[Object]) -> list[Object]:
    """Return the active pods whose index is out of range or has another pod already."""
    if not work.indexed:
        return []
    seen: set[int] = set()
    found = []
    for pod in sorted(active, key=lambda one: (not pods.is_ready(one), one["metadata"]["creationTimestamp"])):
        index = index_of(pod)
        if index is None or index in seen or index >= work.completions:
            found.append(pod)
        else:
            seen.add(index)
    return found


def _start(view: View, work: Work, count: int) -> list[Action]:
    if not work.per_index and (wait_s := job_backoff.wait_s(work.owned, view.now)) > 0:
        return [Requeue(wait_s)]
    job = work.job
    done = RecordEvent(job, "SuccessfulCreate", "Created pod: {name}")
    failed = RecordEvent(job, "FailedCreate", "Error creating: {error}", "Warning")
    if not work.indexed:
        return [Burst([Create(_pod(view, work), done, failed) for _ in range(count)])]
    free = _free(work, count)
    waits = {index: job_backoff.index_wait_s(work.delayed[index], view.now) for index in free if index in work.delayed}
    due = [index for index in free if not waits.get(index)]
    actions: list[Action] = [Burst([Create(_pod(view, work, index), done, failed) for index in due])] if due else []
    later = [wait_s for wait_s in waits.values() if wait_s]
    return [*actions, Requeue(min(later))] if later else actions


def _free(work: Work, count: int) -> list[int]:
    """Return the first indexes that nothing runs for, that haven't succeeded and haven't failed for good."""
    taken = work.succeeded_indexes | work.failed_indexes
    taken |= {index for pod in work.active if (index := index_of(pod)) is not None}
    if job_policies.replaces_only_failed(work.job):
        taken |= {index for pod in work.terminating if (index := index_of(pod)) is not None}
    found = []
    for index in range(work.completions):
        if index not in taken:
            found.append(index)
            if len(found) == count:
                break
    return found


def _pod(view: View, work: Work, index: int | None = None) -> Object:
    job = work.job
    name = job["metadata"]["name"]
    pod = pods.from_template(view, job["spec"]["template"], job, f"{name}-" if index is None else f"{name}-{index}-")
    pod["metadata"]["finalizers"] = [*pod["metadata"].get("finalizers", ()), TRACKING]
    if index is not None:
        mark = {indexes.ANNOTATION: str(index)}
        counts = job_policies.failures_now(job, work.delayed.get(index)) if work.per_index else {}
        pod["metadata"]["annotations"] = {**pod["metadata"].get("annotations", {}), **mark, **counts}
        pod["metadata"]["labels"] = {**pod["metadata"].get("labels", {}), **mark}
        pod["spec"].setdefault("hostname", f"{name}-{index}")
        indexes.tell(pod["spec"])
    return pod
