"""What a Job's policies say of its pods: which failures count, end an index or the Job, and when enough succeeded.

Source: kubernetes.io "Jobs", KEP-3329, KEP-3850, KEP-3939, KEP-3998; upstream's pod_failure_policy.go and
success_policy.go for order and wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from oarlock.actors.controllers import indexes, pods

Object = dict[str, Any]

FAILURES = "batch.kubernetes.io/job-index-failure-count"
"""How many counted failures of its index came before a pod."""
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"


@dataclass(frozen=True)
class Failure:
    """What a failed pod means: the rule's action, "" without one, and the message of one that fails the Job."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        """Whether it counts towards the back-off limits."""
        return self.action != "Ignore"


def replaces_only_failed(job: Mapping[str, Any]) -> bool:
    """Whether a pod that is being deleted must have ended before another takes its place."""
    spec = job["spec"]
    return spec.get("podReplacementPolicy") == "Failed" or bool(spec.get("podFailurePolicy"))


def is_failed(job: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether a pod failed, or is being deleted and may never get to say how it ended."""
    if pods.phase(pod) == "Failed":
        return True
    if replaces_only_failed(job):
        return False
    return bool(pod["metadata"].get("deletionTimestamp")) and pods.phase(pod) != "Succeeded"


def judge(job: Mapping[str, Any], pod: Mapping[str, Any]) -> Failure:
    """Return what the first matching rule of the Job's failure policy says of a failed pod."""
    for number, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        action = rule["action"]
        where = f"matching {action} rule at index {number}"
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        if rule.get("onExitCodes"):
            status = _exited(pod, rule["onExitCodes"])
            if status is not None:
                code = status["state"]["terminated"]["exitCode"]
                return Failure(
                    action, f"Container {status['name']} for pod {name} failed with exit code {code} {where}"
                )
        else:
            kind = _conditioned(pod, rule.get("onPodConditions") or ())
            if kind is not None:
                return Failure(action, f"Pod {name} has condition {kind} {where}")
    return Failure()


def _exited(pod: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    held = pod.get("status") or {}
    for status in [*(held.get("containerStatuses") or ()), *(held.get("initContainerStatuses") or ())]:
        ended = (status.get("state") or {}).get("terminated")
        if ended is None or wanted.get("containerName", status["name"]) != status["name"]:
            continue
        code = ended.get("exitCode", 0)
        if code != 0 and (code in wanted["values"]) == (wanted["operator"] == "In"):
            found: Mapping[str, Any] = status
            return found
    return None


def _conditioned(pod: Mapping[str, Any], patterns: Iterable[Mapping[str, Any]]) -> str | None:
    held = {(one["type"], one["status"]) for one in (pod.get("status") or {}).get("conditions") or ()}
    return next((one["type"] for one in patterns if (one["type"], one.get("status", "True")) in held), None)


def fails_index(job: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether a failed pod ends its index: by a rule, or as one failure too many."""
    verdict = judge(job, pod)
    if verdict.action == "FailIndex":
        return True
    return verdict.counts and failures_before(pod) >= int(job["spec"]["backoffLimitPerIndex"])


def failures_before(pod: Mapping[str, Any], *, ignored: bool = False) -> int:
    """Return how many failures of its index came before a pod, those that count or those that don't."""
    text = (pod["metadata"].get("annotations") or {}).get(IGNORED if ignored else FAILURES, "")
    return int(text) if text.isdigit() else 0


def failures_now(job: Mapping[str, Any], replaced: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the annotations of a pod that takes the place of `replaced`."""
    if replaced is None:
        return {FAILURES: "0"}
    counts = judge(job, replaced).counts
    ignored = failures_before(replaced, ignored=True) + (not counts)
    found = {FAILURES: str(failures_before(replaced) + counts)}
    return {**found, IGNORED: str(ignored)} if ignored else found


def success(job: Mapping[str, Any], succeeded: set[int]) -> str | None:
    """Return what the success policy says once one of its rules is met, None before."""
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        wanted = indexes.parse(rule["succeededIndexes"]) if rule.get("succeededIndexes") is not None else None
        done = succeeded if wanted is None else succeeded & wanted
        needed = rule.get("succeededCount", len(wanted) if wanted is not None else None)
        if succeeded and needed is not None and len(done) >= needed:
            return f"Matched rules at index {number}"
    return None
