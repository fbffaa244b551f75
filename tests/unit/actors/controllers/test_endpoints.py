"""Endpoints and slices of a Service."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.actors.controllers import mirroring
from oarlock.actors.controllers.actions import GiveWay
from oarlock.actors.controllers.endpoints import EndpointsOfServices
from oarlock.actors.controllers.endpointslices import EndpointSlices
from oarlock.actors.controllers.packing import pack
from oarlock.cluster.client.cache import STEP_OBJECTS

Object = dict[str, Any]

ZONE = "topology.kubernetes.io/zone"


def service(world: Any, **spec: Any) -> Object:
    world.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {ZONE: "z1"}}})
    address = {"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"]}
    body = {**address, "selector": {"app": "x"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}], **spec}
    made: Object = world.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": body})
    return made


def pod(
    world: Any,
    name: str,
    *,
    ready: bool = True,
    port: int = 8080,
    phase: str = "Running",
    spec: Object | None = None,
    ips: tuple[str, ...] = (),
    **metadata: Any,
) -> Object:
    found = ips or (f"10.0.{len(world.pods()) // 250}.{len(world.pods()) % 250 + 1}",)
    status = {
        "phase": phase,
        "podIP": found[0],
        "podIPs": [{"ip": one} for one in found],
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
    }
    container = {"name": "c", "ports": [{"name": "web", "containerPort": port}]}
    meta = {"name": name, "labels": {"app": "x"}, **metadata}
    body = {"metadata": meta, "spec": {"nodeName": "n1", "containers": [container], **(spec or {})}, "status": status}
    made: Object = world.put({"apiVersion": "v1", "kind": "Pod", **body})
    return made


def step(world: Any, older: EndpointsOfServices | None = None, newer: EndpointSlices | None = None) -> int:
    done = world.act((older or EndpointsOfServices()).reconcile("default/s", world.view))
    return int(done + world.act((newer or EndpointSlices()).reconcile("default/s", world.view)))


def test_ready_pods_are_addresses_and_others_are_not(world: Any) -> None:
    service(world)
    pod(world, "a")
    pod(world, "b", ready=False)
    pod(world, "c", phase="Succeeded")
    step(world)
    (subset,) = world.view.get("endpoints", "default/s")["subsets"]
    assert [one["targetRef"]["name"] for one in subset["addresses"]] == ["a"]
    assert [one["targetRef"]["name"] for one in subset["notReadyAddresses"]] == ["b"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    (piece,) = world.view.list("endpointslices")
    assert {one["targetRef"]["name"]: one["conditions"]["ready"] for one in piece["endpoints"]} == {
        "a": True,
        "b": False,
    }
    assert piece["metadata"]["labels"]["kubernetes.io/service-name"] == "s"
    assert step(world) == 0, "what is right is left alone"


def test_a_terminating_pod_still_serves_in_the_slice_only(world: Any) -> None:
    service(world)
    pod(world, "a", deletionTimestamp="2026-01-01T00:00:00Z")
    step(world)
    assert not world.view.get("endpoints", "default/s").get("subsets")
    (piece,) = world.view.list("endpointslices")
    assert piece["endpoints"][0]["conditions"] == {"ready": False, "serving": True, "terminating": True}


def test_named_ports_that_differ_make_two_slices(world: Any) -> None:
    service(world)
    pod(world, "a", port=1)
    pod(world, "b", port=2)
    step(world)
    assert sorted(one["ports"][0]["port"] for one in world.view.list("endpointslices")) == [1, 2]
    assert len(world.view.get("endpoints", "default/s")["subsets"]) == 2


def test_many_pods_fill_slices_and_changes_touch_one(world: Any) -> None:
    service(world)
    for number in range(150):
        pod(world, f"p{number:03}")
    step(world)
    assert sorted(len(one["endpoints"]) for one in world.view.list("endpointslices")) == [50, 100]
    world.remove(world.view.get("pods", "default/p003"))
    assert world.act(EndpointSlices().reconcile("default/s", world.view)) == 1
    assert step(world) == 1
    names = [one["targetRef"]["name"] for piece in world.view.list("endpointslices") for one in piece["endpoints"]]
    assert len(names) == len(set(names)) == 149


def test_without_pods_one_empty_slice_remains(world: Any) -> None:
    service(world)
    gone = pod(world, "a")
    step(world)
    world.remove(gone)
    step(world)
    (piece,) = world.view.list("endpointslices")
    assert (piece["endpoints"], piece["ports"]) == (None, None)
    assert step(world) == 0


def test_a_service_without_selector_or_gone(world: Any) -> None:
    made = service(world, selector=None)
    assert step(world) == 0
    made = world.put({**made, "spec": {**made["spec"], "selector": {"app": "x"}}})
    step(world)
    world.remove(made)
    step(world)
    assert world.view.get("endpoints", "default/s") is None


def test_unready_pods_are_published_when_asked(world: Any) -> None:
    service(world, publishNotReadyAddresses=True)
    pod(world, "a", ready=False)
    step(world)
    (subset,) = world.view.get("endpoints", "default/s")["subsets"]
    assert len(subset["addresses"]) == 1


def slices(world: Any) -> list[Object]:
    found: list[Object] = world.view.list("endpointslices")
    return found


@pytest.mark.parametrize(
    ("distribution", "hints"),
    [
        (None, None),
        ("PreferClose", {"forZones": [{"name": "z1"}]}),
        ("PreferSameZone", {"forZones": [{"name": "z1"}]}),
        ("PreferSameNode", {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}),
    ],
)
def test_endpoints_carry_their_zone_and_the_hints_that_are_asked_for(
    world: Any, distribution: str | None, hints: Object | None
) -> None:
    service(world, trafficDistribution=distribution)
    pod(world, "a")
    pod(world, "b", ready=False)
    step(world)
    (piece,) = slices(world)
    ready, unready = piece["endpoints"]
    assert (ready["zone"], ready["nodeName"], ready.get("hints")) == ("z1", "n1", hints)
    assert "hints" not in unready
    assert step(world) == 0


def test_two_families_make_two_slices_of_which_each_has_its_own_addresses(world: Any) -> None:
    service(world, ipFamilies=["IPv6", "IPv4"])
    pod(world, "a", ips=("10.0.0.7", "FD00:0::7"))
    step(world)
    assert {one["addressType"]: one["endpoints"][0]["addresses"] for one in slices(world)} == {
        "IPv4": ["10.0.0.7"],
        "IPv6": ["fd00::7"],
    }
    assert world.view.get("endpoints", "default/s")["subsets"][0]["addresses"][0]["ip"] == "fd00::7"


def test_a_headless_services_endpoints_have_the_hostname_that_the_pod_asks_for(world: Any) -> None:
    service(world, clusterIP="None", ports=[])
    pod(world, "a", spec={"hostname": "first", "subdomain": "s"})
    pod(world, "b", spec={"hostname": "second", "subdomain": "other"})
    step(world)
    (piece,) = slices(world)
    assert [one.get("hostname") for one in piece["endpoints"]] == ["first", None]
    assert piece["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert [one.get("hostname") for one in world.view.get("endpoints", "default/s")["subsets"][0]["addresses"]] == [
        "first",
        None,
    ]


def test_labels_follow_the_service_and_a_former_services_slices_are_replaced(world: Any) -> None:
    made = service(world)
    pod(world, "a")
    step(world)
    world.put({**made, "metadata": {**made["metadata"], "labels": {"tier": "front"}}})
    step(world)
    assert slices(world)[0]["metadata"]["labels"]["tier"] == "front"
    (piece,) = slices(world)
    (owner,) = piece["metadata"]["ownerReferences"]
    world.put({**piece, "metadata": {**piece["metadata"], "ownerReferences": [{**owner, "uid": "former"}]}})
    step(world)
    (left,) = slices(world)
    assert left["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]


def test_a_named_port_is_found_in_sidecars_and_never_in_init_containers(world: Any) -> None:
    service(world)
    port = {"ports": [{"name": "web", "containerPort": 9}]}
    sidecar = {"name": "s", "restartPolicy": "Always", **port}
    plain = {"containers": [{"name": "c"}]}
    pod(world, "a", spec={**plain, "initContainers": [sidecar]})
    pod(world, "b", spec={**plain, "initContainers": [{"name": "i", **port}]})
    step(world)
    assert {tuple(one["port"] for one in piece["ports"] or ()) for piece in slices(world)} == {(9,), ()}
    (subset,) = world.view.get("endpoints", "default/s")["subsets"]
    assert [one["targetRef"]["name"] for one in subset["addresses"]] == ["a"]


def test_more_than_a_thousand_addresses_are_cut_and_that_is_told(world: Any) -> None:
    service(world)
    for number in range(1003):
        pod(world, f"p{number:04}", ready=number > 0)
    world.act(EndpointsOfServices().reconcile("default/s", world.view))
    held = world.view.get("endpoints", "default/s")
    assert held["metadata"]["annotations"]["endpoints.kubernetes.io/over-capacity"] == "truncated"
    (subset,) = held["subsets"]
    assert (len(subset["addresses"]), "notReadyAddresses" in subset) == (1000, False)
    for number in range(1, 4):
        world.remove(world.view.get("pods", f"default/p{number:04}"))
    world.act(EndpointsOfServices().reconcile("default/s", world.view))
    held = world.view.get("endpoints", "default/s")
    assert "endpoints.kubernetes.io/over-capacity" not in held["metadata"]["annotations"]
    assert sum(len(one) for name, one in held["subsets"][0].items() if name != "ports") == 1000


def test_a_pod_whose_node_is_gone_is_no_endpoint(world: Any) -> None:
    service(world)
    pod(world, "a", spec={"nodeName": "lost"})
    step(world)
    assert slices(world)[0]["endpoints"] is None


def test_packing_fills_what_changes_first_and_then_the_fullest_slice_that_fits() -> None:
    def numbers(*found: int) -> list[Object]:
        return [{"n": one} for one in found]

    held = {"full": numbers(*range(4)), "changing": numbers(10, 11, 12), "small": numbers(20)}
    wanted = numbers(*range(4), 10, 11, 20, 30, 31, 32, 33)
    kept, more = pack(held, wanted, lambda one: one["n"], 4)
    assert {name: [one["n"] for one in found] for name, found in kept.items()} == {
        "full": [0, 1, 2, 3],
        "changing": [10, 11, 30, 31],
        "small": [20, 32, 33],
    }
    assert more == []


def hand_made(world: Any, **metadata: Any) -> Object:
    subset = {
        "addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
        "notReadyAddresses": [{"ip": "192.0.2.2"}],
        "ports": [{"port": 80}],
    }
    made: Object = world.put(
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "s", **metadata}, "subsets": [subset]}
    )
    return made


def mirror(world: Any) -> int:
    return int(world.act(mirroring.reconcile("default/s", world.view)))


def test_endpoints_made_by_hand_are_mirrored_until_they_go(world: Any) -> None:
    service(world, selector=None)
    made = hand_made(world, labels={"a": "b"}, annotations={"kubectl.kubernetes.io/last-applied-configuration": "{}"})
    mirror(world)
    assert mirror(world) == 0
    found = {one["addressType"]: one for one in slices(world)}
    four = found["IPv4"]
    assert [(one["addresses"], one["conditions"]["ready"]) for one in four["endpoints"]] == [
        (["192.0.2.1"], True),
        (["192.0.2.2"], False),
    ]
    assert four["metadata"]["labels"] == {
        "a": "b",
        "kubernetes.io/service-name": "s",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert four["metadata"]["annotations"] == {}
    assert found["IPv6"]["endpoints"][0]["addresses"] == ["2001:db8::1"]
    assert four["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"
    world.remove(made)
    mirror(world)
    assert slices(world) == []


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        {"labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller"}},
        {"annotations": {"control-plane.alpha.kubernetes.io/leader": "{}"}},
    ],
)
def test_endpoints_that_need_no_mirror_have_none(world: Any, metadata: Object) -> None:
    service(world, selector=None)
    hand_made(world, **metadata)
    assert mirror(world) == 0


CHANGED_AT = "endpoints.kubernetes.io/last-change-trigger-time"


def test_endpoints_tell_the_time_of_the_change_that_they_follow(world: Any) -> None:
    older, newer = EndpointsOfServices(), EndpointSlices()
    service(world)

    def told() -> set[str | None]:
        both = [world.view.get("endpoints", "default/s"), *slices(world)]
        return {one["metadata"]["annotations"].get(CHANGED_AT) for one in both}

    step(world, older, newer)
    assert told() == {"2026-01-01T00:00:00Z"}, "at first it is the Service's own creation"
    made = [pod(world, name, ready=False) for name in ("a", "b")]
    for turned_at, one in zip(("2026-01-01T00:00:07Z", "2026-01-01T00:00:05Z"), made, strict=True):
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": turned_at}
        world.put({**one, "status": {**one["status"], "conditions": [ready]}})
    step(world, older, newer)
    assert told() == {"2026-01-01T00:00:05Z"}, "of several changes the earliest"
    assert step(world, older, newer) == 0, "the time alone is no reason to write"
    world.remove(world.view.get("pods", "default/a"))
    step(world, older, newer)
    assert told() == {None}, "when it isn't known nothing is told"


def test_too_many_addresses_to_mirror_are_told_of(world: Any) -> None:
    service(world, selector=None)
    addresses = [{"ip": f"192.0.{number // 250}.{number % 250 + 1}"} for number in range(1003)]
    meta = {"name": "s"}
    world.put({"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": [{"addresses": addresses}]})
    mirror(world)
    assert len(slices(world)[0]["endpoints"]) == 1000
    most = "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset."
    assert world.events == [("TooManyAddressesToMirror", f"{most} 3 addresses were skipped")]


def test_many_pods_leave_others_their_turn(world: Any) -> None:
    service(world)
    for number in range(350):
        pod(world, f"p{number:03}")
    for reconcile in (EndpointsOfServices().reconcile, EndpointSlices().reconcile):
        actions = list(reconcile("default/s", world.view))
        assert sum(isinstance(one, GiveWay) for one in actions) >= 350 // STEP_OBJECTS
