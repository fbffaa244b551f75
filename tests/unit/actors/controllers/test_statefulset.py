"""StatefulSets: names, order, claims and revisions, also when something stops between two steps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers import history, statefulset

Object = dict[str, Any]

CLAIM = {"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"]}}


def make(world: Any, image: str = "a", **spec: Any) -> Object:
    labels = {"app": "s"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}]}}
    body = {
        "selector": {"matchLabels": labels},
        "template": template,
        "replicas": 3,
        "serviceName": "s",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        **spec,
    }
    old = world.view.get("statefulsets", "default/s")
    made: Object = world.put(
        {**(old or {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s"}}), "spec": body}
    )
    return made


def settle(world: Any) -> None:
    for _ in range(50):
        if not world.act(statefulset.reconcile("default/s", world.view)):
            return
    raise AssertionError("never settled")


def run(world: Any, *names: str) -> None:
    """Make pods Running and Ready, all that there are by default."""
    for pod in world.pods():
        if (not names or pod["metadata"]["name"] in names) and not (pod.get("status") or {}).get("phase"):
            world.set_phase(pod, "Running")


def roll(world: Any) -> None:
    for _ in range(40):
        settle(world)
        world.reap()
        run(world)
    settle(world)


def names(world: Any, *, active: bool = True) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in world.pods(active=active))


def images(world: Any) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["spec"]["containers"][0]["image"] for pod in world.pods()}


def claim_owners(world: Any) -> dict[str, list[str]]:
    found = world.view.list("persistentvolumeclaims")
    return {
        one["metadata"]["name"]: [ref["name"] for ref in one["metadata"].get("ownerReferences") or ()] for one in found
    }


def test_pods_come_one_after_the_other(world: Any) -> None:
    make(world)
    settle(world)
    assert names(world) == ["s-0"]
    run(world)
    settle(world)
    assert names(world) == ["s-0", "s-1"]


def test_parallel_pods_come_at_once(world: Any) -> None:
    make(world, podManagementPolicy="Parallel")
    settle(world)
    assert names(world) == ["s-0", "s-1", "s-2"]


def test_ordinals_start_where_asked(world: Any) -> None:
    make(world, replicas=2, ordinals={"start": 5})
    roll(world)
    assert names(world) == ["s-5", "s-6"]
    assert world.pods()[0]["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "5"


def test_a_partition_counts_from_the_first_ordinal(world: Any) -> None:
    make(world, replicas=3, ordinals={"start": 5})
    roll(world)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    make(world, "b", replicas=3, ordinals={"start": 5}, updateStrategy=strategy)
    roll(world)
    assert images(world) == {"s-5": "a", "s-6": "b", "s-7": "b"}


def test_scaling_down_takes_the_highest_and_waits_for_it(world: Any) -> None:
    make(world)
    roll(world)
    make(world, replicas=1)
    settle(world)
    assert names(world) == ["s-0", "s-1"]
    settle(world)
    assert names(world) == ["s-0", "s-1"], "s-2 is still there"
    world.reap()
    settle(world)
    assert names(world) == ["s-0"]


def test_an_update_goes_from_the_highest_down(world: Any) -> None:
    make(world)
    roll(world)
    make(world, "b")
    settle(world)
    assert names(world) == ["s-0", "s-1"]
    world.reap()
    settle(world)
    assert names(world) == ["s-0", "s-1", "s-2"]
    settle(world)
    assert len(world.pods()) == 3, "s-2 isn't ready yet"
    roll(world)
    assert set(images(world).values()) == {"b"}
    status = world.view.get("statefulsets", "default/s")["status"]
    assert status["currentRevision"] == status["updateRevision"]
    assert status["updatedReplicas"] == status["currentReplicas"] == 3


def test_more_may_be_unavailable_when_asked(world: Any) -> None:
    make(world, podManagementPolicy="Parallel")
    roll(world)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    make(world, "b", podManagementPolicy="Parallel", updateStrategy=strategy)
    settle(world)
    assert names(world) == ["s-0"]


def test_on_delete_leaves_pods_until_they_are_deleted(world: Any) -> None:
    make(world)
    roll(world)
    make(world, "b", updateStrategy={"type": "OnDelete"})
    roll(world)
    assert set(images(world).values()) == {"a"}
    world.remove(world.view.get("pods", "default/s-1"))
    roll(world)
    assert images(world) == {"s-0": "a", "s-1": "b", "s-2": "a"}


@pytest.mark.parametrize(
    ("deleted", "scaled", "before", "after"),
    [
        ("Retain", "Retain", [], []),
        ("Delete", "Retain", ["s"], ["s"]),
        ("Retain", "Delete", [], ["s-1"]),
        ("Delete", "Delete", ["s"], ["s-1"]),
    ],
)
def test_claims_go_with_whom_the_policy_says(
    world: Any, deleted: str, scaled: str, before: list[str], after: list[str]
) -> None:
    more: Object = {
        "volumeClaimTemplates": [CLAIM],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled},
    }
    make(world, replicas=2, **more)
    roll(world)
    assert claim_owners(world) == {"d-s-0": before, "d-s-1": before}
    make(world, replicas=1, **more)
    settle(world)
    assert claim_owners(world) == {"d-s-0": before, "d-s-1": after}
    assert names(world) == ["s-0"]


def test_a_pod_waits_while_its_claim_is_collected(world: Any) -> None:
    more: Object = {
        "volumeClaimTemplates": [CLAIM],
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Delete"},
    }
    make(world, replicas=2, **more)
    roll(world)
    make(world, replicas=1, **more)
    settle(world)
    world.reap()
    make(world, replicas=2, **more)
    settle(world)
    assert names(world) == ["s-0"]
    world.remove(world.view.get("persistentvolumeclaims", "default/d-s-1"))
    settle(world)
    assert names(world) == ["s-0", "s-1"]


def test_claims_are_mounted_and_a_lost_one_is_made_anew(world: Any) -> None:
    make(world, replicas=1, volumeClaimTemplates=[CLAIM])
    settle(world)
    assert world.pods()[0]["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "d-s-0"}
    world.remove(world.view.get("persistentvolumeclaims", "default/d-s-0"))
    settle(world)
    assert list(claim_owners(world)) == ["d-s-0"]


def test_orphaned_pods_and_revisions_are_adopted(world: Any) -> None:
    make(world, replicas=1)
    roll(world)
    for one in (*world.pods(), *world.view.list("controllerrevisions")):
        world.put({**one, "metadata": {**one["metadata"], "ownerReferences": []}})
    roll(world)
    assert len(world.view.list("controllerrevisions")) == 1
    assert world.pods()[0]["metadata"]["ownerReferences"][0]["name"] == "s"


def test_a_revisions_name_is_upstreams() -> None:
    """Source: the recorded StatefulSet `sts` of upstream v1.36.2."""
    container = {"name": "c", "image": "nginx:1.27", "resources": {}, "terminationMessagePath": "/dev/termination-log"}
    container |= {"terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent"}
    spec: Object = {"containers": [container], "restartPolicy": "Always", "terminationGracePeriodSeconds": 30}
    spec |= {"dnsPolicy": "ClusterFirst", "securityContext": {}, "schedulerName": "default-scheduler"}
    assert history.data_hash({"metadata": {"labels": {"app": "x"}}, "spec": spec}, 0) == "7f885764c6"


@given(seed=st.randoms(use_true_random=False), ordered=st.booleans(), unavailable=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_never_two_of_a_name_and_never_below_available(
    world_type: Any, seed: Any, ordered: bool, unavailable: int
) -> None:
    """Whatever happens between two steps: one pod a name, and an update never takes more than it may."""
    world = world_type()
    policy = "OrderedReady" if ordered else "Parallel"
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": unavailable}}
    more: Object = {"podManagementPolicy": policy, "updateStrategy": strategy, "replicas": 4}
    make(world, **more)
    roll(world)
    make(world, "b", **more)
    for _ in range(60):
        event = seed.choice(["reconcile", "one", "reap", "run"])
        if event == "reconcile":
            world.act(statefulset.reconcile("default/s", world.view))
        elif event == "one":  # stopped after the first write
            world.act(statefulset.reconcile("default/s", world.view)[:1])
        elif event == "reap":
            world.reap()
        else:
            run(world)
        ready = [pod for pod in world.pods() if statefulset.pods.is_ready(pod)]
        assert len(ready) >= 4 - unavailable
        assert len(world.pods(active=False)) <= 4
    roll(world)
    assert set(images(world).values()) == {"b"}
