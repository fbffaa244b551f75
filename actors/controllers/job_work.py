"""One reconcile's picture of a Job, and counting its pods: each exactly once.

A finished pod keeps the tracking finalizer until its uid stands in `status.uncountedTerminatedPods`; it is added to
the counts only once the finalizer is gone. An index that succeeded stands in `completedIndexes` instead. So no crash
between the steps loses or doubles a count. Source: KEP-2307.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from oarlock.actors.controllers import conditions, indexes, job_policies, pods
from oarlock.actors.controllers.actions import Action

Object = dict[str, Any]

TRACKING = "batch.kubernetes.io/job-tracking"


@dataclass
class Work:
    """`status` is the new status in the making, `settled` are the pods that it accounts for.

    `delayed` has the last failed pod of each index that waits for the next one: the failures stand on it.
    """

    job: Object
    owned: list[Object]
    status: Object
    actions: list[Action] = field(default_factory=list)
    settled: list[Object] = field(default_factory=list)
    succeeded_indexes: set[int] = field(default_factory=set)
    failed_indexes: set[int] = field(default_factory=set)
    delayed: dict[int, Object] = field(default_factory=dict)

    @cached_property
    def indexed(self) -> bool:
        """Whether every completion has an index of its own."""
        return bool(self.job["spec"].get("completionMode") == "Indexed")

    @cached_property
    def per_index(self) -> bool:
        """Whether every index has a back-off limit of its own."""
        return self.indexed and self.job["spec"].get("backoffLimitPerIndex") is not None

    @cached_property
    def completions(self) -> int:
        """How many pods are to succeed; 0 where any number will do."""
        return int(self.job["spec"].get("completions") or 0)

    @cached_property
    def active(self) -> list[Object]:
        """The pods that run or will."""
        return [pod for pod in self.owned if pods.is_active(pod)]

    @cached_property
    def terminating(self) -> list[Object]:
        """The pods that are being deleted and haven't ended."""
        return [pod for pod in self.owned if pod["metadata"].get("deletionTimestamp") and not pods.is_ended(pod)]

    @cached_property
    def failing(self) -> bool:
        """Whether the Job has been found to have failed: whatever still runs fails with it."""
        return conditions.is_true((self.job.get("status") or {}).get("conditions"), "FailureTarget")

    @cached_property
    def concluding(self) -> bool:
        """Whether it has been decided how the Job ends, so that no index waits for another pod."""
        held = (self.job.get("status") or {}).get("conditions")
        return self.failing or conditions.is_true(held, "SuccessCriteriaMet")

    def uncounted(self, outcome: str) -> list[str]:
        """The uids of pods that `succeeded` or `failed` but aren't in the counts yet."""
        found: list[str] = self.status["uncountedTerminatedPods"].get(outcome) or []
        return found

    def total(self, outcome: str) -> int:
        """How many pods `succeeded` or `failed`, counted or not; of an indexed Job, how many indexes succeeded."""
        if outcome == "succeeded" and self.indexed:
            return len(self.succeeded_indexes)
        waiting = sum(job_policies.judge(self.job, pod).counts for pod in self.delayed.values())
        more = waiting if outcome == "failed" else 0
        return int(self.status.get(outcome, 0)) + len(self.uncounted(outcome)) + more


def is_tracked(pod: Object) -> bool:
    """Whether a pod is still to be counted."""
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def index_of(pod: Object) -> int | None:
    """Return the completion index of an indexed Job's pod."""
    text = (pod["metadata"].get("annotations") or {}).get(indexes.ANNOTATION, "")
    return int(text) if text.isdigit() else None


def count(work: Work) -> None:
    """Move ended pods one step on: first into the uncounted, then, once let go, into the counts."""
    _index(work)
    held = {pod["metadata"]["uid"] for pod in work.owned if is_tracked(pod)}
    late = {pod["metadata"]["uid"] for pod in work.delayed.values()}
    fresh: dict[str, list[str]] = {"succeeded": [], "failed": []}
    for pod in work.owned:
        outcome = _outcome(work, pod) if is_tracked(pod) else None
        uid = pod["metadata"]["uid"]
        if outcome is None or uid in late:
            continue
        work.settled.append(pod)
        if (
            uid not in work.uncounted("succeeded")
            and uid not in work.uncounted("failed")
            and _counts(work, pod, outcome)
        ):
            fresh[outcome].append(uid)
    for outcome, added in fresh.items():
        waiting = work.uncounted(outcome)
        done = sum(1 for uid in waiting if uid not in held)
        if done:
            work.status[outcome] = work.status.get(outcome, 0) + done
        still = [*(uid for uid in waiting if uid in held), *added]
        work.status["uncountedTerminatedPods"].pop(outcome, None)
        if still:
            work.status["uncountedTerminatedPods"][outcome] = still


def _outcome(work: Work, pod: Object) -> str | None:
    if pods.phase(pod) == "Succeeded":
        return "succeeded"
    return "failed" if work.failing or job_policies.is_failed(work.job, pod) else None


def _counts(work: Work, pod: Object, outcome: str) -> bool:
    """Whether an ended pod goes into the counts by its uid."""
    if work.indexed:
        index = index_of(pod)
        if outcome == "succeeded" or index is None or index >= work.completions:
            return False
    return outcome == "succeeded" or job_policies.judge(work.job, pod).counts


def _index(work: Work) -> None:
    """Bring the succeeded and failed indexes up to date, and find those that wait for their next pod."""
    if not work.indexed:
        return
    held = {"completedIndexes": work.succeeded_indexes, "failedIndexes": work.failed_indexes}
    for name, found in held.items():
        found |= {one for one in indexes.parse(work.status.get(name) or "") if one < work.completions}
    failed: dict[int, list[Object]] = {}
    for pod in work.owned:
        index = index_of(pod)
        if index is None or index >= work.completions:
            continue
        if pods.phase(pod) == "Succeeded":
            work.succeeded_indexes.add(index)
        elif work.per_index and job_policies.is_failed(work.job, pod) and is_tracked(pod):
            failed.setdefault(index, []).append(pod)
    if work.per_index:
        _delay(work, failed)
        work.status["failedIndexes"] = indexes.text(work.failed_indexes)
    if work.succeeded_indexes:
        work.status["completedIndexes"] = indexes.text(work.succeeded_indexes)
        work.status["succeeded"] = len(work.succeeded_indexes)


def _delay(work: Work, failed: dict[int, list[Object]]) -> None:
    running = {index_of(pod) for pod in work.active}
    for index, found in failed.items():
        if index in work.succeeded_indexes:
            continue
        if any(job_policies.fails_index(work.job, pod) for pod in found):
            work.failed_indexes.add(index)
        elif index not in running and index not in work.failed_indexes and not work.concluding:
            work.delayed[index] = max(found, key=_failures)


def _failures(pod: Object) -> int:
    return job_policies.failures_before(pod) + job_policies.failures_before(pod, ignored=True)
