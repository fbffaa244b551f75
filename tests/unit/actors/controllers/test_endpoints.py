"""Endpoints and slices of a Service."""

from __future__ import annotations

from typing import Any

from oarlock.actors.controllers import endpoints

Object = dict[str, Any]


def service(world: Any, **spec: Any) -> Object:
    body = {"selector": {"app": "x"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}], **spec}
    made: Object = world.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": body})
    return made


def pod(
    world: Any, name: str, *, ready: bool = True, port: int = 8080, phase: str = "Running", **metadata: Any
) -> Object:
    status = {
        "phase": phase,
        "podIP": f"10.0.0.{len(world.pods()) + 1}",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
    }
    container = {"name": "c", "ports": [{"name": "web", "containerPort": port}]}
    meta = {"name": name, "labels": {"app": "x"}, **metadata}
    body = {"metadata": meta, "spec": {"nodeName": "n1", "containers": [container]}, "status": status}
    made: Object = world.put({"apiVersion": "v1", "kind": "Pod", **body})
    return made


def step(world: Any) -> int:
    done = world.act(endpoints.reconcile_endpoints("default/s", world.view))
    return int(done + world.act(endpoints.reconcile_slices("default/s", world.view)))


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
    assert world.act(endpoints.reconcile_slices("default/s", world.view)) == 1
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
