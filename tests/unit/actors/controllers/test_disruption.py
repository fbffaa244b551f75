"""PodDisruptionBudgets: what may be evicted, by owner kind, and what is said when that can't be known."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.actors.controllers import disruption, disruption_target
from oarlock.actors.controllers.conditions import find

Object = dict[str, Any]

LABELS = {"app": "x"}


def budget(world: Any, **spec: Any) -> None:
    body = {"selector": {"matchLabels": LABELS}, **spec}
    world.put(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "p"},
            "spec": body,
            "status": {},
        }
    )


def owner(world: Any, api_version: str, kind: str, replicas: int, above: Object | None = None) -> Object:
    metadata: Object = {"name": kind.lower()}
    if above is not None:
        metadata["ownerReferences"] = [reference(above)]
    made: Object = world.put(
        {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": {"replicas": replicas}}
    )
    return made


def reference(obj: Object) -> Object:
    metadata = obj["metadata"]
    named = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    return {**named, "controller": True}


def pods(world: Any, ready: int, unready: int = 0, above: Object | None = None) -> None:
    for number in range(ready + unready):
        references = [above] if above is not None else []
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"x-{number}", "labels": LABELS, "ownerReferences": references},
            "spec": {},
        }
        world.set_phase(world.put(pod), "Running" if number < ready else "Pending")


def status(world: Any) -> Object:
    world.act(disruption.reconcile("default/p", world.view))
    found: Object = world.view.get("poddisruptionbudgets", "default/p")["status"]
    return found


def counts(found: Object) -> tuple[int, int, int, int]:
    names = ("currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed")
    return tuple(found[name] for name in names)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("spec", "ready", "unready", "expected"),
    [
        ({"minAvailable": 2}, 3, 0, (3, 2, 3, 1)),
        ({"minAvailable": 2}, 2, 1, (2, 2, 3, 0)),
        ({"minAvailable": 0}, 2, 0, (2, 0, 2, 2)),
        ({"minAvailable": 1}, 0, 0, (0, 1, 0, 0)),
        ({"minAvailable": "50%"}, 3, 0, (3, 3, 5, 0)),
        ({"minAvailable": "50%"}, 5, 0, (5, 3, 5, 2)),
        ({"maxUnavailable": 1}, 5, 0, (5, 4, 5, 1)),
        ({"maxUnavailable": "30%"}, 5, 0, (5, 3, 5, 2)),
        ({"maxUnavailable": 9}, 3, 0, (3, 0, 5, 3)),
        ({}, 3, 0, (3, 0, 0, 0)),
    ],
)
def test_counts_by_what_the_budget_asks(
    world: Any, spec: Object, ready: int, unready: int, expected: tuple[int, ...]
) -> None:
    budget(world, **spec)
    pods(world, ready, unready, reference(owner(world, "apps/v1", "ReplicaSet", 5)))
    found = status(world)
    assert counts(found) == expected
    allowed = find(found["conditions"], "DisruptionAllowed")
    assert allowed is not None
    assert allowed["status"] == ("True" if expected[3] else "False")
    assert allowed["reason"] == ("SufficientPods" if expected[3] else "InsufficientPods")


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [("apps/v1", "ReplicaSet"), ("apps/v1", "StatefulSet"), ("v1", "ReplicationController")],
)
def test_expected_pods_are_the_owners_replicas(world: Any, api_version: str, kind: str) -> None:
    budget(world, maxUnavailable=1)
    pods(world, 2, 0, reference(owner(world, api_version, kind, 4)))
    assert counts(status(world)) == (2, 3, 4, 0)


def test_a_deployment_answers_for_all_its_replica_sets(world: Any) -> None:
    budget(world, maxUnavailable=1)
    deployment = owner(world, "apps/v1", "Deployment", 6)
    pods(world, 6, 0, reference(owner(world, "apps/v1", "ReplicaSet", 2, deployment)))
    assert counts(status(world)) == (6, 5, 6, 1)


def test_a_custom_owner_is_asked_for_its_scale(world: Any) -> None:
    budget(world, maxUnavailable=1)
    above = {"apiVersion": "example.com/v1", "kind": "Fleet", "name": "f", "uid": "u", "controller": True}
    pods(world, 2, 0, above)
    served = [{"name": "fleets", "kind": "Fleet"}, {"name": "fleets/scale", "kind": "Scale"}]
    world.answers["/apis/example.com/v1"] = {"resources": served}
    path = "/apis/example.com/v1/namespaces/default/fleets/f/scale"
    world.answers[path] = {"metadata": {"uid": "u"}, "spec": {"replicas": 3}}
    assert counts(status(world)) == (2, 2, 3, 0)


def test_an_owner_without_scale_allows_nothing_and_says_so(world: Any) -> None:
    budget(world, maxUnavailable=1)
    pods(world, 2, 0, {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": True})
    found = status(world)
    assert found["disruptionsAllowed"] == 0
    failed = find(found["conditions"], "DisruptionAllowed")
    assert failed is not None
    assert (failed["status"], failed["reason"]) == ("False", "SyncFailed")
    assert failed["message"] == "jobs.batch does not implement the scale subresource"
    assert "CalculateExpectedPodCountFailed" in dict(world.events)


def test_pods_without_owner_are_told_of(world: Any) -> None:
    budget(world, maxUnavailable=1)
    pods(world, 2)
    assert counts(status(world)) == (2, 0, 0, 0)
    message = dict(world.events)["UnmanagedPods"]
    assert "&LabelSelector{MatchLabels:map[string]string{app: x,},MatchExpressions:" in message


def test_an_evicted_pod_counts_no_more_until_its_time_is_over(world: Any) -> None:
    budget(world, minAvailable=1)
    pods(world, 2)
    live = world.view.get("poddisruptionbudgets", "default/p")
    world.put({**live, "status": {**status(world), "disruptedPods": {"x-0": world.stamp, "gone": world.stamp}}})
    found = status(world)
    assert found["disruptedPods"].keys() == {"x-0"}
    assert counts(found) == (1, 1, 2, 0)
    assert world.requeues[-1] == pytest.approx(120.1)
    world.pass_time(121)
    found = status(world)
    assert "disruptedPods" not in found
    assert counts(found) == (2, 1, 2, 1)
    assert "NotDeleted" in dict(world.events)


def test_a_settled_budget_is_not_written_again(world: Any) -> None:
    budget(world, minAvailable=1)
    pods(world, 2)
    status(world)
    assert world.act(disruption.reconcile("default/p", world.view)) == 0


@pytest.mark.parametrize(
    ("reason", "age_s", "cleared"),
    [("EvictionByEvictionAPI", 121, True), ("EvictionByEvictionAPI", 10, False), ("TerminationByKubelet", 999, False)],
)
def test_a_stale_target_is_cleared(world: Any, reason: str, age_s: int, cleared: bool) -> None:
    mark = {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": world.stamp}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {}, "status": {"conditions": [mark]}}
    world.put(pod)
    world.pass_time(age_s)
    assert bool(world.act(disruption_target.reconcile("default/x", world.view))) == cleared
    assert world.pods()[0]["status"]["conditions"][0]["status"] == ("False" if cleared else "True")
