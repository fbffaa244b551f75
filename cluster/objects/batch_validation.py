"""Validate Jobs and CronJobs.

Source: upstream's `pkg/apis/batch/validation/validation.go`.
"""

from __future__ import annotations

import itertools
import re
import zoneinfo
from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import pod_validation
from oarlock.cluster.objects.causes import duplicate, invalid, not_supported, required
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.selector_match import selects
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.workload_validation import IMMUTABLE, MISMATCH, counts, immutable

Obj = Mapping[str, Any]
_COMPLETION_MODES: Final = ("NonIndexed", "Indexed")
_CONCURRENCY: Final = ("Allow", "Forbid", "Replace")
_ACTIONS: Final = ("Count", "FailIndex", "FailJob", "Ignore")
_COUNTS: Final = (
    *("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"),
    *("backoffLimitPerIndex", "maxFailedIndexes"),
)
_PARALLELISM_MAX: Final = 100_000


def job(obj: Obj) -> list[Cause]:
    """What is wrong with a new Job beyond its metadata."""
    spec = obj["spec"]
    causes = [] if spec.get("manualSelector") else _generated_selector(obj)
    return causes + _selected(spec)


def _selected(spec: Obj) -> list[Cause]:
    """What is wrong with a Job's spec, its selector included."""
    causes = job_spec(spec, "spec")
    selector = spec.get("selector")
    labels = spec.get("template", {}).get("metadata", {}).get("labels")
    if selector is None:
        causes.append(required("spec.selector"))
    else:
        causes += label_selector(selector, "spec.selector")
    if selector is None or not selects(selector, labels or {}):
        causes.append(invalid("spec.template.metadata.labels", labels, MISMATCH))
    return causes


def _generated_selector(obj: Obj) -> list[Cause]:
    """A selector that the client may not choose must be the one that the server makes."""
    uid, spec = obj["metadata"].get("uid", ""), obj["spec"]
    labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
    place = "spec.template.metadata.labels"
    if not uid:
        return [required("metadata.uid")]
    causes: list[Cause] = []
    for name in ("controller-uid", "batch.kubernetes.io/controller-uid"):
        if name not in labels:
            causes.append(required(f"{place}[{name}]", f"must be '{uid}'"))
        elif labels[name] != uid:
            causes.append(invalid(place, labels, f"must be '{uid}'"))
    expected = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    legacy = {"matchLabels": {"controller-uid": uid}}
    if spec.get("selector") not in (expected, legacy):
        causes.append(invalid("spec.selector", spec.get("selector"), "`selector` not auto-generated"))
    return causes


def job_spec(spec: Obj, path: str) -> list[Cause]:
    """What is wrong with a Job's spec apart from its selector."""
    causes = counts(spec, path, *_COUNTS)
    causes += _indexed(spec, path)
    policy = spec.get("podReplacementPolicy")
    allowed = ("Failed",) if "podFailurePolicy" in spec else ("Failed", "TerminatingOrFailed")
    if policy is not None and policy not in allowed:
        causes.append(not_supported(f"{path}.podReplacementPolicy", policy, allowed))
    if "podFailurePolicy" in spec:
        causes += _failure_policy(spec, f"{path}.podFailurePolicy")
    return causes + _pods(spec, path)


def _pods(spec: Obj, path: str) -> list[Cause]:
    template = spec.get("template", {})
    causes = pod_validation.template(template, f"{path}.template")
    restart = template.get("spec", {}).get("restartPolicy", "")
    place = f"{path}.template.spec.restartPolicy"
    if restart in {"", "Always"}:
        causes.append(required(place, 'valid values: "OnFailure", "Never"'))
    elif restart not in {"OnFailure", "Never"}:
        causes.append(not_supported(place, restart, ("OnFailure", "Never")))
    elif "podFailurePolicy" in spec and restart != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        causes.append(invalid(place, restart, why))
    return causes


