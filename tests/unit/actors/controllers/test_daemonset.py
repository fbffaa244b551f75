"""DaemonSets: the right nodes, one pod each, and updates within their limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers import daemon_pods, pods
from oarlock.actors.controllers.daemonset import DaemonSets

Object = dict[str, Any]


class Fleet:
    def __init__(self, world: Any, nodes: int = 3, **spec: Any) -> None:
        self.world, self.controller = world, DaemonSets()
        for number in range(nodes):
            node(world, f"n{number}")
        self.make(**spec)

    def make(self, image: str = "a", pod: Any = None, **spec: Any) -> None:
        labels = {"app": "d"}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": image}], **(pod or {})},
        }
        body = {"selector": {"matchLabels": labels}, "template": template, **spec}
        old = self.world.view.get("daemonsets", "default/d")
        kind = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}}
        self.world.put({**(old or kind), "spec": body})

    def step(self, count: int | None = None) -> int:
        actions = self.controller.reconcile("default/d", self.world.view)
        return int(self.world.act(actions if count is None else actions[:count]))

    def settle(self) -> None:
        for _ in range(30):
            if not self.step():
                return
        raise AssertionError("never settled")

    def run(self) -> None:
        for pod in self.world.pods():
            if pods.phase(pod) == "Pending":
                self.bind(pod, "Running")

    def bind(self, pod: Object, phase: str) -> None:
        name = daemon_pods.target(pod)
        self.world.set_phase(pod, phase)
        live = self.world.view.get("pods", f"default/{pod['metadata']['name']}")
        self.world.put({**live, "spec": {**live["spec"], "nodeName": name}})

    def roll(self) -> None:
        for _ in range(30):
            self.settle()
            self.world.reap()
            self.run()
        self.settle()

    @property
    def places(self) -> list[str]:
        return sorted(daemon_pods.target(pod) for pod in self.world.pods())

    @property
    def images(self) -> set[str]:
        return {pod["spec"]["containers"][0]["image"] for pod in self.world.pods()}

    @property
    def status(self) -> Object:
        found: Object = self.world.view.get("daemonsets", "default/d")["status"]
        return found


def node(world: Any, name: str, *taints: Object, **labels: str) -> None:
    old = world.view.get("nodes", name) or {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    metadata = {**old["metadata"], "labels": labels}
    world.put({**old, "metadata": metadata, "spec": {"taints": list(taints)}})


def taint(key: str, effect: str) -> Object:
    return {"key": key, "effect": effect}


def affinity(**term: Any) -> Object:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}


@pytest.mark.parametrize(
    ("pod", "labels", "taints", "expected"),
    [
        ({}, {}, (), (True, True)),
        ({"nodeSelector": {"disk": "fast"}}, {"disk": "fast"}, (), (True, True)),
        ({"nodeSelector": {"disk": "fast"}}, {}, (), (False, False)),
        ({"nodeName": "n0"}, {}, (), (True, True)),
        ({"nodeName": "n1"}, {}, (), (False, False)),
        ({}, {}, (taint("a", "NoSchedule"),), (False, True)),
        ({}, {}, (taint("a", "NoExecute"),), (False, False)),
        ({}, {}, (taint("a", "PreferNoSchedule"),), (True, True)),
        ({"tolerations": [{"operator": "Exists"}]}, {}, (taint("a", "NoExecute"),), (True, True)),
        ({}, {}, (taint("node.kubernetes.io/unschedulable", "NoSchedule"),), (True, True)),
        ({}, {}, (taint("node.kubernetes.io/unreachable", "NoExecute"),), (True, True)),
        ({}, {}, (taint("node.kubernetes.io/network-unavailable", "NoSchedule"),), (False, True)),
        ({"hostNetwork": True}, {}, (taint("node.kubernetes.io/network-unavailable", "NoSchedule"),), (True, True)),
        (affinity(matchExpressions=[{"key": "x", "operator": "Gt", "values": ["3"]}]), {"x": "4"}, (), (True, True)),
        (affinity(matchExpressions=[{"key": "x", "operator": "Gt", "values": ["3"]}]), {"x": "3"}, (), (False, False)),
        (affinity(matchFields=[{"key": "metadata.name", "operator": "In", "values": ["n0"]}]), {}, (), (True, True)),
        (affinity(matchFields=[{"key": "metadata.name", "operator": "In", "values": ["n9"]}]), {}, (), (False, False)),
        (affinity(), {}, (), (False, False)),
    ],
)
def test_which_nodes_fit(pod: Object, labels: Object, taints: Any, expected: tuple[bool, bool]) -> None:
    found = {"metadata": {"name": "n0", "labels": labels}, "spec": {"taints": list(taints)}}
    owner = {"spec": {"template": {"spec": {"containers": [], **pod}}}}
    assert daemon_pods.fits(owner, found) == expected


def test_every_node_gets_one_and_new_nodes_too(world: Any) -> None:
    fleet = Fleet(world)
    fleet.settle()
    assert fleet.places == ["n0", "n1", "n2"]
    node(world, "n3")
    fleet.roll()
    assert fleet.places == ["n0", "n1", "n2", "n3"]
    assert fleet.status["numberReady"] == fleet.status["desiredNumberScheduled"] == 4


def test_a_node_that_fits_no_more_loses_its_pod(world: Any) -> None:
    fleet = Fleet(world, pod={"nodeSelector": {"a": "b"}})
    node(world, "n1", a="b")
    fleet.roll()
    assert fleet.places == ["n1"]
    node(world, "n1")
    fleet.roll()
    assert fleet.places == []


def test_a_taint_without_execution_leaves_the_pod(world: Any) -> None:
    fleet = Fleet(world, 1)
    fleet.roll()
    node(world, "n0", taint("a", "NoSchedule"))
    fleet.roll()
    assert fleet.places == ["n0"]
    assert fleet.status["numberMisscheduled"] == 1


def test_an_unbound_pod_of_a_node_that_went_goes(world: Any) -> None:
    fleet = Fleet(world, 2)
    fleet.settle()
    world.remove(world.view.get("nodes", "n1"))
    fleet.settle()
    assert fleet.places == ["n0"]


def test_a_failed_pod_is_replaced_ever_more_slowly(world: Any) -> None:
    fleet = Fleet(world, 1)
    fleet.roll()
    for wait_s in (0, 1, 2, 4):
        pod = world.pods()[0]
        fleet.bind(pod, "Failed")
        fleet.settle()
        if wait_s:
            assert world.pods()[0]["metadata"]["name"] == pod["metadata"]["name"]
            assert world.requeues[-1] == wait_s
            world.pass_time(wait_s)
            fleet.settle()
        assert world.pods()[0]["metadata"]["name"] != pod["metadata"]["name"]
        fleet.roll()
    assert "FailedDaemonPod" in dict(world.events)
    assert fleet.places == ["n0"]


@pytest.mark.parametrize(("unavailable", "left"), [(1, 3), (2, 2), ("50%", 2), ("100%", 0)])
def test_an_update_takes_down_as_many_as_it_may(world: Any, unavailable: Any, left: int) -> None:
    fleet = Fleet(world, 4)
    fleet.roll()
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": 0}}
    fleet.make("b", updateStrategy=strategy)
    fleet.settle()
    assert len(world.pods()) == left
    fleet.roll()
    assert fleet.images == {"b"}


def test_a_surge_runs_two_until_the_new_one_is_available(world: Any) -> None:
    fleet = Fleet(world, 3)
    fleet.roll()
    world.pass_time(5)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    fleet.make("b", updateStrategy=strategy, minReadySeconds=5)
    fleet.settle()
    assert len(world.pods()) == 4
    fleet.run()
    fleet.settle()
    assert len(world.pods()) == 4, "ready, but not for long enough"
    world.pass_time(5)
    fleet.settle()
    world.reap()
    assert len([pod for pod in world.pods() if pod["spec"]["containers"][0]["image"] == "b"]) >= 1
    for _ in range(5):
        world.pass_time(5)
        fleet.roll()
    assert fleet.images == {"b"}
    assert fleet.places == ["n0", "n1", "n2"]


def test_on_delete_waits_for_deletion(world: Any) -> None:
    fleet = Fleet(world, 2)
    fleet.roll()
    fleet.make("b", updateStrategy={"type": "OnDelete"})
    fleet.roll()
    assert fleet.images == {"a"}
    world.remove(world.pods()[0])
    fleet.roll()
    assert fleet.images == {"a", "b"}


def test_matching_orphans_are_adopted(world: Any) -> None:
    fleet = Fleet(world, 1)
    fleet.roll()
    pod = world.pods()[0]
    world.put({**pod, "metadata": {**pod["metadata"], "ownerReferences": []}})
    fleet.roll()
    assert fleet.places == ["n0"]
    assert world.pods()[0]["metadata"]["ownerReferences"][0]["name"] == "d"


@given(st.randoms(use_true_random=False), st.integers(0, 2), st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_never_above_surge_nor_below_available(world_type: Any, seed: Any, surge: int, unavailable: int) -> None:
    world = world_type()
    limits = {"maxSurge": surge, "maxUnavailable": 0 if surge else unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": limits}
    fleet = Fleet(world, 4, updateStrategy=strategy)
    fleet.roll()
    fleet.make("b", updateStrategy=strategy)
    for _ in range(60):
        event = seed.choice(["step", "part", "reap", "run"])
        if event == "step":
            fleet.step()
        elif event == "part":
            fleet.step(1)
        elif event == "reap":
            world.reap()
        else:
            fleet.run()
        serving = {daemon_pods.target(pod) for pod in world.pods() if pods.is_ready(pod)}
        assert len(serving) >= 4 - (0 if surge else max(1, unavailable))
        assert len(world.pods()) <= 4 + surge
    fleet.roll()
    assert fleet.images == {"b"}
    assert fleet.places == ["n0", "n1", "n2", "n3"]
