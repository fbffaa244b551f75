"""Validate Jobs and CronJobs.

Source: upstream's `pkg/apis/batch/validation/validation.go`.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import names, pod_validation
from oarlock.cluster.objects.causes import invalid, not_supported, required, too_long
from oarlock.cluster.objects.gostructs import Struct
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.job_policy_validation import failure_policy, success_policy
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.selector_match import selects
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.workload_validation import IMMUTABLE, MISMATCH, counts, immutable, shown_field

Obj = Mapping[str, Any]
_COMPLETION_MODES: Final = ("NonIndexed", "Indexed")
_CONCURRENCY: Final = ("Allow", "Forbid", "Replace")
_COUNTS: Final = (
    *("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"),
    *("backoffLimitPerIndex", "maxFailedIndexes"),
)
_INDEXES_MAX: Final = 100_000
_MANY_INDEXES_MAX: Final = 10_000
_MANAGER_CHARS_MAX: Final = 63


def job(obj: Obj) -> list[Cause]:
    """What is wrong with a new Job beyond its metadata."""
    spec = obj["spec"]
    causes = [] if spec.get("manualSelector") else _generated_selector(obj)
    return causes + _selected(spec) + _last_pod(obj)


def _last_pod(obj: Obj) -> list[Cause]:
    """The pods of an indexed Job are named after it and their index, and so are their hosts."""
    spec, name = obj["spec"], obj["metadata"].get("name", "")
    if spec.get("completionMode") != "Indexed" or spec.get("completions", 0) <= 0:
        return []
    hostname = f"{name}-{spec['completions'] - 1}"
    if not names.dns_label(hostname):
        return []
    return [invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {hostname}")]


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
        causes.append(
            invalid("spec.selector", shown_field("selector", spec.get("selector")), "`selector` not auto-generated")
        )
    return causes


def job_spec(spec: Obj, path: str) -> list[Cause]:
    """What is wrong with a Job's spec apart from its selector."""
    causes = counts(spec, path, *_COUNTS)
    if "maxFailedIndexes" in spec and "backoffLimitPerIndex" not in spec:
        causes.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if "managedBy" in spec:
        causes += _manager(spec["managedBy"], f"{path}.managedBy")
    causes += _indexed(spec, path)
    if "podFailurePolicy" in spec:
        causes += failure_policy(spec, f"{path}.podFailurePolicy")
    if "successPolicy" in spec:
        causes += success_policy(spec, f"{path}.successPolicy")
    policy = spec.get("podReplacementPolicy")
    allowed = ("Failed",) if "podFailurePolicy" in spec else ("Failed", "TerminatingOrFailed")
    if policy is not None and policy not in allowed:
        causes.append(not_supported(f"{path}.podReplacementPolicy", policy, allowed))
    return causes + _pods(spec, path)


def _manager(name: str, path: str) -> list[Cause]:
    """What is wrong with the controller that a Job names as its own."""
    causes = [invalid(path, name, why) for why in names.domain_prefixed(name)] if name else [required(path)]
    return [*causes, too_long(path, _MANAGER_CHARS_MAX)] if len(name) > _MANAGER_CHARS_MAX else causes


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
    mode = spec.get("completionMode")
    causes: list[Cause] = []
    if mode is not None and mode not in _COMPLETION_MODES:
        causes.append(not_supported(f"{path}.completionMode", mode, _COMPLETION_MODES))
    if mode == "Indexed":
        causes += _index_limits(spec, path)
    if mode in {None, "NonIndexed"}:
        why = "requires indexed completion mode"
        fields = ("backoffLimitPerIndex", "maxFailedIndexes")
        causes += [invalid(f"{path}.{name}", spec[name], why) for name in fields if name in spec]
    return causes


def _index_limits(spec: Obj, path: str) -> list[Cause]:
    completions, parallelism = spec.get("completions"), spec.get("parallelism", 0)
    failed = spec.get("maxFailedIndexes", 0)
    causes: list[Cause] = []
    if completions is None:
        causes.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism > _INDEXES_MAX:
        why = f"must be less than or equal to {_INDEXES_MAX} when completion mode is Indexed"
        causes.append(invalid(f"{path}.parallelism", parallelism, why))
    if completions is not None and failed > completions:
        causes.append(invalid(f"{path}.maxFailedIndexes", failed, "must be less than or equal to completions"))
    if failed > _INDEXES_MAX:
        causes.append(invalid(f"{path}.maxFailedIndexes", failed, f"must be less than or equal to {_INDEXES_MAX}"))
    if (completions or 0) > _INDEXES_MAX and "backoffLimitPerIndex" in spec:
        if "maxFailedIndexes" not in spec:
            why = f"must be specified when completions is above {_INDEXES_MAX}"
            causes.append(required(f"{path}.maxFailedIndexes", why))
        for name, value in (("parallelism", parallelism), ("maxFailedIndexes", failed)):
            if value > _MANY_INDEXES_MAX:
                why = (
                    f"must be less than or equal to {_MANY_INDEXES_MAX} when completions are above {_INDEXES_MAX} "
                    "and used with backoff limit per index"
                )
                causes.append(invalid(f"{path}.{name}", value, why))
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
        return [invalid("spec.template.spec", Struct("core.v1.PodSpec", wanted.get("spec")), IMMUTABLE)]
    return [] if wanted == present else [invalid("spec.template", Struct("core.v1.PodTemplateSpec", wanted), IMMUTABLE)]


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
