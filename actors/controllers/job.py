"""Jobs: pods that run to completion, each counted exactly once.

A finished pod keeps the tracking finalizer until its uid stands in `status.uncountedTerminatedPods`; it is added to
the counts only once the finalizer is gone. So no crash between the steps loses or doubles a count.
Source: kubernetes.io "Jobs", KEP-2307; upstream's job_controller.go for names and wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from oarlock.actors.controllers import conditions, indexes, pods
from oarlock.actors.controllers.actions import (
    Action,
    Burst,
    Create,
    Delete,
    Patch,
    RecordEvent,
    Requeue,
    UpdateStatus,
)
from oarlock.actors.controllers.loop import Controller
from oarlock.actors.controllers.ownership import claim, keys_for, selector_of
from oarlock.actors.controllers.view import View, controller_of, parse_time

Object = dict[str, Any]

TRACKING = "batch.kubernetes.io/job-tracking"
BACKOFF_S = 10.0
BACKOFF_MAX_S = 600.0
STATUS_SETTLE_S = 0.05
_BURST_MAX = 500


@dataclass
class Work:
    """One reconcile's picture of a job. `status` is the new status in the making."""

    job: Object
    owned: list[Object]
    status: Object
    actions: list[Action]

    @property
    def indexed(self) -> bool:
        """Whether every completion has an index of its own."""
        return bool(self.job["spec"].get("completionMode") == "Indexed")

    @property
    def active(self) -> list[Object]:
        """The pods that run or will."""
        return [pod for pod in self.owned if pods.is_active(pod)]

    def uncounted(self, outcome: str) -> list[str]:
        """The uids of pods that `succeeded` or `failed` but aren't in the counts yet."""
        found: list[str] = self.status["uncountedTerminatedPods"].get(outcome) or []
        return found

    def total(self, outcome: str) -> int:
        """How many pods `succeeded` or `failed`, counted or not."""
        return int(self.status.get(outcome, 0)) + len(self.uncounted(outcome))


def reconcile(key: str, view: View) -> list[Action]:
    """Return what brings a job one step further."""
    job = view.get("jobs", key)
    if job is None:
        return _let_go(key, view)
    if _finished(job):
        return _after(job, view)
    found = claim(view, "pods", job, selector_of(job), pods.is_active)
    if found.patches:
        return found.patches
    old = job.get("status") or {}
    work = Work(
        job, found.owned, {**old, "uncountedTerminatedPods": dict(old.get("uncountedTerminatedPods") or {})}, []
    )
    if job["metadata"].get("deletionTimestamp"):
        return _release(found.owned)
    _count(work)
    verdict = _verdict(view, work)
    scaling = _conclude(view, work, *verdict) if verdict else _run(view, work)
    _tally(work)
    writes: list[Action] = []
    if work.status != old:
        writes.append(UpdateStatus({**job, "status": work.status}))
    releases = _release(pod for pod in found.owned if pod["metadata"]["uid"] in _all_uncounted(work))
    return [*writes, *work.actions, *releases, *scaling]


def _count(work: Work) -> None:
    """Move finished pods one step on: first into the uncounted, then, once let go, into the counts."""
    held = {pod["metadata"]["uid"] for pod in work.owned if _tracked(pod)}
    for outcome in ("succeeded", "failed"):
        waiting = work.uncounted(outcome)
        counted = [uid for uid in waiting if uid not in held]
        if counted:
            work.status[outcome] = work.status.get(outcome, 0) + len(counted)
        still = [uid for uid in waiting if uid in held]
        fresh = [
            pod["metadata"]["uid"]
            for pod in work.owned
            if _tracked(pod) and _outcome(pod) == outcome and pod["metadata"]["uid"] not in still
        ]
        work.status["uncountedTerminatedPods"].pop(outcome, None)
        if still or fresh:
            work.status["uncountedTerminatedPods"][outcome] = [*still, *fresh]
    if work.indexed:
        done = indexes.parse(work.status.get("completedIndexes", ""))
        done |= {index for pod in work.owned if pods.phase(pod) == "Succeeded" and (index := _index(pod)) is not None}
        fresh_indexed = indexes.text(one for one in done if one < work.job["spec"]["completions"])
        if fresh_indexed:
            work.status["completedIndexes"] = fresh_indexed


def _outcome(pod: Object) -> str | None:
    """A pod that is deleted before it ended counts as failed: it may never get to say so."""
    if pods.phase(pod) == "Succeeded":
        return "succeeded"
    if pods.phase(pod) == "Failed" or pod["metadata"].get("deletionTimestamp"):
        return "failed"
    return None


