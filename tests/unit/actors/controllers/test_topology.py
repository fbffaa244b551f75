"""Endpoints are shared out among zones by CPU, or not at all, and a Service's owner is told."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers import topology
from oarlock.actors.controllers.endpointslices import EndpointSlices

Object = dict[str, Any]

ZONE = "topology.kubernetes.io/zone"
UNABLE = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
AUTO = {"service.kubernetes.io/topology-mode": "Auto"}


def node(name: str, zone: str = "", cpu: str = "4", ready: str = "True", labels: Object | None = None) -> Object:
    status = {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]}
    held = {**(labels or {}), **({ZONE: zone} if zone else {})}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": held}, "status": status}


def pod(name: str, on: str, ip: str) -> Object:
    status = {"phase": "Running", "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}]}
    metadata = {"name": name, "labels": {"app": "x"}}
    spec = {"nodeName": on, "containers": [{"name": "c"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def service(world: Any, annotations: Object | None = None, **more: Any) -> Object:
    spec = {"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": {"app": "x"}, "ports": [{"port": 80}], **more}
    metadata = {"name": "s", "uid": "u", "annotations": AUTO if annotations is None else annotations}
    made: Object = world.put({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    return made


def pods(world: Any, *on: str) -> None:
    for number, name in enumerate(on):
        world.put(pod(f"p{number:03}", name, f"10.0.0.{number + 1}"))


def act(world: Any, keeper: EndpointSlices) -> int:
    return int(world.act(keeper.reconcile("default/s", world.view)))


def zones(world: Any) -> Counter[str]:
    found = [one for piece in world.view.list("endpointslices") for one in piece["endpoints"] or ()]
    return Counter(zone["name"] for one in found for zone in (one.get("hints") or {}).get("forZones") or ())


def test_each_zone_gets_endpoints_by_its_cpu(world: Any) -> None:
    world.put(node("a", "z1", "8"))
    world.put(node("b", "z2", "4"))
    world.put(node("control", "", "4", labels={"node-role.kubernetes.io/control-plane": ""}))
    world.put(node("down", "z3", "4", ready="False"))
    service(world)
    pods(world, *["b"] * 9)
    keeper = EndpointSlices()
    act(world, keeper)
    assert zones(world) == {"z1": 6, "z2": 3}
    assert world.events == [("TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled, addressType: IPv4")]
    assert act(world, keeper) == 0, "what is shared out stays so"
    assert len(world.events) == 1


@pytest.mark.parametrize(
    ("nodes", "on", "said"),
    [
        (
            [node("a", "z1"), node("b", "z1")],
            ["a", "b"],
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes",
        ),
        (
            [node("a", "z1"), node("b", "z2"), node("c", "")],
            ["a", "b"],
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes",
        ),
        ([node("a", "z1"), node("b", "z2")], ["a"], "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        (
            [node("a", "z1", "10"), node("b", "z2", "1"), node("c", "z3", "1")],
            ["a", "b", "c"],
            f"{UNABLE} (3 endpoints, 3 zones)",
        ),
        (
            [node("a", "z1"), node("b", "z2"), node("c", "", ready="False")],
            ["a", "b", "c", "c"],
            "One or more endpoints do not have a zone specified",
        ),
    ],
)
def test_what_cant_be_shared_out_has_no_hints(world: Any, nodes: list[Object], on: list[str], said: str) -> None:
    for one in nodes:
        world.put(one)
    service(world)
    pods(world, *on)
    act(world, EndpointSlices())
    assert zones(world) == {}
    assert world.events == [("TopologyAwareHintsDisabled", f"{said}, addressType: IPv4")]


def test_hints_go_with_the_annotation_and_go_before_traffic_distribution(world: Any) -> None:
    world.put(node("a", "z1"))
    world.put(node("b", "z2"))
    service(world, trafficDistribution="PreferSameZone")
    pods(world, "a", "a", "a", "a")
    keeper = EndpointSlices()
    act(world, keeper)
    assert zones(world) == {"z1": 2, "z2": 2}
    service(world, annotations={}, trafficDistribution="PreferSameZone")
    act(world, keeper)
    assert zones(world) == {"z1": 4}
    assert world.events[-1] == (
        "TopologyAwareHintsDisabled",
        "Topology Aware Hints has been disabled, addressType: IPv4",
    )
    service(world, annotations={})
    act(world, keeper)
    assert zones(world) == {}


def test_a_service_is_looked_at_again_when_nodes_leave_a_zone_with_too_little(world: Any) -> None:
    for name, zone in (("a", "z1"), ("b", "z2")):
        world.put(node(name, zone))
    service(world)
    pods(world, "a", "a", "b", "b")
    keeper = EndpointSlices()
    act(world, keeper)
    assert list(keeper.keys("nodes", None, world.put(node("more", "z1", "1")), world.view)) == []
    grown = world.put(node("most", "z1", "8"))
    assert [due.key for due in keeper.keys("nodes", None, grown, world.view)] == ["default/s"]
    act(world, keeper)
    assert zones(world)["z1"] > zones(world)["z2"]


def test_a_slice_that_is_right_stays_while_another_changes(world: Any) -> None:
    for name, zone in (("a", "z1"), ("b", "z2")):
        world.put(node(name, zone))
    service(world)
    for number in range(150):
        world.put(pod(f"p{number:03}", "ab"[number % 2], f"10.0.1.{number}"))
    keeper = EndpointSlices()
    act(world, keeper)
    world.remove(world.view.get("pods", "default/p149"))
    assert act(world, keeper) == 1
    assert zones(world) == {"z1": 75, "z2": 74}


_PARTS = st.lists(st.integers(1, 32), min_size=2, max_size=4)


@settings(max_examples=300, deadline=None)
@given(cpus=_PARTS, on=st.lists(st.integers(0, 3), min_size=1, max_size=60), split=st.integers(0, 60))
def test_every_endpoint_is_meant_for_one_zone_and_none_is_far_from_its_part(
    cpus: list[int], on: list[int], split: int
) -> None:
    parts = {f"z{number}": cpu / sum(cpus) for number, cpu in enumerate(cpus)}
    made = [
        {"addresses": [str(number)], "conditions": {"ready": True}, "zone": f"z{place % len(cpus)}"}
        for number, place in enumerate(on)
    ]
    try:
        kept, hinted, given = topology.shared_out([made[:split]], [made[split:]], parts)
    except topology.Unfit:
        return
    assert sum(given.values()) == len(on)
    assert all(given.get(zone, 0) + 1 >= len(on) * part / 1.2 for zone, part in parts.items())
    shown = [one for endpoints in (*kept, *hinted) for one in endpoints or ()]
    assert Counter(one["hints"]["forZones"][0]["name"] for one in shown) == +Counter(given)
