"""The allocator against the plainest one, on tiny worlds that come as they may."""

from __future__ import annotations

from typing import Any

from harness.device_reference import Choice, first_way
from harness.devices import DRIVER, ask, class_object, device_claim, device_object, got, request, slice_object
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.scheduler.devices.allocator import Unfit, allocate
from oarlock.actors.scheduler.devices.claimed import claim_of, class_of
from oarlock.actors.scheduler.devices.matching import Unanswerable
from oarlock.actors.scheduler.devices.published import slice_of
from oarlock.actors.scheduler.devices.state import Devices

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
