"""Jobs: pods that run to completion.

`job_work` counts, `job_policies` judges failures and success, `job_pods` makes and stops pods; here it is decided
whether a Job goes on, and how it ends.
Source: kubernetes.io "Jobs"; upstream's job_controller.go for names and wording.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from oarlock.actors.controllers import conditions, job_policies, pods
from oarlock.actors.controllers.actions import Action, Burst, Delete, RecordEvent, Requeue, UpdateStatus
from oarlock.actors.controllers.job_pods import release, scale, stop
from oarlock.actors.controllers.job_work import Work, count, is_tracked
from oarlock.actors.controllers.loop import Controller
from oarlock.actors.controllers.ownership import claim, keys_for, selector_of
from oarlock.actors.controllers.view import View, controller_of, parse_time

Object = dict[str, Any]

CONTROLLER_NAME = "kubernetes.io/job-controller"
"""What `managedBy` says of Jobs that are ours; one of another value is left alone."""
STATUS_SETTLE_S = 0.05


def reconcile(key: str, view: View) -> list[Action]:
    """Return what brings a job one step further."""
    job = view.get("jobs", key)
    if job is None:
        return _let_go(key, view)
    if job["spec"].get("managedBy", CONTROLLER_NAME) != CONTROLLER_NAME:
        return []
    if _finished(job):
        return release(view.controlled("pods", job))
    found = claim(view, "pods", job, selector_of(job), pods.is_active)
    if found.patches:
        return found.patches
    if job["metadata"].get("deletionTimestamp"):
        return release(found.owned)
    old = job.get("status") or {}
    uncounted = dict(old.get("uncountedTerminatedPods") or {})
    work = Work(job, found.owned, {**old, "uncountedTerminatedPods": uncounted})
    count(work)
    verdict = _verdict(view, work)
    scaling = _conclude(view, work, *verdict) if verdict else _run(view, work)
    _tally(work)
    writes: list[Action] = [UpdateStatus({**job, "status": work.status})] if work.status != old else []
    return [*writes, *work.actions, *release(work.settled), *scaling]


def _verdict(view: View, work: Work) -> tuple[str, str, str] | None:
    """Return (condition, reason, message) when the job is over but for its end, None while it goes on."""
    for kind in ("FailureTarget", "SuccessCriteriaMet"):
        held = conditions.find(work.status.get("conditions"), kind)
        if held is not None and held["status"] == "True":
            return kind, held.get("reason", ""), held.get("message", "")
    return _failure(view, work) or _success(work)


def _failure(view: View, work: Work) -> tuple[str, str, str] | None:
    spec = work.job["spec"]
    for pod in work.owned:
        if job_policies.is_failed(work.job, pod) and (found := job_policies.judge(work.job, pod)).action == "FailJob":
            return "FailureTarget", "PodFailurePolicy", found.message
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
    failed = len(work.failed_indexes)
    most = spec.get("maxFailedIndexes")
    if most is not None and failed > most:
        message = "Job has exceeded the specified maximal number of failed indexes"
        return "FailureTarget", "MaxFailedIndexesExceeded", message
    if failed and failed + len(work.succeeded_indexes) >= work.completions:
        return "FailureTarget", "FailedIndexes", "Job has failed indexes"
    return None


def _success(work: Work) -> tuple[str, str, str] | None:
    message = job_policies.success(work.job, work.succeeded_indexes) if work.indexed else None
    if message is not None:
        return "SuccessCriteriaMet", "SuccessPolicy", message
    completions = work.job["spec"].get("completions")
    done = work.total("succeeded") >= completions if completions is not None else _any_done(work)
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
        for name in ("initContainerStatuses", "containerStatuses")
        for status in (pod.get("status") or {}).get(name) or ()
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def _conclude(view: View, work: Work, kind: str, reason: str, message: str) -> list[Action]:
    """End the job: say why, delete what runs, and when all is counted set Complete or Failed."""
    made = conditions.condition(kind, "True", reason, message, view.stamp, lastProbeTime=view.stamp)
    work.status["conditions"] = conditions.put(work.status.get("conditions"), made)
    running = [pod for pod in work.owned if not pods.is_ended(pod)]
    if running or work.settled or work.delayed or any(work.status["uncountedTerminatedPods"].values()):
        done = RecordEvent(work.job, "SuccessfulDelete", "Deleted pod: {name}")
        return [Burst([Delete(pod, done=done) for pod in running if not pod["metadata"].get("deletionTimestamp")])]
    final = "Failed" if kind == "FailureTarget" else "Complete"
    made = conditions.condition(final, "True", reason, message, view.stamp, lastProbeTime=view.stamp)
    work.status["conditions"] = conditions.put(work.status["conditions"], made)
    if final == "Complete":
        work.status["completionTime"] = view.stamp
        too_many = "Too many succeeded pods running after completion count reached"
        completions = work.job["spec"].get("completions")
        if completions is not None and work.total("succeeded") > completions:
            work.actions.append(RecordEvent(work.job, "TooManySucceededPods", too_many, "Warning"))
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
        return stop(work, work.active)
    if suspended:
        _mark(view, work, "False", "JobResumed", "Job resumed")
        work.actions.append(RecordEvent(work.job, "Resumed", "Job resumed"))
    work.status.setdefault("startTime", view.stamp)
    return scale(view, work)


def _mark(view: View, work: Work, status: str, reason: str, message: str) -> None:
    made = conditions.condition("Suspended", status, reason, message, view.stamp, lastProbeTime=view.stamp)
    held = work.status.get("conditions") or []
    work.status["conditions"] = (
        [made if one["type"] == "Suspended" else one for one in held]
        if conditions.find(held, "Suspended")
        else [*held, made]
    )


def _tally(work: Work) -> None:
    """Fill in the counts that change without a pod ending."""
    active = work.active
    if active and not (work.job["spec"].get("suspend") or _over(work)):
        work.status["active"] = len(active)
    else:
        work.status.pop("active", None)
    work.status["ready"] = sum(1 for pod in active if pods.is_ready(pod))
    work.status["terminating"] = len(work.terminating)


def _over(work: Work) -> bool:
    held = work.status.get("conditions")
    return conditions.is_true(held, "Complete") or conditions.is_true(held, "Failed")


def _finished(job: Object) -> bool:
    held = (job.get("status") or {}).get("conditions")
    return conditions.is_true(held, "Complete") or conditions.is_true(held, "Failed")


def _let_go(key: str, view: View) -> list[Action]:
    """Free the pods of a job that is no more: nobody is left to count them."""
    namespace, _, name = key.partition("/")
    found = []
    for pod in view.list("pods", namespace):
        owner = controller_of(pod) if is_tracked(pod) else None
        if owner is not None and owner["kind"] == "Job" and owner["name"] == name:
            found.append(pod)
    return release(found)


JOB = Controller(
    name="job",
    source="job-controller",
    reads=("jobs", "pods"),
    keys=keys_for("Job", "jobs", STATUS_SETTLE_S),
    reconcile=reconcile,
)