def _indexed(spec: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    mode = spec.get("completionMode")
    if mode is not None and mode not in _COMPLETION_MODES:
        causes.append(not_supported(f"{path}.completionMode", mode, _COMPLETION_MODES))
    if mode == "Indexed":
        if "completions" not in spec:
            why = f"when completion mode is {mode}"
            causes.append(required(f"{path}.completions", why))
        if spec.get("parallelism", 0) > _PARALLELISM_MAX:
            why = f"must be less than or equal to {_PARALLELISM_MAX} when completion mode is {mode}"
            causes.append(invalid(f"{path}.parallelism", spec["parallelism"], why))
    elif "backoffLimitPerIndex" in spec:
        why = "requires indexed completion mode"
        causes.append(invalid(f"{path}.backoffLimitPerIndex", spec["backoffLimitPerIndex"], why))
    if "maxFailedIndexes" in spec:
        if "backoffLimitPerIndex" not in spec:
            why = "when maxFailedIndexes is specified"
            causes.append(required(f"{path}.backoffLimitPerIndex", why))
        if spec["maxFailedIndexes"] > spec.get("completions", spec["maxFailedIndexes"]):
            why = "must be less than or equal to completions"
            causes.append(invalid(f"{path}.maxFailedIndexes", spec["maxFailedIndexes"], why))
    return causes


def _failure_policy(spec: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    template = spec.get("template", {}).get("spec", {})
    known = {one.get("name") for group in ("containers", "initContainers") for one in template.get(group) or ()}
    for index, rule in enumerate(spec["podFailurePolicy"].get("rules") or ()):
        place = f"{path}.rules[{index}]"
        action = rule.get("action", "")
        if not action:
            listed = " ".join(quote(one) for one in _ACTIONS)
            causes.append(required(f"{place}.action", f"valid values: [{listed}]"))
        elif action not in _ACTIONS:
            causes.append(not_supported(f"{place}.action", action, _ACTIONS))
        if "onExitCodes" in rule:
            causes += _exit_codes(rule["onExitCodes"], f"{place}.onExitCodes", known)
        for at, pattern in enumerate(rule.get("onPodConditions") or ()):
            status = pattern.get("status", "")
            if status not in {"False", "True", "Unknown"}:
                where = f"{place}.onPodConditions[{at}].status"
                causes.append(not_supported(where, status, ("False", "True", "Unknown")))
        given = ("onExitCodes" in rule) + bool(rule.get("onPodConditions"))
        if given != 1:
            why = "specifying one of OnExitCodes and OnPodConditions is required"
            both = "specifying both OnExitCodes and OnPodConditions is not supported"
            causes.append(invalid(place, rule, both if given else why))
    return causes


def _exit_codes(rule: Obj, path: str, known: set[str | None]) -> list[Cause]:
    causes: list[Cause] = []
    operator, values = rule.get("operator", ""), rule.get("values") or ()
    if operator not in {"In", "NotIn"}:
        if operator:
            causes.append(not_supported(f"{path}.operator", operator, ("In", "NotIn")))
        else:
            causes.append(required(f"{path}.operator", 'valid values: ["In" "NotIn"]'))
    name = rule.get("containerName")
    if name is not None and name not in known:
        why = "must be one of the container or initContainer names in the pod template"
        causes.append(invalid(f"{path}.containerName", name, why))
    if not values:
        causes.append(invalid(f"{path}.values", values, "at least one value is required"))
    seen: set[int] = set()
    for index, value in enumerate(values):
        place = f"{path}.values[{index}]"
        if value in seen:
            causes.append(duplicate(place, value))
        elif operator == "In" and value == 0:
            causes.append(invalid(place, value, "must not be 0 for the In operator"))
        seen.add(value)
    if any(first > second for first, second in itertools.pairwise(values)):
        causes.append(invalid(f"{path}.values", values, "must be ordered"))
    return causes


def job_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Job that replaces `old`."""
    causes = _selected(new["spec"]) * 2  # upstream checks the spec on its own and again as an update
    frozen = ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
    wanted = new["spec"]
    elastic = wanted.get("completions") == wanted.get("parallelism")
    if wanted.get("completionMode") != "Indexed":
        causes += immutable(new, old, "completions")
    elif not elastic and wanted.get("completions") != old["spec"].get("completions"):
        why = "can only be modified in tandem with spec.parallelism"
        causes.append(invalid("spec.completions", wanted.get("completions"), why))
    causes += immutable(new, old, frozen[0])
    causes += _template_update(new, old)
    return causes + immutable(new, old, *frozen[1:])


def _template_update(new: Obj, old: Obj) -> list[Cause]:
    """A suspended Job that never ran may be told where to run; otherwise its template is fixed."""
    wanted, present = new["spec"].get("template", {}), old["spec"].get("template", {})
    if old["spec"].get("suspend") and "startTime" not in old.get("status", {}):
        if _without_placement(wanted) == _without_placement(present):
            return []
        return [invalid("spec.template.spec", wanted.get("spec"), IMMUTABLE)]
    return [] if wanted == present else [invalid("spec.template", wanted, IMMUTABLE)]


def _without_placement(template: Obj) -> Obj:
    free = {"affinity", "nodeSelector", "tolerations", "schedulingGates"}
    return {name: value for name, value in template.get("spec", {}).items() if name not in free}


def cron_job(obj: Obj) -> list[Cause]:
    """What is wrong with a CronJob beyond its metadata."""
    spec = obj["spec"]
    causes = _schedule(spec.get("schedule", ""), "spec.schedule")
    causes += counts(spec, "spec", "startingDeadlineSeconds")
    if "timeZone" in spec:
        causes += _time_zone(spec["timeZone"], "spec.timeZone")
    policy = spec.get("concurrencyPolicy", "")
    if policy not in _CONCURRENCY:
        place = "spec.concurrencyPolicy"
        causes.append(not_supported(place, policy, _CONCURRENCY) if policy else required(place))
    causes += counts(spec, "spec", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
    inner = spec.get("jobTemplate", {}).get("spec", {})
    if inner.get("manualSelector"):
        place = "spec.jobTemplate.spec.manualSelector"
        causes.append(not_supported(place, inner["manualSelector"], ("nil", "false")))
    return causes + job_spec(inner, "spec.jobTemplate.spec")


def cron_job_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a CronJob that replaces `old`: nothing of it is immutable."""
    del old
    return cron_job(new)


def _time_zone(name: str, path: str) -> list[Cause]:
    if not name:
        return [invalid(path, name, "timeZone must be nil or non-empty string")]
    if name.lower() == "local":
        return [
            invalid(path, name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
        ]
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return [invalid(path, name, f"unknown time zone {name}")]
    return []


_DESCRIPTORS: Final = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
#: Bounds and names of a schedule's five fields.
_FIELDS: Final = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 6, _DAYS))


def _schedule(text: str, path: str) -> list[Cause]:
    if not text:
        return [required(path)]
    if "TZ" in text:
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        return [invalid(path, text, why)]
    why = schedule_error(text)
    return [invalid(path, text, why)] if why else []


def schedule_error(text: str) -> str:
    """What is wrong with a cron schedule, in the words of the parser that upstream uses; empty where it is fine."""
    if text.startswith("@"):
        if text in _DESCRIPTORS or re.fullmatch(r"@every ([0-9.]+(ns|us|µs|ms|s|m|h))+", text):
            return ""
        return f"unrecognized descriptor: {text}"
    parts = text.split()
    if len(parts) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]"
    for part, (low, high, named) in zip(parts, _FIELDS, strict=True):
        for piece in part.split(","):
            why = _range_error(piece, low, high, named)
            if why:
                return why
    return ""


def _range_error(text: str, low: int, high: int, named: tuple[str, ...]) -> str:
    span, slash, step = text.partition("/")
    if "/" in step:
        return f"too many slashes: {text}"
    if slash:
        if not step.isdecimal():
            return f"failed to parse int from {step}: strconv.Atoi: parsing {quote(step)}: invalid syntax"
        if int(step) == 0:
            return f"step of range should be a positive number: {text}"
    if span in {"*", "?"}:
        return ""
    first, dash, last = span.partition("-")
    if "-" in last:
        return f"too many hyphens: {text}"
    ends: list[int] = []
    for end in (first, last) if dash else (first,):
        if end.lower() in named:
            ends.append(named.index(end.lower()) + low)
        elif end.isdecimal():
            ends.append(int(end))
        else:
            return f"failed to parse int from {end}: strconv.Atoi: parsing {quote(end)}: invalid syntax"
    if ends[0] < low:
        return f"beginning of range ({ends[0]}) below minimum ({low}): {text}"
    if ends[-1] > high:
        return f"end of range ({ends[-1]}) above maximum ({high}): {text}"
    if ends[0] > ends[-1]:
        return f"beginning of range ({ends[0]}) beyond end of range ({ends[-1]}): {text}"
    return ""
