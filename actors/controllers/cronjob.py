"""CronJobs: a Job at every time of the schedule, at most one for each, also after a restart.

A Job's name is made of its time, so that a second try for the same time finds the first one's.
Source: kubernetes.io "CronJob"; upstream's cronjob_controllerv2.go for policies, missed starts and wording.
"""

from __future__ import annotations

import copy
import email.utils
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from oarlock.actors.controllers import conditions, schedules
from oarlock.actors.controllers.actions import Action, Create, Delete, RecordEvent, Requeue, UpdateStatus
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.ownership import controller_reference
from oarlock.actors.controllers.view import View, controller_of, parse_time
from oarlock.cluster.client.cache import key_of
from oarlock.cluster.objects.gotext import quote

Object = dict[str, Any]

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_MISSED_MANY = 100
_LATE_S = 0.1
"""Looking a moment after the time keeps a clock that is a little behind from looking before it."""


@dataclass
class Turn:
    """One reconcile's picture: the Jobs that there are, the new status and the writes in the making."""

    cron: Object
    jobs: list[Object]
    now: datetime
    status: Object
    actions: list[Action] = field(default_factory=list)
    noted: bool = False
    """Whether the status is written with the Job that is made."""

    @property
    def active(self) -> list[Object]:
        """References to the Jobs that run, as the status has them."""
        found: list[Object] = self.status.get("active") or []
        return found

    def drop(self, uid: str) -> None:
        """Take a Job from the active ones."""
        left = [one for one in self.active if one["uid"] != uid]
        self.status.pop("active", None)
        if left:
            self.status["active"] = left

    def tell(self, reason: str, message: str, kind: str = "Normal") -> None:
        """Record an Event on the CronJob."""
        self.actions.append(RecordEvent(self.cron, reason, message, kind))


def reconcile(key: str, view: View) -> list[Action]:
    """Return what a CronJob's Jobs and the time ask for."""
    cron = view.get("cronjobs", key)
    if cron is None:
        return []
    turn = Turn(cron, list(view.controlled("jobs", cron)), view.now, dict(cron.get("status") or {}))
    _follow(turn, view)
    is_leaving = bool(cron["metadata"].get("deletionTimestamp"))
    if not is_leaving:
        _start(turn, view)
    if turn.status != (cron.get("status") or {}) and not turn.noted:
        turn.actions.append(UpdateStatus({**cron, "status": turn.status}))
    if not is_leaving:  # after the status: a Job that is gone before its time was noted would be made again
        _forget(turn)
    return turn.actions


def _follow(turn: Turn, view: View) -> None:
    """Bring the active Jobs and the last success up to date."""
    known = {one["uid"] for one in turn.active}
    for job in turn.jobs:
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        ended = _ended(job)
        if ended is None and uid not in known and not _note(turn, job):
            turn.tell("UnexpectedJob", f"Saw a job that the controller did not create or forgot: {name}", "Warning")
        if ended is not None and uid in known:
            turn.drop(uid)
            turn.tell("SawCompletedJob", f"Saw completed job: {name}, condition: {ended}")
        completed = (job.get("status") or {}).get("completionTime")
        if ended == "Complete" and completed and completed > turn.status.get("lastSuccessfulTime", ""):
            turn.status["lastSuccessfulTime"] = completed
    present = {job["metadata"]["uid"] for job in turn.jobs}
    for reference in turn.active:
        if reference["uid"] not in present:
            held = view.get("jobs", f"{turn.cron['metadata']['namespace']}/{reference['name']}")
            if held is None or held["metadata"]["uid"] != reference["uid"]:
                turn.tell("MissingJob", f"Active job went missing: {reference['name']}")
                turn.drop(reference["uid"])


def _note(turn: Turn, job: Object) -> bool:
    """Put a Job among the active ones that a predecessor made last, and was stopped before it could say so."""
    scheduled = (job["metadata"].get("annotations") or {}).get(SCHEDULED)
    try:
        stamp = _stamp(parse_time(scheduled)) if scheduled else ""
    except (ValueError, TypeError):
        return False
    if stamp <= turn.status.get("lastScheduleTime", ""):
        return False
    turn.status |= {"active": [*turn.active, _reference(job)], "lastScheduleTime": stamp}
    return True


