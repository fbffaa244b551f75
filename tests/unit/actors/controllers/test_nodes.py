"""Silent nodes: judged by when we saw them last, and their pods."""

from __future__ import annotations

from typing import Any

from oarlock.actors.controllers import podgc
from oarlock.actors.controllers.conditions import find
from oarlock.actors.controllers.nodes import LEASE_NAMESPACE, UNREACHABLE, Lifecycle

Object = dict[str, Any]


def node(world: Any, name: str = "n1") -> Object:
    conditions = [{"type": "Ready", "status": "True", "lastHeartbeatTime": world.stamp}]
    made: Object = world.put(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "spec": {},
            "status": {"conditions": conditions},
        }
    )
    return made


def pod(world: Any, **spec: Any) -> Object:
    body = {"nodeName": "n1", "containers": [{"name": "c"}], **spec}
    made: Object = world.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": body})
    return made


def renew(world: Any, lifecycle: Lifecycle) -> None:
    metadata = {"name": "n1", "namespace": LEASE_NAMESPACE}
    held = world.view.get("leases", f"{LEASE_NAMESPACE}/n1")
    metadata = {**(held or {}).get("metadata", {}), **metadata}
    kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    new = world.put({**kind, "metadata": metadata, "spec": {"renewTime": world.stamp}})
    list(lifecycle.keys("leases", held, new, world.view))


def settle(world: Any, lifecycle: Lifecycle) -> None:
    for _ in range(5):
        world.act(lifecycle.reconcile("n1", world.view))


def ready(world: Any) -> str:
    found = find(world.view.get("nodes", "n1")["status"]["conditions"], "Ready")
    assert found is not None
    return str(found["status"])


def test_a_renewed_node_stays_ready_and_a_silent_one_does_not(world: Any) -> None:
    lifecycle = Lifecycle(grace_s=40)
    node(world)
    renew(world, lifecycle)
    for _ in range(5):
        world.pass_time(30)
        renew(world, lifecycle)
        settle(world, lifecycle)
        assert ready(world) == "True"
    world.pass_time(41)
    settle(world, lifecycle)
    assert ready(world) == "Unknown"
    taints = {(one["key"], one["effect"]) for one in world.view.get("nodes", "n1")["spec"]["taints"]}
    assert taints == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}


def test_a_node_that_was_silent_before_we_watched_has_its_full_grace(world: Any) -> None:
    node(world)
    world.pass_time(3600)
    lifecycle = Lifecycle(grace_s=40)
    settle(world, lifecycle)
    assert ready(world) == "True"
    assert world.requeues[-1] == 40


def test_pods_leave_after_the_time_they_tolerate(world: Any) -> None:
    lifecycle = Lifecycle(grace_s=40)
    node(world)
    pod(
        world, tolerations=[{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]
    )
    settle(world, lifecycle)
    world.pass_time(41)
    settle(world, lifecycle)
    world.pass_time(299)
    settle(world, lifecycle)
    assert len(world.pods()) == 1
    world.pass_time(2)
    settle(world, lifecycle)
    assert world.pods() == []


def test_pods_that_tolerate_for_ever_stay(world: Any) -> None:
    lifecycle = Lifecycle(grace_s=40)
    node(world)
    pod(world, tolerations=[{"operator": "Exists"}])
    settle(world, lifecycle)
    world.pass_time(100_000)
    settle(world, lifecycle)
    assert len(world.pods()) == 1


def test_taints_go_when_the_node_is_back_and_foreign_ones_stay(world: Any) -> None:
    lifecycle = Lifecycle(grace_s=40)
    made = node(world)
    mine = {"key": "mine", "effect": "NoSchedule"}
    world.put({**made, "spec": {"taints": [mine]}})
    settle(world, lifecycle)
    world.pass_time(41)
    settle(world, lifecycle)
    assert len(world.view.get("nodes", "n1")["spec"]["taints"]) == 3
    held = world.view.get("nodes", "n1")
    conditions = [{"type": "Ready", "status": "True", "lastHeartbeatTime": world.stamp}]
    new = world.put({**held, "status": {"conditions": conditions}})
    list(lifecycle.keys("nodes", held, new, world.view))
    settle(world, lifecycle)
    assert world.view.get("nodes", "n1")["spec"]["taints"] == [mine]


def test_pods_on_a_node_that_is_gone_are_removed_after_a_while(world: Any) -> None:
    stray = pod(world)
    world.act(podgc.reconcile("default/p", world.view))
    assert world.pods()
    world.pass_time(podgc.QUARANTINE_S)
    world.act(podgc.reconcile("default/p", world.view))
    assert not world.pods()
    assert stray["spec"]["nodeName"] == "n1"