def _verdict(view: View, work: Work) -> tuple[str, str, str] | None:
    """Return (condition, reason, message) when the job is over but for its end, None while it goes on."""
    for kind in ("FailureTarget", "SuccessCriteriaMet"):
        held = conditions.find(work.status.get("conditions"), kind)
        if held is not None and held["status"] == "True":
            return kind, held.get("reason", ""), held.get("message", "")
    spec = work.job["spec"]
    limit = spec.get("backoffLimit", 6)
    if work.total("failed") > limit or _restarts_exceed(work, limit):
        return "FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    deadline = spec.get("activeDeadlineSeconds")
    started = work.status.get("startTime")
    if deadline is not None and started and not spec.get("suspend"):
        left_s = (parse_time(started) + timedelta(seconds=deadline) - view.now).total_seconds()
        if left_s <= 0:
            return "FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline"
        work.actions.append(Requeue(left_s))
    completions = spec.get("completions")
    done = work.total("succeeded") >= completions if completions is not None else _any_done(work)
    if work.indexed and completions is not None:
        done = len(indexes.parse(work.status.get("completedIndexes", ""))) >= completions
    if done:
        return "SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods"
    return None


def _any_done(work: Work) -> bool:
    """A work queue's job is done when one pod succeeded and the others have ended."""
    return work.total("succeeded") > 0 and not work.active


