"""CronJobs and their schedules: the right times, once each, whatever the clock and the policies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers import cronjob, schedules
from oarlock.actors.controllers.actions import RecordEvent, Requeue

Object = dict[str, Any]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "zone", "moment", "expected"),
    [
        ("* * * * *", "UTC", "2026-01-01T00:00:30", "2026-01-01T00:01:00"),
        ("* * * * *", "UTC", "2026-01-01T00:00:00", "2026-01-01T00:01:00"),
        ("*/15 9-17 * * 1-5", "UTC", "2026-01-02T17:50:00", "2026-01-05T09:00:00"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 13 * fri", "UTC", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("0 0 */2 * 1", "UTC", "2026-01-02T00:00:00", "2026-01-03T00:00:00"),
        ("0 0 * * 0", "UTC", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("5/20 * * * *", "UTC", "2026-01-01T00:06:00", "2026-01-01T00:25:00"),
        ("@hourly", "UTC", "2026-01-01T00:30:00", "2026-01-01T01:00:00"),
        ("@yearly", "UTC", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("@every 90s", "UTC", "2026-01-01T00:00:00", "2026-01-01T00:01:30"),
        ("0 9 * * *", "Asia/Kathmandu", "2026-01-01T00:00:00", "2026-01-01T03:15:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00", "2026-03-30T00:30:00"),  # left out on the 29th
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00", "2026-10-25T01:30:00"),  # comes twice
        ("TZ=Asia/Tokyo 0 9 * * *", "UTC", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
    ],
)
def test_the_next_time(schedule: str, zone: str, moment: str, expected: str) -> None:
    assert schedules.parse(schedule, ZoneInfo(zone)).after(at(moment)) == at(expected)


def test_a_time_that_never_comes() -> None:
    assert schedules.parse("0 0 31 2 *", ZoneInfo("UTC")).after(at("2026-01-01T00:00:00")) is None


@given(st.integers(0, 365 * 24 * 3600), st.sampled_from(["UTC", "Europe/Berlin"]))
@settings(max_examples=50, deadline=None)
def test_the_next_time_is_the_first_that_matches(seconds: int, zone: str) -> None:
    moment = at("2026-01-01T00:00:00") + timedelta(seconds=seconds)
    found = schedules.parse("*/7 */3 * * 1,4", ZoneInfo(zone)).after(moment)
    one = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while True:
        local = one.astimezone(ZoneInfo(zone))
        if local.minute % 7 == 0 and local.hour % 3 == 0 and local.isoweekday() in (1, 4):
            break
        one += timedelta(minutes=1)
    assert found == one


def make(world: Any, **spec: Any) -> None:
    body = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {}}}, **spec}
    old = world.view.get("cronjobs", "default/c")
    world.put({**(old or {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}}), "spec": body})


def step(world: Any) -> None:
    world.act(cronjob.reconcile("default/c", world.view))


def jobs(world: Any) -> list[str]:
    return sorted(one["metadata"]["name"] for one in world.view.list("jobs"))


def status(world: Any) -> Object:
    found: Object = world.view.get("cronjobs", "default/c").get("status") or {}
    return found


def end(world: Any, name: str, how: str = "Complete") -> None:
    job = world.view.get("jobs", f"default/{name}")
    condition = {"type": how, "status": "True", "lastTransitionTime": world.stamp}
    ended = {"conditions": [condition], "startTime": job["metadata"]["creationTimestamp"]}
    world.put({**job, "status": {**ended, "completionTime": world.stamp}})


def minute(world: Any, count: int = 1) -> None:
    world.pass_time(60 * count)
    step(world)


FIRST = "c-" + str(int(at("2026-01-01T00:01:00").timestamp()) // 60)
SECOND = "c-" + str(int(at("2026-01-01T00:02:00").timestamp()) // 60)


def test_a_job_a_minute(world: Any) -> None:
    make(world)
    step(world)
    assert jobs(world) == []
    assert world.requeues == [60.1]
    minute(world)
    assert jobs(world) == [FIRST]
    assert status(world)["lastScheduleTime"] == "2026-01-01T00:01:00Z"
    assert [one["name"] for one in status(world)["active"]] == [FIRST]
    made = world.view.get("jobs", f"default/{FIRST}")
    assert made["metadata"]["annotations"][cronjob.SCHEDULED] == "2026-01-01T00:01:00Z"
    step(world)
    assert jobs(world) == [FIRST]
    end(world, FIRST)
    step(world)
    step(world)
    assert "active" not in status(world)
    assert status(world)["lastSuccessfulTime"] == world.stamp
    assert ("SawCompletedJob", f"Saw completed job: {FIRST}, condition: Complete") in world.events


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("Allow", [FIRST, SECOND]), ("Forbid", [FIRST]), ("Replace", [SECOND])],
)
def test_concurrency(world: Any, policy: str, expected: list[str]) -> None:
    make(world, concurrencyPolicy=policy)
    minute(world)
    minute(world)
    assert jobs(world) == expected
    assert sorted(one["name"] for one in status(world)["active"]) == expected
    reasons = [reason for reason, _ in world.events]
    assert ("JobAlreadyActive" in reasons) == (policy == "Forbid")
    assert ("SuccessfulDelete" in reasons) == (policy == "Replace")


def test_only_the_latest_of_missed_times_is_made_up_for(world: Any) -> None:
    make(world)
    world.pass_time(3600)
    step(world)
    assert status(world)["lastScheduleTime"] == "2026-01-01T01:00:00Z"
    assert len(jobs(world)) == 1


def test_too_many_missed_times_are_told_of(world: Any) -> None:
    make(world)
    world.pass_time(2 * 3600)
    step(world)
    assert len(jobs(world)) == 1
    assert "TooManyMissedTimes" in dict(world.events)


@pytest.mark.parametrize(("deadline_s", "made"), [(10, 0), (40, 1)])
def test_a_start_that_is_too_late_is_missed(world: Any, deadline_s: int, made: int) -> None:
    make(world, schedule="0 * * * *", startingDeadlineSeconds=deadline_s)
    world.pass_time(3600 + 30)
    step(world)
    assert len(jobs(world)) == made


def test_a_suspended_one_starts_nothing_until_it_goes_on(world: Any) -> None:
    make(world, suspend=True)
    minute(world)
    assert jobs(world) == []
    make(world, suspend=False)
    step(world)
    assert jobs(world) == [FIRST]


def test_history_limits(world: Any) -> None:
    make(world, successfulJobsHistoryLimit=2, failedJobsHistoryLimit=0)
    for number in range(5):
        minute(world)
        for name in jobs(world):
            if not (world.view.get("jobs", f"default/{name}").get("status")):
                end(world, name, "Failed" if number == 3 else "Complete")
        step(world)
        step(world)
    assert len(jobs(world)) == 2


def test_a_crash_before_the_status_makes_no_second_job(world: Any) -> None:
    make(world)
    world.pass_time(60)
    created = next(one for one in cronjob.reconcile("default/c", world.view) if isinstance(one, cronjob.Create))
    world.put(created.obj)
    step(world)
    assert jobs(world) == [FIRST]
    assert [one["name"] for one in status(world)["active"]] == [FIRST]


@pytest.mark.parametrize("done", range(4))
def test_a_replacement_goes_on_wherever_it_broke_off(world: Any, done: int) -> None:
    make(world, concurrencyPolicy="Replace")
    minute(world)
    world.pass_time(60)
    writes = [one for one in cronjob.reconcile("default/c", world.view) if not isinstance(one, RecordEvent | Requeue)]
    world.act(writes[:done])
    for _ in range(3):
        step(world)
    assert jobs(world) == [SECOND]
    assert [one["name"] for one in status(world)["active"]] == [SECOND]
    assert status(world)["lastScheduleTime"] == "2026-01-01T00:02:00Z"


def test_a_time_zone_decides(world: Any) -> None:
    make(world, schedule="30 5 * * *", timeZone="Asia/Kolkata")
    minute(world)
    assert jobs(world) == []
    world.pass_time(24 * 3600)
    step(world)
    made = world.view.list("jobs")[0]
    assert made["metadata"]["annotations"][cronjob.SCHEDULED] == "2026-01-02T05:30:00+05:30"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"timeZone": "Nowhere/At"}, "UnknownTimeZone"),
        ({"schedule": "not a schedule"}, "UnparseableSchedule"),
        ({"schedule": "TZ=UTC * * * * *"}, "UnsupportedSchedule"),
    ],
)
def test_what_cannot_be_understood_is_told(world: Any, spec: Object, reason: str) -> None:
    make(world, **spec)
    step(world)
    assert reason in dict(world.events)


def test_an_active_job_that_is_gone_is_dropped(world: Any) -> None:
    make(world)
    minute(world)
    world.remove(world.view.get("jobs", f"default/{FIRST}"))
    step(world)
    assert "active" not in status(world)
    assert ("MissingJob", f"Active job went missing: {FIRST}") in world.events


MOVES = st.one_of(
    st.tuples(st.just("time"), st.sampled_from([7, 60, 60, 190])),
    st.tuples(st.just("time"), st.just(60)),
    st.tuples(st.just("end"), st.sampled_from(["Complete", "Failed"])),
    st.tuples(st.just("remove"), st.just("")),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("step"), st.sampled_from([0, 1, 2])),
    st.tuples(st.just("step"), st.just(9)),
    st.tuples(st.just("step"), st.just(9)),
)


@given(
    st.sampled_from(["Allow", "Forbid", "Replace"]),
    st.sampled_from([None, 10, 100]),
    st.integers(0, 2),
    st.lists(MOVES, min_size=10, max_size=30),
)
@settings(deadline=None, max_examples=100)
def test_a_job_for_a_time_at_most_whatever_happens(
    world_type: Any, policy: str, deadline_s: int | None, history: int, moves: list[tuple[str, Any]]
) -> None:
    """Jobs end, are taken away, time passes, and the controller is stopped before any of its writes."""
    world = world_type()
    limits = {"successfulJobsHistoryLimit": history, "failedJobsHistoryLimit": history}
    spec: Object = {"concurrencyPolicy": policy, "startingDeadlineSeconds": deadline_s, **limits}
    make(world, **spec)
    made: list[str] = []

    def note(change: str, _: Object | None, new: Object | None) -> None:
        if change == "ADDED" and new is not None:
            made.append(new["metadata"]["name"])

    world.view.caches["jobs"].add_handler(note)
    suspended = False
    for move, how in moves:
        running = [one for one in world.view.list("jobs") if not (one.get("status") or {}).get("conditions")]
        if move == "time":
            world.pass_time(how)
        elif move == "end" and running:
            end(world, running[0]["metadata"]["name"], how)
        elif move == "remove":  # one that was noted: what was taken away unseen is made again
            noted = {one["uid"] for one in status(world).get("active") or ()}
            for job in [one for one in running if one["metadata"]["uid"] in noted][:1]:
                world.remove(job)
        elif move == "suspend":
            suspended = how
            make(world, **spec, suspend=how)
        elif move == "step":
            before = len(made)
            world.act_until(cronjob.reconcile("default/c", world.view), how)
            assert len(made) - before <= (0 if suspended else 1)
        active = [one for one in world.view.list("jobs") if not (one.get("status") or {}).get("conditions")]
        assert policy == "Allow" or len(active) <= 1
    assert len(made) == len(set(made)), "two jobs for one time"
    make(world, **spec, suspend=True)
    step(world)
    step(world)
    left = world.view.list("jobs")
    ended = [one for one in left if (one.get("status") or {}).get("conditions")]
    for how in ("Complete", "Failed"):
        assert sum(one["status"]["conditions"][0]["type"] == how for one in ended) <= history
    running = {one["metadata"]["name"] for one in left if one not in ended}
    assert {one["name"] for one in status(world).get("active") or ()} == running
