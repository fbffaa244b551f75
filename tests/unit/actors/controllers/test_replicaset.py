"""ReplicaSets: counting, adopting, ranking."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers import pods, replicaset
from oarlock.actors.controllers.actions import Burst, UpdateStatus

Object = dict[str, Any]


def make(world: Any, replicas: int = 3, **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "r"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": "r"}}, "template": template, **spec}
    made: Object = world.put({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r"}, "spec": body})
    return made


def loose(world: Any, name: str, **metadata: Any) -> Object:
    body = {"name": name, "labels": {"app": "r"}, **metadata}
    made: Object = world.put(
        {"apiVersion": "v1", "kind": "Pod", "metadata": body, "spec": {"containers": [{"name": "c"}]}}
    )
    return made


def step(world: Any) -> int:
    return int(world.act(replicaset.reconcile("default/r", world.view)))


def test_pods_carry_labels_owner_and_a_generated_name(world: Any) -> None:
    owner = make(world, 1)
    step(world)
    (pod,) = world.pods()
    assert pod["metadata"]["name"].startswith("r-")
    assert len(pod["metadata"]["name"]) == len("r-") + 5
    (reference,) = pod["metadata"]["ownerReferences"]
    assert reference == {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "r",
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def test_an_orphan_is_adopted_before_pods_are_made(world: Any) -> None:
    make(world, 2)
    loose(world, "orphan")
    step(world)
    assert len(world.pods()) == 1
    step(world)
    assert len(world.pods()) == 2
    assert all(pod["metadata"]["ownerReferences"] for pod in world.pods())


def test_a_pod_whose_labels_changed_is_released_and_replaced(world: Any) -> None:
    make(world, 1)
    step(world)
    (pod,) = world.pods()
    world.put({**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}})
    step(world)
    step(world)
    released = world.view.get("pods", f"default/{pod['metadata']['name']}")
    assert not released["metadata"].get("ownerReferences")
    assert len(world.pods()) == 2


def test_a_set_that_is_being_deleted_makes_nothing(world: Any) -> None:
    make(world, 2)
    owner = world.view.get("replicasets", "default/r")
    world.put({**owner, "metadata": {**owner["metadata"], "deletionTimestamp": world.stamp}})
    step(world)
    assert world.pods() == []


def test_a_failed_pod_is_replaced_but_kept(world: Any) -> None:
    make(world, 1)
    step(world)
    world.set_phase(world.pods()[0], "Failed")
    step(world)
    assert sorted(pods.phase(pod) for pod in world.pods()) == ["Failed", "Pending"]


def test_availability_waits_for_min_ready_seconds(world: Any) -> None:
    make(world, 1, minReadySeconds=10)
    step(world)
    world.set_phase(world.pods()[0], "Running")
    step(world)
    status = world.view.get("replicasets", "default/r")["status"]
    assert status["readyReplicas"] == 1
    assert "availableReplicas" not in status
    assert world.requeues[-1] == 10.0
    world.pass_time(10)
    step(world)
    assert world.view.get("replicasets", "default/r")["status"]["availableReplicas"] == 1


def test_a_refusal_stands_in_the_status(world: Any) -> None:
    make(world, 1)
    (burst,) = replicaset.reconcile("default/r", world.view)
    assert isinstance(burst, Burst)
    assert burst.refused is not None
    (write,) = burst.refused("exceeded quota")
    assert isinstance(write, UpdateStatus)
    (condition,) = write.obj["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("ReplicaFailure", "FailedCreate")
    world.act([write])
    step(world)
    step(world)
    assert "conditions" not in world.view.get("replicasets", "default/r")["status"]


def pod_like(world: Any, name: str, **change: Any) -> Object:
    status: Object = {"phase": change.get("phase", "Running"), "conditions": []}
    if change.get("ready", True):
        since = change.get("since", "2025-12-31T00:00:00Z")
        status["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
    status["containerStatuses"] = [{"restartCount": change.get("restarts", 0)}]
    annotations = {"controller.kubernetes.io/pod-deletion-cost": change["cost"]} if "cost" in change else {}
    created = change.get("created", "2025-12-30T00:00:00Z")
    metadata = {"name": name, "uid": name, "creationTimestamp": created, "annotations": annotations}
    return {"metadata": metadata, "spec": {"nodeName": change.get("node", "n1")}, "status": status}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"node": ""}, {}),
        ({"phase": "Pending"}, {}),
        ({"ready": False}, {}),
        ({"cost": "-5"}, {"cost": "7"}),
        ({"since": "2025-12-31T23:00:00Z"}, {}),
        ({"restarts": 4}, {}),
        ({"created": "2025-12-31T22:00:00Z"}, {}),
    ],
)
def test_which_pod_goes_first(world: Any, first: Object, then: Object) -> None:
    goes, stays = pod_like(world, "z", **first), pod_like(world, "a", **then)
    assert pods.least_wanted([stays, goes], [], world.now)[0] is goes


def test_crowded_nodes_give_first(world: Any) -> None:
    alone, crowded = pod_like(world, "a", node="n1"), pod_like(world, "b", node="n2")
    related = [alone, crowded, pod_like(world, "c", node="n2")]
    assert pods.least_wanted([alone, crowded], related, world.now)[0] is crowded


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_never_more_pods_than_were_asked_for_nor_fewer_in_the_end(world_type: Any, seed: Any) -> None:
    """Whatever happens between two steps, and wherever a step breaks off."""
    world = world_type()
    owner = make(world, 4)
    most = 4
    for number in range(60):
        event = seed.choice(["step", "part", "scale", "kill", "fail", "orphan", "reap", "ready"])
        live = [pod for pod in world.pods() if not pods.is_ended(pod)]
        if event == "step":
            step(world)
        elif event == "part":  # the copy was stopped in the middle of a burst
            actions = replicaset.reconcile("default/r", world.view)
            writes = [one for action in actions for one in (action.writes if isinstance(action, Burst) else [action])]
            world.act(writes[: seed.randint(0, len(writes))])
        elif event == "scale":
            replicas = seed.randint(0, 6)
            held = world.view.get("replicasets", "default/r")
            world.put({**held, "spec": {**held["spec"], "replicas": replicas}})
            most = max(most, replicas)
        elif event == "kill" and live:
            world.remove(seed.choice(live))
        elif event == "fail" and live:
            world.set_phase(seed.choice(live), "Failed")
        elif event == "orphan":
            loose(world, f"loose-{number}")
            most += 1
        elif event == "reap":
            world.reap()
        elif event == "ready":
            for pod in live:
                world.set_phase(pod, "Running")
        owned = [pod for pod in world.view.controlled("pods", owner) if pods.is_active(pod)]
        assert len(owned) <= most
    for _ in range(20):
        step(world)
    active = [pod for pod in world.view.controlled("pods", owner) if pods.is_active(pod)]
    held = world.view.get("replicasets", "default/r")
    assert len(active) == held["spec"]["replicas"] == held["status"]["replicas"]