def _restarts_exceed(work: Work, limit: int) -> bool:
    if work.job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    restarts: int = sum(
        status.get("restartCount", 0)
        for pod in work.active
        for status in (pod.get("status") or {}).get("containerStatuses") or ()
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def _conclude(view: View, work: Work, kind: str, reason: str, message: str) -> list[Action]:
    """End the job: say why, delete what runs, and when all is counted set Complete or Failed."""
    made = conditions.condition(kind, "True", reason, message, view.stamp, lastProbeTime=view.stamp)
    work.status["conditions"] = conditions.put(work.status.get("conditions"), made)
    running = [pod for pod in work.owned if not pods.is_ended(pod)]
    if running or _all_uncounted(work):
        done = RecordEvent(work.job, "SuccessfulDelete", "Deleted pod: {name}")
        return [Burst([Delete(pod, done=done) for pod in running if not pod["metadata"].get("deletionTimestamp")])]
    final = "Failed" if kind == "FailureTarget" else "Complete"
    made = conditions.condition(final, "True", reason, message, view.stamp, lastProbeTime=view.stamp)
    work.status["conditions"] = conditions.put(work.status["conditions"], made)
    if final == "Complete":
        work.status["completionTime"] = view.stamp
        return [RecordEvent(work.job, "Completed", "Job completed")]
    return [RecordEvent(work.job, reason, message, "Warning")]


def _run(view: View, work: Work) -> list[Action]:
    """Keep as many pods running as the job asks for."""
    spec = work.job["spec"]
    suspended = conditions.is_true(work.status.get("conditions"), "Suspended")
    if spec.get("suspend"):
        if not suspended:
            _mark(view, work, "True", "JobSuspended", "Job suspended")
            work.actions.append(RecordEvent(work.job, "Suspended", "Job suspended"))
        work.status.pop("startTime", None)
        return _stop(work, work.active)
    if conditions.find(work.status.get("conditions"), "Suspended") is not None and suspended:
        _mark(view, work, "False", "JobResumed", "Job resumed")
        work.actions.append(RecordEvent(work.job, "Resumed", "Job resumed"))
    work.status.setdefault("startTime", view.stamp)
    active = work.active
    wanted = _wanted(work, len(active))
    if len(active) > wanted:
        return _stop(work, pods.least_wanted(active, active, view.now)[: len(active) - wanted])
    if len(active) < wanted:
        return _start(view, work, min(wanted - len(active), _BURST_MAX))
    return []


def _mark(view: View, work: Work, status: str, reason: str, message: str) -> None:
    made = conditions.condition("Suspended", status, reason, message, view.stamp, lastProbeTime=view.stamp)
    held = work.status.get("conditions") or []
    work.status["conditions"] = (
        [made if one["type"] == "Suspended" else one for one in held]
        if conditions.find(held, "Suspended")
        else [*held, made]
    )


def _wanted(work: Work, active: int) -> int:
    spec = work.job["spec"]
    parallelism = int(spec.get("parallelism", 1))
    if spec.get("completions") is None:
        return min(active, parallelism) if work.total("succeeded") else parallelism
    return max(0, min(parallelism, int(spec["completions"]) - work.total("succeeded")))


def _start(view: View, work: Work, count: int) -> list[Action]:
    wait_s = _backoff_s(view, work)
    if wait_s > 0:
        return [Requeue(wait_s)]
    job = work.job
    done = RecordEvent(job, "SuccessfulCreate", "Created pod: {name}")
    failed = RecordEvent(job, "FailedCreate", "Error creating: {error}", "Warning")
    if not work.indexed:
        return [Burst([Create(_pod(view, job), done, failed) for _ in range(count)])]
    taken = indexes.parse(work.status.get("completedIndexes", ""))
    taken |= {index for pod in work.active if (index := _index(pod)) is not None}
    free = [index for index in range(job["spec"]["completions"]) if index not in taken][:count]
    return [Burst([Create(_pod(view, job, index), done, failed) for index in free])]


def _pod(view: View, job: Object, index: int | None = None) -> Object:
    name = job["metadata"]["name"]
    pod = pods.from_template(view, job["spec"]["template"], job, f"{name}-" if index is None else f"{name}-{index}-")
    pod["metadata"]["finalizers"] = [*pod["metadata"].get("finalizers", ()), TRACKING]
    if index is not None:
        mark = {indexes.ANNOTATION: str(index)}
        pod["metadata"]["annotations"] = {**pod["metadata"].get("annotations", {}), **mark}
        pod["metadata"]["labels"] = {**pod["metadata"].get("labels", {}), **mark}
        pod["spec"].setdefault("hostname", f"{name}-{index}")
        indexes.tell(pod["spec"])
    return pod


def _backoff_s(view: View, work: Work) -> float:
    """Return how long to wait for the next pod after failures: 10 s, doubled for each, from the last one's end."""
    failures = [pod for pod in work.owned if pods.phase(pod) == "Failed"]
    if not failures or not work.total("failed"):
        return 0.0
    last = max(_ended_at(pod) for pod in failures)
    if any(pods.phase(pod) == "Succeeded" and _ended_at(pod) > last for pod in work.owned):
        return 0.0
    delay_s = min(BACKOFF_S * 2 ** min(work.total("failed") - 1, 10), BACKOFF_MAX_S)
    return float(max(0.0, delay_s - (view.now - parse_time(last)).total_seconds()))


def _ended_at(pod: Object) -> str:
    ends = [
        (status.get("state") or {}).get("terminated", {}).get("finishedAt")
        for status in (pod.get("status") or {}).get("containerStatuses") or ()
    ]
    return max((str(end) for end in ends if end), default=str(pod["metadata"]["creationTimestamp"]))


def _stop(work: Work, chosen: Sequence[Object]) -> list[Action]:
    """Delete pods that are to be no failures: they are let go before."""
    done = RecordEvent(work.job, "SuccessfulDelete", "Deleted pod: {name}")
    return [*_release(chosen), Burst([Delete(pod, done=done) for pod in chosen])]


def _tally(work: Work) -> None:
    """Fill in the counts that change without a pod ending."""
    active = work.active
    if active and not (work.job["spec"].get("suspend") or _over(work)):
        work.status["active"] = len(active)
    else:
        work.status.pop("active", None)
    work.status["ready"] = sum(1 for pod in active if pods.is_ready(pod))
    work.status["terminating"] = sum(
        1 for pod in work.owned if pod["metadata"].get("deletionTimestamp") and not pods.is_ended(pod)
    )


def _over(work: Work) -> bool:
    held = work.status.get("conditions")
    return conditions.is_true(held, "Complete") or conditions.is_true(held, "Failed")


def _finished(job: Object) -> bool:
    held = (job.get("status") or {}).get("conditions")
    return conditions.is_true(held, "Complete") or conditions.is_true(held, "Failed")


def _after(job: Object, view: View) -> list[Action]:
    """A finished job lets its pods go, and goes itself when its time to live is over."""
    released = _release(view.controlled("pods", job))
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or job["metadata"].get("deletionTimestamp"):
        return released
    ended = max(
        one["lastTransitionTime"] for one in job["status"]["conditions"] if one["type"] in ("Complete", "Failed")
    )
    left_s = ttl - (view.now - parse_time(ended)).total_seconds()
    return [*released, Delete(job, propagation="Foreground") if left_s <= 0 else Requeue(left_s)]


def _let_go(key: str, view: View) -> list[Action]:
    """Free the pods of a job that is no more: nobody is left to count them."""
    namespace, _, name = key.partition("/")
    found = []
    for pod in view.list("pods", namespace):
        owner = controller_of(pod) if _tracked(pod) else None
        if owner is not None and owner["kind"] == "Job" and owner["name"] == name:
            found.append(pod)
    return _release(found)


def _release(owned: Iterable[Object]) -> list[Action]:
    """Take the tracking finalizer from pods."""
    patches = []
    for pod in owned:
        if _tracked(pod):
            left = [one for one in pod["metadata"]["finalizers"] if one != TRACKING]
            body = {"uid": pod["metadata"]["uid"], "finalizers": left or None}
            patches.append(Patch(pod, {"metadata": {**body, "resourceVersion": pod["metadata"]["resourceVersion"]}}))
    return [Burst(patches)] if patches else []


def _tracked(pod: Object) -> bool:
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def _index(pod: Object) -> int | None:
    text = (pod["metadata"].get("annotations") or {}).get(indexes.ANNOTATION, "")
    return int(text) if text.isdigit() else None


def _all_uncounted(work: Work) -> set[str]:
    return {*work.uncounted("succeeded"), *work.uncounted("failed")}


JOB = Controller(
    name="job",
    source="job-controller",
    reads=("jobs", "pods"),
    keys=keys_for("Job", "jobs", STATUS_SETTLE_S),
    reconcile=reconcile,
)