def _start(turn: Turn, view: View) -> None:
    """Make the Job whose time has come, if the policies allow it, and look again at the next time."""
    spec = turn.cron["spec"]
    text, zone_name = spec["schedule"], spec.get("timeZone")
    try:
        zone = ZoneInfo(zone_name or "UTC")
    except (KeyError, ValueError, OSError):
        why = f"unknown time zone {zone_name}"
        turn.tell("UnknownTimeZone", f"invalid timeZone: {quote(zone_name)}: {why}", "Warning")
        return
    if spec.get("suspend"):
        return
    if "TZ" in text and zone_name is None:
        turn.tell("UnsupportedSchedule", _UNSUPPORTED.format(quote(text)), "Warning")
    try:
        schedule = schedules.parse(text, zone)
    except (KeyError, ValueError, OSError) as error:
        turn.tell("UnparseableSchedule", f"unparseable schedule: {quote(text)} : {error}", "Warning")
        return
    due, missed = most_recent(_earliest(turn, deadline=True), turn.now, schedule)
    if missed > _MISSED_MANY:
        turn.tell("TooManyMissedTimes", _TOO_MANY, "Warning")
    if due is not None:
        _begin(turn, view, due, zone)
    _wake(turn, schedule)


def _begin(turn: Turn, view: View, due: datetime, zone: ZoneInfo) -> None:
    spec, metadata = turn.cron["spec"], turn.cron["metadata"]
    deadline_s = spec.get("startingDeadlineSeconds")
    if deadline_s is not None and due + timedelta(seconds=deadline_s) < turn.now:
        turn.tell(
            "MissSchedule", f"Missed scheduled time to start a job: {email.utils.format_datetime(due)}", "Warning"
        )
        return
    stamp = _stamp(due)
    made = _job(turn.cron, due, zone)
    name = made["metadata"]["name"]
    if turn.status.get("lastScheduleTime") == stamp or any(one["name"] == name for one in turn.active):
        return
    policy = spec.get("concurrencyPolicy", "Allow")
    if policy == "Forbid" and turn.active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        turn.tell("JobAlreadyActive", message)
        return
    if policy == "Replace":
        for reference in turn.active:
            job = view.get("jobs", f"{metadata['namespace']}/{reference['name']}")
            if job is not None:
                _delete(turn, job)
            turn.drop(reference["uid"])
    held = view.get("jobs", f"{metadata['namespace']}/{name}")
    if held is None:
        done = RecordEvent(turn.cron, "SuccessfulCreate", "Created job {name}")
        failed = RecordEvent(turn.cron, "FailedCreate", "Error creating job: {error}", "Warning")

        def noted(job: Object) -> list[UpdateStatus]:
            status = {**turn.status, "active": [*turn.active, _reference(job)], "lastScheduleTime": stamp}
            return [UpdateStatus({**turn.cron, "status": status})]

        turn.actions.append(Create(made, done, failed, noted))
        turn.noted = True
        return
    owner = controller_of(held)
    if owner is None or owner["uid"] != metadata["uid"]:
        turn.tell("FailedCreate", f'Error creating job: jobs.batch "{name}" already exists', "Warning")
        return
    turn.status["lastScheduleTime"] = stamp
    if _ended(held) is None:
        turn.status["active"] = [*turn.active, _reference(held)]


def _earliest(turn: Turn, *, deadline: bool) -> datetime:
    """Return the time from which on starts may have been missed."""
    earliest = parse_time(turn.status.get("lastScheduleTime") or turn.cron["metadata"]["creationTimestamp"])
    deadline_s = turn.cron["spec"].get("startingDeadlineSeconds") if deadline else None
    return earliest if deadline_s is None else max(earliest, turn.now - timedelta(seconds=deadline_s))


