"""Deployments together with their ReplicaSets, against the caches alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers import deployment, replicaset, rollback
from oarlock.actors.controllers.conditions import find
from oarlock.actors.controllers.revisions import REVISION, template_hash

Object = dict[str, Any]


def make(world: Any, image: str = "a:1", **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    body = {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template,
        "progressDeadlineSeconds": 600,
        "revisionHistoryLimit": 10,
        **spec,
    }
    made: Object = world.put({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": body})
    return made


def settle(world: Any, *, ready: bool = True, rounds: int = 60) -> None:
    """Run both controllers, and a node that makes pods ready and reaps deleted ones, until nothing changes."""
    for _ in range(rounds):
        before = world.revision
        world.act(deployment.reconcile("default/web", world.view))
        for one in world.view.list("replicasets"):
            world.act(replicaset.reconcile(f"default/{one['metadata']['name']}", world.view))
        if ready:
            for pod in world.pods():
                if not pod.get("status"):
                    world.set_phase(pod, "Running")
        world.reap()
        if world.revision == before:
            return
    raise AssertionError("never settled")


def current(world: Any) -> Object:
    found: Object = world.view.get("deployments", "default/web")
    return found


def change(world: Any, **spec: Any) -> None:
    held = current(world)
    world.put({**held, "spec": {**held["spec"], **spec}})


def template(image: str) -> Object:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}


def test_a_new_deployment_becomes_available(world: Any) -> None:
    make(world)
    settle(world)
    status = current(world)["status"]
    assert (status["replicas"], status["updatedReplicas"], status["availableReplicas"]) == (3, 3, 3)
    assert "unavailableReplicas" not in status
    assert [(one["type"], one["status"], one["reason"]) for one in status["conditions"]] == [
        ("Available", "True", "MinimumReplicasAvailable"),
        ("Progressing", "True", "NewReplicaSetAvailable"),
    ]
    assert current(world)["metadata"]["annotations"][REVISION] == "1"
    (owned,) = world.view.list("replicasets")
    assert owned["metadata"]["labels"]["pod-template-hash"] in owned["metadata"]["name"]
    assert owned["metadata"]["annotations"]["deployment.kubernetes.io/max-replicas"] == "4"
    assert len(world.pods()) == 3
    assert ("ScalingReplicaSet", f"Scaled up replica set {owned['metadata']['name']} from 0 to 3") in world.events


def test_three_pods_cost_at_most_twelve_writes(world: Any) -> None:
    make(world)
    settle(world)
    assert len(world.writes) <= 12, world.writes


@pytest.mark.parametrize(("adopted", "reason"), [(False, "NewReplicaSetCreated"), (True, "FoundNewReplicaSet")])
def test_what_it_says_of_a_set_that_makes_no_progress(world: Any, adopted: bool, reason: str) -> None:
    make(world)
    world.act(deployment.reconcile("default/web", world.view))
    (owned,) = world.view.list("replicasets")
    born = {"creationTimestamp": "2025-01-01T00:00:00Z"} if adopted else {}
    world.put({**owned, "metadata": {**owned["metadata"], **born}, "status": {"replicas": 0, "observedGeneration": 1}})
    world.act(deployment.reconcile("default/web", world.view))
    progressing = find(current(world)["status"]["conditions"], "Progressing")
    assert progressing is not None
    assert progressing["reason"] == reason


def test_a_settled_deployment_costs_nothing(world: Any) -> None:
    make(world)
    settle(world)
    before = len(world.writes)
    settle(world)
    assert len(world.writes) == before


def test_a_rollout_ends_with_the_new_template_and_keeps_the_old_set(world: Any) -> None:
    make(world)
    settle(world)
    change(world, template=template("a:2"))
    settle(world)
    sizes = {
        one["metadata"]["annotations"][REVISION]: one["spec"]["replicas"] for one in world.view.list("replicasets")
    }
    assert sizes == {"1": 0, "2": 3}
    assert {pod["spec"]["containers"][0]["image"] for pod in world.pods()} == {"a:2"}
    assert current(world)["metadata"]["annotations"][REVISION] == "2"


def test_a_rollback_raises_the_old_sets_revision_and_notes_its_history(world: Any) -> None:
    make(world)
    settle(world)
    change(world, template=template("bad:1"))
    settle(world, ready=False)
    change(world, template=template("a:1"))
    settle(world)
    back = next(one for one in world.view.list("replicasets") if one["spec"]["replicas"] == 3)
    assert back["metadata"]["annotations"][REVISION] == "3"
    assert back["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"


def test_a_bad_image_keeps_the_old_pods(world: Any) -> None:
    make(world)
    settle(world)
    change(world, template=template("bad:1"))
    settle(world, ready=False)
    images = [pod["spec"]["containers"][0]["image"] for pod in world.pods()]
    assert images.count("a:1") == 3
    assert images.count("bad:1") == 1


def test_recreate_never_runs_two_templates_at_once(world: Any) -> None:
    make(world, strategy={"type": "Recreate"})
    settle(world)
    change(world, template=template("a:2"))
    world.act(deployment.reconcile("default/web", world.view))
    for one in world.view.list("replicasets"):
        world.act(replicaset.reconcile(f"default/{one['metadata']['name']}", world.view))
    world.act(deployment.reconcile("default/web", world.view))
    assert len(world.view.list("replicasets")) == 1, "old pods still terminate"
    settle(world)
    assert {pod["spec"]["containers"][0]["image"] for pod in world.pods()} == {"a:2"}


def test_paused_scales_but_does_not_roll(world: Any) -> None:
    make(world)
    settle(world)
    change(world, paused=True, template=template("a:2"), replicas=5)
    settle(world)
    assert [pod["spec"]["containers"][0]["image"] for pod in world.pods()] == ["a:1"] * 5
    progressing = find(current(world)["status"]["conditions"], "Progressing")
    assert progressing is not None
    change(world, paused=False)
    settle(world)
    assert {pod["spec"]["containers"][0]["image"] for pod in world.pods()} == {"a:2"}


def test_a_pause_is_told_before_anything_else(world: Any) -> None:
    make(world, paused=True)
    world.act(deployment.reconcile("default/web", world.view))
    status = current(world)["status"]
    assert [one["reason"] for one in status["conditions"]] == ["DeploymentPaused"]
    assert "observedGeneration" not in status
    settle(world)
    assert [one["type"] for one in current(world)["status"]["conditions"]] == ["Progressing", "Available"]
    assert current(world)["status"]["observedGeneration"] == current(world)["metadata"]["generation"]


def test_history_beyond_the_limit_goes(world: Any) -> None:
    make(world, revisionHistoryLimit=1)
    for number in range(4):
        change(world, template=template(f"a:{number}"))
        settle(world)
    revisions = sorted(one["metadata"]["annotations"][REVISION] for one in world.view.list("replicasets"))
    assert len(revisions) == 2, revisions


def test_a_stuck_rollout_passes_its_deadline(world: Any) -> None:
    make(world, progressDeadlineSeconds=60)
    settle(world, ready=False)
    assert world.requeues
    world.pass_time(62)
    settle(world, ready=False)
    progressing = find(current(world)["status"]["conditions"], "Progressing")
    assert progressing is not None
    assert (progressing["status"], progressing["reason"]) == ("False", "ProgressDeadlineExceeded")


def stick(world: Any, image: str) -> None:
    """Roll out an image that never becomes ready, until the deadline has passed."""
    change(world, template=template(image))
    settle(world, ready=False)
    world.pass_time(602)
    world.act(deployment.reconcile("default/web", world.view))


def image(world: Any) -> str:
    return str(current(world)["spec"]["template"]["spec"]["containers"][0]["image"])


def annotate(world: Any) -> None:
    held = current(world)
    annotations = {**(held["metadata"].get("annotations") or {}), rollback.ASKED: "true"}
    world.put({**held, "metadata": {**held["metadata"], "annotations": annotations}})


def test_a_stuck_rollout_goes_back_when_asked(world: Any) -> None:
    make(world)
    settle(world)
    annotate(world)
    stick(world, "a:bad")
    settle(world)
    assert image(world) == "a:1"
    assert current(world)["metadata"]["annotations"][REVISION] == "3"
    assert {pod["spec"]["containers"][0]["image"] for pod in world.pods()} == {"a:1"}
    assert "DeploymentRollback" in dict(world.events)
    change(world, template=template("a:2"))
    settle(world)
    assert image(world) == "a:2"


def test_a_stuck_rollout_stays_when_nobody_asked(world: Any) -> None:
    make(world)
    settle(world)
    stick(world, "a:bad")
    settle(world, ready=False)
    assert image(world) == "a:bad"


def test_a_rollback_goes_on_after_a_restart(world: Any) -> None:
    make(world)
    settle(world)
    annotate(world)
    stick(world, "a:bad")
    world.act(deployment.reconcile("default/web", world.view)[:1])
    assert image(world) == "a:bad"
    settle(world)
    assert image(world) == "a:1"


def test_two_bad_templates_do_not_take_turns(world: Any) -> None:
    make(world, "a:worse")
    settle(world, ready=False)
    annotate(world)
    stick(world, "a:bad")
    for _ in range(5):
        settle(world, ready=False)
        world.pass_time(700)
    assert image(world) == "a:worse"
    turns = [reason for reason, _ in world.events if reason == "DeploymentRollback"]
    assert len(turns) == 1


@given(number=st.integers())
def test_a_replica_sets_name_has_upstreams_form(number: int) -> None:
    assert re.fullmatch("[bcdf456789]{1,10}", template_hash(template(f"a:{number}")))
    assert template_hash(template(f"a:{number}")) == template_hash(template(f"a:{number}"))


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"app": "web", "pod-template-hash": "4"}},
        {"labels": {"app": "web"}, "creationTimestamp": None},
        {"annotations": {}, "labels": {"app": "web"}},
    ],
)
def test_templates_that_differ_in_nothing_are_named_alike(metadata: Object) -> None:
    plain = {"metadata": {"labels": {"app": "web"}}, "spec": template("a")["spec"]}
    assert template_hash({**plain, "metadata": metadata}) == template_hash(plain)
    assert template_hash(plain, 1) != template_hash(plain)


def test_a_name_taken_by_another_template_gets_another_hash(world: Any) -> None:
    made = make(world)
    (first,) = [one for one in deployment.reconcile("default/web", world.view) if type(one).__name__ == "Create"]
    alien = {**first.obj, "metadata": {**first.obj["metadata"], "ownerReferences": [], "labels": {"x": "y"}}}
    world.put(alien)
    settle(world)
    assert current(world)["status"]["collisionCount"] == 1
    (owned,) = world.view.controlled("replicasets", made)
    assert owned["metadata"]["name"] != alien["metadata"]["name"]
    assert len(world.view.controlled("pods", owned)) == 3


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("image"), st.integers(1, 3)),
            st.tuples(st.just("scale"), st.integers(0, 6)),
            st.tuples(st.just("kill"), st.integers(0, 5)),
            st.tuples(st.just("deployment"), st.just(0)),
            st.tuples(st.just("sets"), st.just(0)),
            st.tuples(st.just("part"), st.integers(0, 3)),
            st.tuples(st.just("ready"), st.just(0)),
        ),
        max_size=40,
    ),
)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_it_never_makes_more_pods_than_surge_allows(
    make_world: Any, steps: list[tuple[str, int]]
) -> None:
    world = make_world()
    make(world, replicas=4)
    most = 5
    for what, number in steps:
        if what == "image":
            change(world, template=template(f"a:{number}"))
        elif what == "scale":
            change(world, replicas=number)
            most = max(most, number + 2)
        elif what == "kill" and world.pods():
            world.remove(world.pods()[number % len(world.pods())])
        elif what == "deployment":
            world.act(deployment.reconcile("default/web", world.view))
        elif what == "part":  # the copy was stopped after some of its writes
            world.act(deployment.reconcile("default/web", world.view)[:number])
        elif what == "sets":
            for one in world.view.list("replicasets"):
                world.act(replicaset.reconcile(f"default/{one['metadata']['name']}", world.view))
            world.reap()
        elif what == "ready":
            for pod in world.pods():
                if not pod.get("status"):
                    world.set_phase(pod, "Running")
        asked = sum(one["spec"]["replicas"] for one in world.view.list("replicasets"))
        assert asked <= most
    settle(world)
    wanted = current(world)["spec"]["replicas"]
    assert len(world.pods()) == wanted
    assert current(world)["status"].get("availableReplicas", 0) == wanted


@pytest.fixture(scope="module")
def make_world(request: pytest.FixtureRequest) -> Any:
    """Hypothesis needs a fresh world for every example."""
    return request.getfixturevalue("world_type")
