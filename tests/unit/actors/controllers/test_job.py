"""Jobs: every pod counted exactly once, whatever happens between the steps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers import indexes, job
from oarlock.actors.controllers.conditions import is_true

Object = dict[str, Any]


def make(world: Any, **spec: Any) -> Object:
    labels = {"job-name": "j"}
    template = {
        "metadata": {"labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]},
    }
    body = {"selector": {"matchLabels": labels}, "template": template, "completions": 1, "parallelism": 1, **spec}
    made: Object = world.put({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": body})
    return made


def step(world: Any) -> int:
    return int(world.act(job.reconcile("default/j", world.view)))


def settle(world: Any) -> None:
    for _ in range(50):
        if not step(world):
            return
    raise AssertionError("never settled")


def status(world: Any) -> Object:
    found: Object = world.view.get("jobs", "default/j")["status"]
    return found


def running(world: Any) -> list[Object]:
    return [pod for pod in world.pods() if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]


def test_a_job_completes(world: Any) -> None:
    make(world, completions=3, parallelism=2)
    settle(world)
    assert len(running(world)) == status(world)["active"] == 2
    while pods := running(world):
        world.set_phase(pods[0], "Succeeded")
        settle(world)
    assert status(world)["succeeded"] == 3
    assert is_true(status(world)["conditions"], "Complete")
    assert [one["type"] for one in status(world)["conditions"]] == ["SuccessCriteriaMet", "Complete"]
    assert status(world)["uncountedTerminatedPods"] == {}
    assert not any(pod["metadata"].get("finalizers") for pod in world.pods())
    assert ("Completed", "Job completed") in world.events


def test_failures_back_off_and_end_the_job_at_the_limit(world: Any) -> None:
    make(world, backoffLimit=1)
    settle(world)
    world.set_phase(running(world)[0], "Failed")
    settle(world)
    assert running(world) == []
    assert world.requeues[-1] > 0
    world.pass_time(11)
    settle(world)
    world.set_phase(running(world)[0], "Failed")
    settle(world)
    assert status(world)["failed"] == 2
    assert is_true(status(world)["conditions"], "Failed")
    reasons = {one["reason"] for one in status(world)["conditions"]}
    assert reasons == {"BackoffLimitExceeded"}


def test_a_deadline_ends_the_job(world: Any) -> None:
    make(world, activeDeadlineSeconds=30)
    settle(world)
    assert world.requeues[-1] == 30.0
    world.pass_time(31)
    settle(world)
    world.reap()
    settle(world)
    assert is_true(status(world)["conditions"], "Failed")
    assert status(world)["conditions"][0]["reason"] == "DeadlineExceeded"


def test_suspend_removes_pods_without_counting_them(world: Any) -> None:
    made = make(world, parallelism=2, completions=2)
    settle(world)
    held = world.view.get("jobs", "default/j")
    world.put({**held, "spec": {**made["spec"], "suspend": True}})
    settle(world)
    assert running(world) == []
    assert "failed" not in status(world)
    assert is_true(status(world)["conditions"], "Suspended")
    held = world.view.get("jobs", "default/j")
    world.put({**held, "spec": {**made["spec"], "suspend": False}})
    settle(world)
    assert len(running(world)) == 2
    assert not is_true(status(world)["conditions"], "Suspended")


def test_indexed_pods_know_their_index_and_all_are_done_once(world: Any) -> None:
    make(world, completionMode="Indexed", completions=3, parallelism=3)
    settle(world)
    assert sorted(pod["spec"]["hostname"] for pod in running(world)) == ["j-0", "j-1", "j-2"]
    for pod in running(world):
        world.set_phase(pod, "Succeeded")
        settle(world)
    assert status(world)["completedIndexes"] == "0-2"
    assert is_true(status(world)["conditions"], "Complete")


def test_a_finished_job_goes_after_its_time_to_live(world: Any) -> None:
    make(world, ttlSecondsAfterFinished=60)
    settle(world)
    world.set_phase(running(world)[0], "Succeeded")
    settle(world)
    assert world.view.get("jobs", "default/j") is not None
    world.pass_time(61)
    settle(world)
    assert world.view.get("jobs", "default/j") is None


def test_pods_of_a_deleted_job_are_let_go(world: Any) -> None:
    make(world)
    settle(world)
    world.remove(world.view.get("jobs", "default/j"))
    settle(world)
    assert not any(pod["metadata"].get("finalizers") for pod in world.pods())


@given(
    outcomes=st.lists(st.sampled_from(["Succeeded", "Failed", "crash"]), min_size=6, max_size=30),
    cut=st.lists(st.integers(0, 4), min_size=40, max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_counts_are_exact_though_reconciles_break_off(world_type: Any, outcomes: list[str], cut: list[int]) -> None:
    """A reconcile may break off after any action: what is counted in the end is what ended."""
    world = world_type()
    make(world, completions=50, parallelism=2, backoffLimit=100)
    ended = {"Succeeded": 0, "Failed": 0}
    cuts = iter(cut)
    for outcome in outcomes:
        world.pass_time(700)
        settle(world)
        pod = running(world)[0]
        if outcome == "crash":
            world.act(job.reconcile("default/j", world.view)[: next(cuts)])
            continue
        world.set_phase(pod, outcome)
        ended[outcome] += 1
        world.act(job.reconcile("default/j", world.view)[: next(cuts)])
    world.pass_time(700)
    settle(world)
    assert status(world).get("succeeded", 0) == ended["Succeeded"]
    assert status(world).get("failed", 0) == ended["Failed"]


@pytest.mark.parametrize("text", ["", "0", "0,2", "0-2", "1,3-5,7"])
def test_indexes_keep_their_form(text: str) -> None:
    assert indexes.text(indexes.parse(text)) == text