def most_recent(earliest: datetime, now: datetime, schedule: schedules.Schedule) -> tuple[datetime | None, int]:
    """Return the latest time of a schedule that has come since `earliest`, and about how many there were.

    Irregular schedules are counted by the distance of the first two times, as upstream does.
    """
    first = schedule.after(earliest)
    second = schedule.after(first) if first is not None else None
    if first is None or now < first:
        return None, 0
    if second is None or now < second:
        return first, 1
    interval_s = max(1, round((second - first).total_seconds()))
    missed = int((now - first).total_seconds()) // interval_s + 1
    latest: datetime | None = None
    at = schedule.after(first + timedelta(seconds=(missed - 2) * interval_s))
    while at is not None and at <= now:
        latest, at = at, schedule.after(at)
    return latest, missed


def _wake(turn: Turn, schedule: schedules.Schedule) -> None:
    latest, missed = most_recent(_earliest(turn, deadline=False), turn.now, schedule)
    since = latest or (turn.now if missed else _earliest(turn, deadline=False))
    following = schedule.after(since)
    if following is not None:
        turn.actions.append(Requeue(max(0.0, (following - turn.now).total_seconds()) + _LATE_S))


def _job(cron: Object, due: datetime, zone: ZoneInfo) -> Object:
    template = cron["spec"]["jobTemplate"]
    meta = template.get("metadata") or {}
    stamp = due.astimezone(zone).isoformat().replace("+00:00", "Z")
    metadata: Object = {
        "name": f"{cron['metadata']['name']}-{int(due.timestamp()) // 60}",
        "namespace": cron["metadata"]["namespace"],
        "annotations": {**(meta.get("annotations") or {}), SCHEDULED: stamp},
        "ownerReferences": [controller_reference(cron)],
    }
    for name in ("labels", "finalizers"):
        if meta.get(name):
            metadata[name] = copy.copy(meta[name])
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": copy.deepcopy(template["spec"])}


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _reference(job: Object) -> Object:
    metadata = job["metadata"]
    named = {"kind": "Job", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}
    return {**named, "apiVersion": "batch/v1", "resourceVersion": metadata["resourceVersion"]}


def _forget(turn: Turn) -> None:
    """Delete finished Jobs beyond the history limits, those that started first."""
    spec = turn.cron["spec"]
    for limit, ends in (("successfulJobsHistoryLimit", "Complete"), ("failedJobsHistoryLimit", "Failed")):
        kept = spec.get(limit)
        if kept is None:
            continue
        ended = sorted((job for job in turn.jobs if _ended(job) == ends), key=_started)
        for job in ended[: max(0, len(ended) - kept)]:
            if not job["metadata"].get("deletionTimestamp"):
                _delete(turn, job)


def _started(job: Object) -> tuple[bool, str, str]:
    started = (job.get("status") or {}).get("startTime")
    return started is None, started or "", job["metadata"]["name"]


def _delete(turn: Turn, job: Object) -> None:
    done = RecordEvent(turn.cron, "SuccessfulDelete", f"Deleted job {job['metadata']['name']}")
    failed = RecordEvent(turn.cron, "FailedDelete", "Deleted job: {error}", "Warning")
    turn.actions.append(Delete(job, propagation="Background", done=done, failed=failed))


def _ended(job: Object) -> str | None:
    """Return how a Job ended, None while it hasn't."""
    held = (job.get("status") or {}).get("conditions")
    return next((kind for kind in ("Complete", "Failed") if conditions.is_true(held, kind)), None)


_UNSUPPORTED = (
    "CRON_TZ or TZ used in schedule {} is not officially supported, see "
    "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)
_TOO_MANY = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"


def _keys(plural: str, old: Object | None, new: Object | None, _view: View) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    if plural == "cronjobs":
        unchanged = old is not None and new is not None and old["spec"] == new["spec"]
        return [] if unchanged else [Due(key_of(present))]
    owner = controller_of(present)
    ours = owner is not None and owner["kind"] == "CronJob"
    return [Due(f"{present['metadata']['namespace']}/{owner['name']}")] if owner is not None and ours else []


CRONJOB = Controller(
    name="cronjob",
    source="cronjob-controller",
    reads=("cronjobs", "jobs"),
    keys=_keys,
    reconcile=reconcile,
    workers=5,
)
