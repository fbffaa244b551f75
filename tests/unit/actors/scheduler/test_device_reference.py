"""The allocator against the plainest one, on tiny worlds that come as they may."""

from __future__ import annotations

from typing import Any

from harness.device_reference import Choice, first_way, grades
from harness.devices import DRIVER, ask, class_object, device_claim, device_object, got, request, slice_object
from harness.scheduling import node_object, pod_object
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.scheduler.devices.allocator import Unfit, allocate
from oarlock.actors.scheduler.devices.claimed import claim_of, class_of
from oarlock.actors.scheduler.devices.matching import Unanswerable
from oarlock.actors.scheduler.devices.published import slice_of
from oarlock.actors.scheduler.devices.state import Devices
from oarlock.actors.scheduler.facts import node_facts, pod_facts
from oarlock.actors.scheduler.plugins.dynamic_resources import DynamicResources
from oarlock.actors.scheduler.snapshot import Snapshot

Object = dict[str, Any]
MODEL = f'device.attributes["{DRIVER}"].model'
MODELS = ("a", "b")


@st.composite
def _devices(draw: st.DrawFn) -> list[Object]:
    """Up to five devices; some need part of a whole, some are tainted."""
    made = []
    for index in range(draw(st.integers(1, 5))):
        more: Object = {}
        if draw(st.booleans()):
            counted = {"counterSet": "whole", "counters": {"memory": {"value": str(draw(st.integers(1, 4)))}}}
            more["consumesCounters"] = [counted]
        if draw(st.integers(0, 3)) == 0:
            more["taints"] = [{"key": "k", "value": "v", "effect": "NoSchedule"}]
        made.append(device_object(f"d{index}", model=draw(st.sampled_from(MODELS)), **more))
    return made


@st.composite
def _asked(draw: st.DrawFn) -> Object:
    expressions = [f'{MODEL} == "{draw(st.sampled_from(MODELS))}"'] if draw(st.booleans()) else []
    more: Object = {}
    if draw(st.integers(0, 4)) == 0:
        more["allocationMode"] = "All"
    else:
        more["count"] = draw(st.integers(1, 3))
    if draw(st.booleans()):
        more["tolerations"] = [{"operator": "Exists"}]
    return ask("gpu", *expressions, **more)


@st.composite
def _claim(draw: st.DrawFn, name: str) -> Object:
    requests = []
    for index in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            first = [(f"s{place}", draw(_asked())) for place in range(draw(st.integers(1, 2)))]
            requests.append(request(f"r{index}", first=first))
        else:
            requests.append(request(f"r{index}", exactly=draw(_asked())))
    kind = draw(st.sampled_from(("", "matchAttribute", "distinctAttribute")))
    constraints = [{kind: f"{DRIVER}/model"}] if kind else []
    return device_claim(name, *requests, constraints=constraints)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Object], list[Object], list[str]]:
    devices = draw(_devices())
    counters = [{"name": "whole", "counters": {"memory": {"value": str(draw(st.integers(2, 8)))}}}]
    slices = [
        slice_object("n0", *devices, name="b", count=2),
        slice_object("n0", name="a", count=2, sharedCounters=counters),
    ]
    claims = [draw(_claim(f"c{index}")) for index in range(draw(st.integers(1, 2)))]
    taken = draw(st.lists(st.sampled_from([one["name"] for one in devices]), max_size=2, unique=True))
    return claims, slices, taken


def allocated(claims: list[Object], slices: list[Object], taken: list[str]) -> list[Choice] | None:
    devices = Devices()
    for one in slices:
        devices.put_slice(one["metadata"]["name"], slice_of(one))
    devices.put_class("gpu", class_of(class_object("gpu", f'device.driver == "{DRIVER}"')))
    if taken:
        other = claim_of(device_claim("other", status=got(*taken)))
        devices.put_claim(other.key, other)
    try:
        found = allocate(devices, [claim_of(one) for one in claims], "n0", {})
    except (Unfit, Unanswerable):
        return None
    return [tuple((one.ask.name, one.device.id.name) for one in some) for some in found]


@settings(max_examples=300, deadline=None)
@given(worlds())
def test_the_first_way_is_found_if_there_is_any(world: tuple[list[Object], list[Object], list[str]]) -> None:
    assert allocated(*world) == first_way(*world)


@st.composite
def choices(draw: st.DrawFn) -> tuple[list[Object], dict[str, list[Object]]]:
    """Claims that leave a choice, and the slices of three nodes."""
    claims = []
    for index in range(draw(st.integers(1, 2))):
        first = [(f"s{place}", draw(_asked())) for place in range(draw(st.integers(1, 3)))]
        others = [request("r1", exactly=draw(_asked()))] if draw(st.booleans()) else []
        claims.append(device_claim(f"c{index}", request("r0", first=first), *others))
    counters = [{"name": "whole", "counters": {"memory": {"value": str(draw(st.integers(2, 8)))}}}]
    slices = {
        node: [
            slice_object(node, *draw(_devices()), name=f"{node}-b", count=2),
            slice_object(node, name=f"{node}-a", count=2, sharedCounters=counters),
        ]
        for node in ("n0", "n1", "n2")
    }
    return claims, slices


@settings(max_examples=200, deadline=None)
@given(choices())
def test_nodes_are_graded_by_the_alternatives_that_they_have(
    world: tuple[list[Object], dict[str, list[Object]]],
) -> None:
    claims, slices = world
    made = Snapshot()
    for node, some in slices.items():
        made.put_node(node_facts(node_object(node)))
        for one in some:
            made.devices.put_slice(one["metadata"]["name"], slice_of(one))
    made.devices.put_class("gpu", class_of(class_object("gpu", f'device.driver == "{DRIVER}"')))
    for claim in map(claim_of, claims):
        made.devices.put_claim(claim.key, claim)
    names = [one["metadata"]["name"] for one in claims]
    pod = pod_facts(pod_object(resourceClaims=[{"name": name, "resourceClaimName": name} for name in names]))
    ways = {node: way for node, some in slices.items() if (way := first_way(claims, some, [])) is not None}
    nodes = [made.nodes[name] for name in ways]
    assert dict(DynamicResources().grade(pod, made, nodes) or {}) == grades(claims, ways)
