"""Lost nodes: what is seen of them, what becomes of their pods, and when nothing is done on purpose."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers import podgc
from oarlock.actors.controllers.conditions import find
from oarlock.actors.controllers.nodes import LEASE_NAMESPACE, UPSTREAM, Lifecycle, Timings
from oarlock.actors.controllers.taints import NOT_READY, OUT_OF_SERVICE, UNREACHABLE
from oarlock.actors.controllers.zones import disrupted

Object = dict[str, Any]

BY_DEFAULT = [
    {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for key in (NOT_READY, UNREACHABLE)
]


class Nodes:
    """Hollow nodes in a world: `alive` ones renew their leases as time passes, the controller looks each second."""

    def __init__(self, world: Any, count: int, timings: Timings | None = None, *, lease_s: int = 6) -> None:
        self.world, self.lease_s = world, lease_s
        self.lifecycle = Lifecycle(timings or Timings())
        self.names = [f"n{number}" for number in range(1, count + 1)]
        self.alive = set(self.names)
        for name in self.names:
            self.register(name)
        self.beat()

    def register(self, name: str, **labels: str) -> None:
        conditions = [{"type": "Ready", "status": "True", "lastHeartbeatTime": self.world.stamp}]
        self.put({"metadata": {"name": name, "labels": labels}, "status": {"conditions": conditions}, "spec": {}})

    def put(self, node: Object) -> None:
        held = self.world.view.get("nodes", node["metadata"]["name"])
        new = self.world.put({"apiVersion": "v1", "kind": "Node", **node})
        list(self.lifecycle.keys("nodes", held, new, self.world.view))

    def pod(self, name: str, node: str = "n1", **spec: Any) -> Object:
        body = {"nodeName": node, "containers": [{"name": "c"}], "tolerations": BY_DEFAULT, **spec}
        ready = [{"type": "Ready", "status": "True", "lastTransitionTime": self.world.stamp}]
        kind = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}}
        made: Object = self.world.put({**kind, "spec": body, "status": {"phase": "Running", "conditions": ready}})
        return made

    def beat(self) -> None:
        for name in sorted(self.alive):
            key = f"{LEASE_NAMESPACE}/{name}"
            held = self.world.view.get("leases", key)
            metadata = {**(held or {}).get("metadata", {}), "name": name, "namespace": LEASE_NAMESPACE}
            spec = {"renewTime": self.world.stamp, "leaseDurationSeconds": self.lease_s}
            kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
            new = self.world.put({**kind, "metadata": metadata, "spec": spec})
            list(self.lifecycle.keys("leases", held, new, self.world.view))
            if self.status(name) == "Unknown":  # what an agent does whose node was called lost
                node = self.world.view.get("nodes", name)
                ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": self.world.stamp}
                self.put({**node, "status": {"conditions": [ready]}})

    def look(self) -> None:
        for _ in range(4):
            for name in self.names:
                self.world.act(self.lifecycle.reconcile(name, self.world.view))

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.pass_time(1)
            self.beat()
            self.look()

    def status(self, name: str) -> str:
        found = find(self.world.view.get("nodes", name)["status"]["conditions"], "Ready")
        return str(found["status"]) if found is not None else ""

    def taints(self, name: str) -> set[tuple[str, str]]:
        return {(one["key"], one["effect"]) for one in self.world.view.get("nodes", name)["spec"].get("taints") or ()}


def left(world: Any) -> set[str]:
    return {pod["metadata"]["name"] for pod in world.pods()}


def test_a_dead_nodes_pods_go_in_less_than_ten_seconds_and_no_others(world: Any) -> None:
    nodes = Nodes(world, 3)
    nodes.pod("a", "n1")
    nodes.pod("b", "n2")
    nodes.pass_time(60)
    nodes.alive.remove("n1")
    nodes.pass_time(6)
    assert nodes.status("n1") == "Unknown"
    assert nodes.taints("n1") == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
    assert ("NodeNotReady", "Node n1 status is now: NodeNotReady") in world.events
    assert find(world.view.get("pods", "default/a")["status"]["conditions"], "Ready")["status"] == "False"  # type: ignore[index]
    nodes.pass_time(3)
    assert left(world) == {"b"}
    gone = world.view.get("pods", "default/a")["status"]["conditions"]
    assert find(gone, "DisruptionTarget")["reason"] == "DeletionByTaintManager"  # type: ignore[index]


def test_the_words_are_upstreams(world: Any) -> None:
    nodes = Nodes(world, 2)
    nodes.alive.remove("n1")
    nodes.pass_time(10)
    said = {
        one["type"]: (one["status"], one["reason"], one["message"])
        for one in world.view.get("nodes", "n1")["status"]["conditions"]
    }
    assert said["Ready"] == ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    assert said["DiskPressure"] == ("Unknown", "NodeStatusNeverUpdated", "Kubelet never posted node status.")


def test_a_node_that_is_only_slow_keeps_its_pods(world: Any) -> None:
    nodes = Nodes(world, 2)
    nodes.pod("a", "n1")
    for _ in range(10):
        nodes.alive.remove("n1")
        nodes.pass_time(5)
        nodes.alive.add("n1")
        nodes.pass_time(1)
        assert nodes.status("n1") == "True"
    assert left(world) == {"a"}


def test_a_node_that_flaps_is_well_again_at_once_and_keeps_its_pods(world: Any) -> None:
    nodes = Nodes(world, 3)
    nodes.pod("a", "n1")
    for _ in range(5):
        nodes.alive.remove("n1")
        nodes.pass_time(7)
        assert nodes.status("n1") == "Unknown"
        nodes.alive.add("n1")
        nodes.pass_time(1)
        assert (nodes.status("n1"), nodes.taints("n1")) == ("True", set())
    assert left(world) == {"a"}
    assert world.events.count(("TaintManagerEviction", "Cancelling deletion of Pod default/a")) == 5


def test_by_upstreams_timings_pods_go_after_their_own_tolerations(world: Any) -> None:
    nodes = Nodes(world, 2, UPSTREAM)
    nodes.pod("a", "n1")
    nodes.alive.remove("n1")
    nodes.pass_time(49)
    assert nodes.status("n1") == "True"
    nodes.pass_time(299)
    assert left(world) == {"a"}
    nodes.pass_time(5)
    assert left(world) == set()


@pytest.mark.parametrize("seconds", [20, None])
def test_what_a_user_chose_to_tolerate_is_kept_to(world: Any, seconds: int | None) -> None:
    nodes = Nodes(world, 2)
    toleration: Object = {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}
    nodes.pod("a", "n1", tolerations=[{**toleration, "tolerationSeconds": seconds} if seconds else toleration])
    nodes.alive.remove("n1")
    nodes.pass_time(24)
    assert left(world) == {"a"}
    nodes.pass_time(10)
    assert left(world) == (set() if seconds else {"a"})


def test_a_node_that_says_itself_that_it_is_not_well_is_given_the_whole_toleration(world: Any) -> None:
    nodes = Nodes(world, 2)
    nodes.pod("a", "n1")
    nodes.pass_time(2)
    node = world.view.get("nodes", "n1")
    nodes.put({**node, "status": {"conditions": [{"type": "Ready", "status": "False"}]}})
    nodes.pass_time(60)
    assert nodes.taints("n1") == {(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")}
    assert left(world) == {"a"}


def test_nothing_goes_when_nobody_was_to_be_heard(world: Any) -> None:
    """The control plane was away, or stood still: the first that is heard gives all others their time back."""
    nodes = Nodes(world, 4)
    for name in nodes.names:
        nodes.pod(f"on-{name}", name)
    nodes.pass_time(10)
    world.pass_time(600)
    nodes.look()
    alive, nodes.alive = nodes.alive, {"n4"}
    nodes.pass_time(5)
    nodes.alive = alive
    nodes.pass_time(3)
    assert {nodes.status(name) for name in nodes.names} == {"True"}
    assert len(left(world)) == 4


def test_a_short_blindness_isnt_even_seen(world: Any) -> None:
    nodes = Nodes(world, 4)
    nodes.pass_time(10)
    world.pass_time(30)
    nodes.look()
    assert {nodes.status(name) for name in nodes.names} == {"True"}
    nodes.pass_time(20)
    assert {nodes.status(name) for name in nodes.names} == {"True"}


def test_a_lost_single_node_is_told_of_and_its_pods_stay(world: Any) -> None:
    nodes = Nodes(world, 1)
    nodes.pod("a", "n1")
    nodes.alive.clear()
    nodes.pass_time(49)
    assert nodes.status("n1") == "True"
    nodes.pass_time(400)
    assert nodes.status("n1") == "Unknown"
    assert nodes.taints("n1") == {(UNREACHABLE, "NoSchedule")}
    assert left(world) == {"a"}


def zoned(world: Any, *sizes: int) -> Nodes:
    nodes = Nodes(world, sum(sizes))
    names = iter(nodes.names)
    for number, size in enumerate(sizes):
        for _ in range(size):
            name = next(names)
            node = world.view.get("nodes", name)
            labels = {"topology.kubernetes.io/zone": f"z{number}"}
            nodes.put({**node, "metadata": {**node["metadata"], "labels": labels}})
            nodes.pod(f"on-{name}", name)
    return nodes


@pytest.mark.parametrize(("sizes", "lost"), [((5, 5), 5), ((5, 5), 3), ((2, 4), 2)])
def test_when_most_of_a_zone_goes_its_pods_stay(world: Any, sizes: tuple[int, ...], lost: int) -> None:
    nodes = zoned(world, *sizes)
    nodes.pass_time(5)
    nodes.alive -= set(nodes.names[:lost])
    nodes.pass_time(120)
    assert len(left(world)) == sum(sizes)
    for name in nodes.names[:lost]:
        assert nodes.taints(name) == {(UNREACHABLE, "NoSchedule")}
    nodes.alive = set(nodes.names)
    nodes.pass_time(2)
    assert {nodes.status(name) for name in nodes.names} == {"True"}


def test_a_zone_of_one_node_and_less_than_half_of_another_are_moved(world: Any) -> None:
    nodes = zoned(world, 1, 5)
    nodes.pass_time(5)
    nodes.alive -= {"n1", "n2", "n3"}
    nodes.pass_time(12)
    assert left(world) == {"on-n4", "on-n5", "on-n6"}


def test_nodes_of_a_zone_are_given_up_one_after_the_other(world: Any) -> None:
    nodes = zoned(world, 10)
    nodes.pass_time(5)
    nodes.alive -= {"n1", "n2", "n3"}
    nodes.pass_time(6)
    driven = [name for name in nodes.names if (UNREACHABLE, "NoExecute") in nodes.taints(name)]
    assert len(driven) == 1
    nodes.pass_time(5)
    assert len(left(world)) == 7


def test_nodes_that_were_cut_off_are_well_again_and_what_was_moved_stays_moved(world: Any) -> None:
    """A partition: the agents live on, but nobody hears them; some of them longer than their pods are waited for."""
    nodes = zoned(world, 6, 6)
    nodes.pass_time(5)
    nodes.alive -= {"n1", "n7"}
    nodes.pass_time(5)
    nodes.alive.add("n7")
    nodes.pass_time(10)
    assert left(world) == {f"on-{name}" for name in nodes.names} - {"on-n1"}
    nodes.alive.add("n1")
    nodes.pass_time(2)
    assert {nodes.status(name) for name in nodes.names} == {"True"}
    assert {name: nodes.taints(name) for name in nodes.names if nodes.taints(name)} == {}
    nodes.pod("new", "n1")
    nodes.pass_time(30)
    assert "new" in left(world)


_HISTORIES = st.lists(st.tuples(st.sets(st.integers(0, 8), max_size=9), st.integers(1, 9)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(sizes=st.sampled_from([(9,), (5, 4), (3, 3, 3), (1, 8)]), history=_HISTORIES)
def test_whatever_happens_only_nodes_that_were_silent_lose_pods(
    world_type: Any, sizes: tuple[int, ...], history: list[tuple[set[int], int]]
) -> None:
    """Deaths, flapping, partitions and lost zones at random: who is heard keeps its pods, who is back is well."""
    world = world_type()
    nodes = zoned(world, *sizes)
    nodes.pass_time(5)
    silent = dict.fromkeys(nodes.names, 0)
    longest = dict(silent)
    for down, seconds in history:
        nodes.alive = {name for number, name in enumerate(nodes.names) if number not in down}
        for _ in range(seconds):
            nodes.pass_time(1)
            silent = {name: 0 if name in nodes.alive else since + 1 for name, since in silent.items()}
            longest = {name: max(longest[name], since) for name, since in silent.items()}
    kept = left(world)
    assert {name for name in nodes.names if longest[name] < nodes.lease_s} <= {one.removeprefix("on-") for one in kept}
    if all(len(down) == 9 for down, _ in history):
        assert len(kept) == 9, "when nobody is heard it's us who can't hear"
    nodes.alive = set(nodes.names)
    nodes.pass_time(4)
    assert {nodes.status(name) for name in nodes.names} == {"True"}
    assert {name for name in nodes.names if nodes.taints(name)} == set()


def test_disruption_is_counted_per_zone() -> None:
    def node(zone: str, ready: bool) -> Object:
        status = {"conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}]}
        return {"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}, "status": status}

    many = [node("a", number > 2) for number in range(5)] + [node("b", number > 1) for number in range(5)]
    assert {zone for _, zone in disrupted(many)} == {"a"}
    assert {zone for _, zone in disrupted([node("a", False), node("b", False)])} == {"a", "b"}
    assert disrupted([node("a", False), node("b", True)]) == set()
    assert disrupted([]) == set()


def test_taints_of_others_and_of_conditions_are_kept_apart(world: Any) -> None:
    nodes = Nodes(world, 2)
    mine = {"key": "mine", "effect": "NoSchedule"}
    held = world.view.get("nodes", "n1")
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": world.stamp}
    full = {"type": "DiskPressure", "status": "True"}
    nodes.put({**held, "spec": {"taints": [mine], "unschedulable": True}, "status": {"conditions": [ready, full]}})
    nodes.pass_time(1)
    assert nodes.taints("n1") == {
        ("mine", "NoSchedule"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    }
    held = world.view.get("nodes", "n1")
    nodes.put({**held, "spec": {"taints": held["spec"]["taints"]}, "status": {"conditions": [ready]}})
    nodes.pass_time(1)
    assert nodes.taints("n1") == {("mine", "NoSchedule")}


def test_pods_on_a_node_that_is_gone_are_removed_after_a_while(world: Any) -> None:
    nodes = Nodes(world, 0)
    nodes.pod("p", "lost")
    world.act(podgc.reconcile("default/p", world.view))
    assert world.pods()
    world.pass_time(podgc.QUARANTINE_S)
    world.act(podgc.reconcile("default/p", world.view))
    assert not world.pods()


def test_a_terminating_pod_leaves_a_node_that_is_out_of_service(world: Any) -> None:
    nodes = Nodes(world, 2)
    made = nodes.pod("p", "n1")
    world.put({**made, "metadata": {**made["metadata"], "deletionTimestamp": world.stamp}})
    nodes.alive.remove("n1")
    nodes.pass_time(8)
    assert podgc.reconcile("default/p", world.view) == []
    node = world.view.get("nodes", "n1")
    taint = {"key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}
    new = world.put({**node, "spec": {"taints": [*node["spec"]["taints"], taint]}})
    (due,) = podgc.POD_GC.keys("nodes", node, new, world.view)
    actions = podgc.reconcile(due.key, world.view)
    assert actions[-1].grace_s == 0


def test_the_oldest_of_too_many_ended_pods_go(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podgc, "ENDED_MAX", 2)
    for number in range(4):
        kind = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}}
        world.put({**kind, "spec": {}, "status": {"phase": "Succeeded"}})
        world.pass_time(1)
    world.act(podgc.reconcile_ended("ended", world.view))
    assert left(world) == {"p2", "p3"}
