"""Jobs: every pod counted exactly once, whatever happens between the steps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers import indexes, job, job_policies, ttl_after_finished
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
    world.act(ttl_after_finished.reconcile("default/j", world.view))
    assert world.requeues[-1] == 60
    world.pass_time(61)
    world.act(ttl_after_finished.reconcile("default/j", world.view))
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


def fail(world: Any, pod: Object, code: int = 1, conditions: Any = ()) -> None:
    ended = {"exitCode": code, "finishedAt": world.stamp}
    containers = [{"name": "c", "restartCount": 0, "state": {"terminated": ended}}]
    held = {"phase": "Failed", "containerStatuses": containers, "conditions": list(conditions)}
    world.put({**pod, "status": held})
    settle(world)


def indexes_of(pods: list[Object]) -> list[int]:
    return sorted(int(pod["metadata"]["annotations"][indexes.ANNOTATION]) for pod in pods)


def has(world: Any, kind: str) -> str | None:
    held = status(world).get("conditions") or ()
    return next((one["reason"] for one in held if one["type"] == kind and one["status"] == "True"), None)


RULES = [
    {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}},
    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [7]}},
]


@pytest.mark.parametrize(
    ("code", "conditions", "action", "counts"),
    [
        (42, (), "FailJob", True),
        (1, (), "Count", True),
        (7, (), "", True),
        (1, ({"type": "DisruptionTarget", "status": "True"},), "Ignore", False),
        (1, ({"type": "DisruptionTarget", "status": "False"},), "Count", True),
        (42, ({"type": "DisruptionTarget", "status": "True"},), "FailJob", True),
    ],
)
def test_the_first_matching_rule_judges_a_failure(code: int, conditions: Any, action: str, counts: bool) -> None:
    ended = {"name": "c", "state": {"terminated": {"exitCode": code}}}
    pod = {"metadata": {"namespace": "n", "name": "p"}, "status": {"containerStatuses": [ended]}}
    pod["status"]["conditions"] = list(conditions)
    found = job_policies.judge({"spec": {"podFailurePolicy": {"rules": RULES}}}, pod)
    assert (found.action, found.counts) == (action, counts)


def test_a_rule_fails_the_job_at_once(world: Any) -> None:
    make(world, completions=3, parallelism=3, podFailurePolicy={"rules": RULES}, podReplacementPolicy="Failed")
    settle(world)
    pod = running(world)[0]
    fail(world, pod, 42)
    assert has(world, "Failed") == "PodFailurePolicy"
    name = pod["metadata"]["name"]
    message = f"Container c for pod default/{name} failed with exit code 42 matching FailJob rule at index 0"
    assert ("PodFailurePolicy", message) in world.events
    assert running(world) == []


def test_an_ignored_failure_costs_nothing(world: Any) -> None:
    make(world, backoffLimit=0, podFailurePolicy={"rules": RULES}, podReplacementPolicy="Failed")
    settle(world)
    fail(world, running(world)[0], 1, [{"type": "DisruptionTarget", "status": "True"}])
    world.pass_time(11)
    settle(world)
    assert len(running(world)) == 1
    assert "failed" not in status(world)


def test_a_pod_being_deleted_is_replaced_only_once_it_ended_when_asked(world: Any) -> None:
    make(world, podReplacementPolicy="Failed")
    settle(world)
    pod = running(world)[0]
    world.put({**pod, "metadata": {**pod["metadata"], "deletionTimestamp": world.stamp}})
    settle(world)
    assert running(world) == []
    assert status(world)["terminating"] == 1
    fail(world, world.pods(active=False)[0])
    world.pass_time(11)
    settle(world)
    assert len(running(world)) == 1
    assert status(world)["failed"] == 1


def test_every_index_has_its_own_limit(world: Any) -> None:
    spec = {"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1}
    make(world, backoffLimit=2**31 - 1, **spec)
    settle(world)
    bad = next(pod for pod in running(world) if indexes_of([pod]) == [0])
    assert bad["metadata"]["annotations"][job_policies.FAILURES] == "0"
    fail(world, bad)
    assert indexes_of(running(world)) == [1], "the index waits"
    assert world.requeues[-1] == 10
    world.pass_time(10)
    settle(world)
    again = next(pod for pod in running(world) if indexes_of([pod]) == [0])
    assert again["metadata"]["annotations"][job_policies.FAILURES] == "1"
    assert status(world)["failed"] == 1
    fail(world, again)
    assert status(world)["failedIndexes"] == "0"
    world.pass_time(3600)
    settle(world)
    assert indexes_of(running(world)) == [1]
    world.set_phase(running(world)[0], "Succeeded")
    settle(world)
    assert has(world, "Failed") == "FailedIndexes"
    assert (status(world)["succeeded"], status(world)["failed"], status(world)["completedIndexes"]) == (1, 2, "1")
    assert not any(pod["metadata"].get("finalizers") for pod in world.pods())


def test_too_many_failed_indexes_end_the_job(world: Any) -> None:
    spec = {"completions": 4, "parallelism": 4, "completionMode": "Indexed", "backoffLimitPerIndex": 0}
    make(world, backoffLimit=2**31 - 1, maxFailedIndexes=1, **spec)
    settle(world)
    for _ in range(2):
        fail(world, running(world)[0])
    world.reap()
    settle(world)
    assert has(world, "Failed") == "MaxFailedIndexesExceeded"


@pytest.mark.parametrize(
    ("rule", "done", "met"),
    [
        ({"succeededIndexes": "0"}, [0], True),
        ({"succeededIndexes": "0"}, [1], False),
        ({"succeededIndexes": "0-2", "succeededCount": 2}, [0, 2], True),
        ({"succeededIndexes": "0-2", "succeededCount": 2}, [0, 3], False),
        ({"succeededCount": 2}, [1, 3], True),
    ],
)
def test_success_policies(world: Any, rule: Object, done: list[int], met: bool) -> None:
    spec = {"completions": 4, "parallelism": 4, "completionMode": "Indexed", "successPolicy": {"rules": [rule]}}
    make(world, **spec)
    settle(world)
    for pod in running(world):
        if indexes_of([pod])[0] in done:
            world.set_phase(pod, "Succeeded")
    settle(world)
    world.reap()
    settle(world)
    assert (has(world, "Complete") == "SuccessPolicy") == met
    assert (running(world) == []) == met


def test_a_repeated_index_is_stopped(world: Any) -> None:
    make(world, completions=2, parallelism=2, completionMode="Indexed")
    settle(world)
    pod = running(world)[0]
    world.put({**pod, "metadata": {**pod["metadata"], "name": "copy", "uid": "copy"}})
    settle(world)
    assert indexes_of(running(world)) == [0, 1]


def test_fewer_completions_of_an_indexed_job(world: Any) -> None:
    make(world, completions=3, parallelism=3, completionMode="Indexed")
    settle(world)
    live = world.view.get("jobs", "default/j")
    world.put({**live, "spec": {**live["spec"], "completions": 2, "parallelism": 2}})
    settle(world)
    assert indexes_of(running(world)) == [0, 1]


def test_somebody_elses_job_is_left_alone(world: Any) -> None:
    make(world, managedBy="example.com/queue")
    settle(world)
    assert running(world) == []


@given(
    seed=st.randoms(use_true_random=False),
    completions=st.integers(1, 5),
    parallelism=st.integers(1, 4),
    per_index=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_index_is_counted_once_whatever_happens(
    world_type: Any, seed: Any, completions: int, parallelism: int, per_index: bool
) -> None:
    world = world_type()
    spec: Object = {"completions": completions, "parallelism": parallelism, "completionMode": "Indexed"}
    spec |= {"backoffLimit": 1000, "backoffLimitPerIndex": 1} if per_index else {"backoffLimit": 1000}
    make(world, **spec)
    failed: set[str] = set()
    for _ in range(400):
        event = seed.choice(["step", "part", "succeed", "fail", "reap", "time"])
        actions = job.reconcile("default/j", world.view) if event in ("step", "part") else []
        live = running(world)
        if event == "step":
            world.act(actions)
        elif event == "part":  # the loop was stopped after some of the writes
            world.act(actions[: seed.randint(0, len(actions))])
        elif event == "reap":
            world.reap()
        elif event == "time":
            world.pass_time(700)
        elif live and event == "succeed":
            world.set_phase(seed.choice(live), "Succeeded")
        elif live and seed.random() < 0.5:
            pod = seed.choice(live)
            failed.add(pod["metadata"]["uid"])
            world.set_phase(pod, "Failed")
        assert len([pod for pod in running(world) if not pod["metadata"].get("deletionTimestamp")]) <= parallelism
    for _ in range(30):
        for pod in running(world):
            world.set_phase(pod, "Succeeded")
        world.pass_time(700)
        settle(world)
        world.reap()
    settle(world)
    found = status(world)
    succeeded, lost = indexes.parse(found.get("completedIndexes", "")), indexes.parse(found.get("failedIndexes", ""))
    assert has(world, "Complete") or has(world, "Failed")
    assert found.get("succeeded", 0) == len(succeeded)
    assert succeeded | lost == set(range(completions))
    assert not succeeded & lost
    assert found.get("failed", 0) == len(failed)
    assert found["uncountedTerminatedPods"] == {}
