"""Where pods with claims of devices may go, what they get, and what their owners read."""

from __future__ import annotations

from typing import Any

import pytest
from harness.devices import (
    DRIVER,
    ask,
    class_object,
    device_claim,
    device_object,
    got,
    request,
    slice_object,
    used_by,
    using,
)
from harness.scheduling import node_object, pod_object

from oarlock.actors.scheduler.decision import Placement, Unschedulable, decide
from oarlock.actors.scheduler.devices.view import DevicesView
from oarlock.actors.scheduler.explanation import explain, with_claims
from oarlock.actors.scheduler.facts import PodFacts, node_facts, pod_facts
from oarlock.actors.scheduler.framework import PluginFailed
from oarlock.actors.scheduler.plugins import DEFAULT
from oarlock.actors.scheduler.plugins.dynamic_resources import gate
from oarlock.actors.scheduler.plugins.dynamic_steps import DynamicSteps, Reserved
from oarlock.actors.scheduler.snapshot import Snapshot

Object = dict[str, Any]
ALL = {"place": {"allNodes": True}}
GOING = device_claim()
GOING["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"


def world(*objects: Object) -> Snapshot:
    """Two nodes in zones a and b, the class `gpu` for every device of the driver, and these objects."""
    made = Snapshot()
    for name, zone in (("n0", "a"), ("n1", "b")):
        made.put_node(node_facts(node_object(name, labels={"zone": zone})))
    view = DevicesView(made.devices, lambda _: None, lambda *_: None)
    for obj in (class_object("gpu", f'device.driver == "{DRIVER}"'), *objects):
        metadata, spec = obj["metadata"], obj["spec"]
        kind = "resourceslices" if "pool" in spec else "resourceclaims" if "devices" in spec else "deviceclasses"
        view.put(kind, f"default/{metadata['name']}" if "namespace" in metadata else metadata["name"], obj)
    return made


def pod(*claims: str, **spec: Any) -> PodFacts:
    return pod_facts(pod_object(**({"resourceClaims": using(*claims)} | spec)))


def templated(made: str | None) -> PodFacts:
    """A pod whose claim comes from a template; `made` is the claim's name, once it has one."""
    obj = pod_object(resourceClaims=[{"name": "c", "resourceClaimTemplateName": "t"}])
    if made is not None:
        obj["status"] = {"resourceClaimStatuses": [{"name": "c", **({"resourceClaimName": made} if made else {})}]}
    return pod_facts(obj)


def outcome(incoming: PodFacts, snapshot: Snapshot) -> str:
    decision = decide(incoming, snapshot)
    if isinstance(decision, Placement):
        return decision.node
    return decision.message.removeprefix("0/2 nodes are available: ").split(", preemption", maxsplit=1)[0]


def given_to(incoming: PodFacts, snapshot: Snapshot, node: str = "n0") -> dict[str, Object]:
    """What the pod's claims get on the node, by their names."""
    reserved = DynamicSteps().reserve(incoming, node, snapshot)
    assert isinstance(reserved, Reserved)
    return {key.partition("/")[2]: one for key, one in reserved.allocations.items()}


def devices_of(allocation: Object) -> list[str]:
    return [one["device"] for one in allocation["devices"]["results"]]


ONE = slice_object("n1", device_object("g0"))
PART = slice_object("n1", device_object("g0"), count=2)
UPDATED = f"claim default/c, request r: asks for all devices, but resource pool {DRIVER}/n1 is currently being updated"


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([device_claim(), ONE], "n1"),
        ([device_claim()], "2 cannot allocate all claims. still not schedulable"),
        ([], 'could not find ResourceClaim "default/c". no new claims to deallocate'),
        ([GOING, ONE], 'resourceclaim "c" is being deleted. no new claims to deallocate'),
        (
            [device_claim("c", request(exactly=ask("fpga"))), ONE],
            "request r: device class fpga does not exist. no new claims to deallocate",
        ),
        (
            [device_claim("c", request(first=[("a", ask("fpga"))])), ONE],
            "request r/a: device class fpga does not exist. no new claims to deallocate",
        ),
        ([device_claim(status=got("g0", node="n1")), ONE], "n1"),
        (
            [device_claim(status=got("g0", node="n9"))],
            "2 resourceclaim not available on the node. deallocation of ResourceClaim completed",
        ),
        (
            [device_claim(status=got("g0", node="n9", reservedFor=used_by("other")))],
            "2 resourceclaim not available on the node. still not schedulable",
        ),
        (
            [device_claim(status=got("g0", node="n1", reservedFor=used_by(*map(str, range(256)))))],
            "resourceclaim in use. no new claims to deallocate",
        ),
        ([device_claim(status=got("g0", node="n1", reservedFor=used_by("other"))), ONE], "n1"),
        (
            [device_claim("c", request(exactly=ask(allocationMode="All"))), PART],
            f"1 cannot allocate all claims, 1 {UPDATED}. still not schedulable",
        ),
        (
            [device_claim(), slice_object("n1", device_object("g0"), device_object("g0"))],
            "1 cannot allocate all claims, 1 invalid resource pools were encountered. still not schedulable",
        ),
        (
            [device_claim("c", request(exactly=ask(count=33))), ONE],
            "2 claim default/c: number of requested devices 33 exceeds the claim limit of 32. still not schedulable",
        ),
    ],
)
def test_a_pod_goes_where_its_claim_can_be_served(objects: list[Object], said: str) -> None:
    assert outcome(pod("c"), world(*objects)) == said


@pytest.mark.parametrize(
    ("made", "owner", "said"),
    [
        (None, "uid-p", 'pod "default/p": ResourceClaim not created yet'),
        ("c", "uid-q", "ResourceClaim default/c was not created for pod default/p (pod is not owner)"),
        ("c", "uid-p", None),
        ("", "uid-p", None),
    ],
)
def test_a_pod_is_held_back_until_it_has_its_claims(made: str | None, owner: str, said: str | None) -> None:
    assert gate(templated(made), world(device_claim(owner=owner))) == said


def test_without_preemption_it_is_said_that_devices_are_missing() -> None:
    decision = decide(pod("c", preemptionPolicy="Never"), world(device_claim()))
    assert isinstance(decision, Unschedulable)
    assert decision.message == (
        "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, "
        "preemption: not eligible due to preemptionPolicy=Never."
    )


def test_nobody_makes_room_for_devices() -> None:
    snapshot = world(device_claim())
    snapshot.put_pod(pod_facts(pod_object("lesser", priority=1)), "n0")
    decision = decide(pod("c", priority=10), snapshot)
    assert isinstance(decision, Unschedulable)
    assert decision.nomination is None


def test_an_expression_without_an_answer_fails_the_attempt() -> None:
    claim = device_claim("c", request(exactly=ask("gpu", f'device.attributes["{DRIVER}"].nope == 1')))
    with pytest.raises(PluginFailed) as failed:
        decide(pod("c"), world(claim, ONE))
    assert str(failed.value) == (
        'running "DynamicResources" filter plugin: claim default/c: selector #0: CEL runtime error: no such key: nope'
    )


def test_what_is_decided_is_taken_before_it_is_written() -> None:
    snapshot = world(device_claim("c"), device_claim("d"), slice_object("n0", device_object("g0")))
    assert devices_of(given_to(pod("c"), snapshot)["c"]) == ["g0"]
    assert outcome(pod("d"), snapshot) == "2 cannot allocate all claims. still not schedulable"
    assert outcome(pod("c"), snapshot).startswith("resource claim default/c is in the process of being allocated")


def test_an_older_generation_counts_for_nothing() -> None:
    old = slice_object("n0", device_object("old"), name="s0")
    new = slice_object("n0", device_object("new"), name="s1", generation=2)
    snapshot = world(device_claim(), old, new)
    assert devices_of(given_to(pod("c"), snapshot)["c"]) == ["new"]
    # The new one has nothing for n0 any more, so the old one isn't believed either.
    moved = slice_object("n0", device_object("new"), name="s1", generation=2, place={"nodeName": "n1"})
    assert outcome(pod("c"), world(device_claim(), old, moved)) == "n1"


def test_the_best_alternative_wins_on_a_node_and_among_nodes() -> None:
    first = [(one, ask("gpu", f'device.attributes["{DRIVER}"].model == "{one}"')) for one in ("big", "small")]
    claim = device_claim("c", request(first=first))
    small, big = device_object("s", model="small"), device_object("b", model="big")
    snapshot = world(claim, slice_object("n0", small), slice_object("n1", small, big))
    assert outcome(pod("c"), snapshot) == "n1"
    (result,) = given_to(pod("c"), snapshot, "n1")["c"]["devices"]["results"]
    assert (result["request"], result["device"]) == ("r/big", "b")


def test_an_allocation_says_where_it_can_be_used_and_how() -> None:
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    place = {"nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}}
    of_class = [{"opaque": {"driver": DRIVER, "parameters": {"mode": "shared"}}}]
    of_claim = [{"requests": ["r"], "opaque": {"driver": DRIVER, "parameters": {"mode": "own"}}}]
    snapshot = world(
        class_object("gpu", config=of_class),
        device_claim("c", config=of_claim),
        slice_object("", device_object("g0"), pool="fabric", place=place),
    )
    assert outcome(pod("c"), snapshot) == "n0"
    assert given_to(pod("c"), snapshot)["c"] == {
        "devices": {
            "results": [{"request": "r", "driver": DRIVER, "pool": "fabric", "device": "g0"}],
            "config": [
                {"source": "FromClass", "requests": ["r"], **of_class[0]},
                {"source": "FromClaim", **of_claim[0]},
            ],
        },
        "nodeSelector": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]},
    }


def test_devices_that_are_used_anywhere_bind_to_no_node() -> None:
    snapshot = world(device_claim(), slice_object("", device_object("g0"), pool="net", **ALL))
    assert "nodeSelector" not in given_to(pod("c"), snapshot)["c"]
    snapshot = world(device_claim(), slice_object("", device_object("g0", bindsToNode=True), pool="net", **ALL))
    (term,) = given_to(pod("c"), snapshot, "n1")["c"]["nodeSelector"]["nodeSelectorTerms"]
    assert term["matchFields"] == [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]


def test_a_device_may_name_its_own_nodes() -> None:
    place = {"perDeviceNodeSelection": True}
    devices = [device_object("g0", nodeName="n1"), device_object("g1", allNodes=True)]
    snapshot = world(device_claim("c"), device_claim("d"), slice_object("", *devices, pool="net", place=place))
    assert devices_of(given_to(pod("c"), snapshot, "n0")["c"]) == ["g1"]
    assert outcome(pod("d"), snapshot) == "n1"


def test_an_administrator_may_have_what_others_use() -> None:
    other = device_claim("other", status=got("g0", reservedFor=used_by("q")))
    watching = device_claim("c", request(exactly=ask(adminAccess=True)))
    snapshot = world(other, watching, slice_object("n0", device_object("g0")))
    (result,) = given_to(pod("c"), snapshot)["c"]["devices"]["results"]
    assert result["adminAccess"] is True
    # Looking on takes nothing.
    snapshot = world(device_claim("d"), slice_object("n0", device_object("g0")))
    seen = got("g0")
    seen["allocation"]["devices"]["results"][0]["adminAccess"] = True
    DevicesView(snapshot.devices, lambda _: None, lambda *_: None).put(
        "resourceclaims", "default/c", device_claim("c", status=seen)
    )
    assert outcome(pod("d"), snapshot) == "n0"


def test_a_tainted_device_is_for_those_who_tolerate_that() -> None:
    tainted = device_object("g0", taints=[{"key": "sick", "value": "yes", "effect": "NoSchedule"}])
    told = device_object("g0", taints=[{"key": "sick", "value": "yes", "effect": "None"}])
    bold = device_claim("c", request(exactly=ask(tolerations=[{"key": "sick", "operator": "Exists"}])))
    assert outcome(pod("c"), world(device_claim(), slice_object("n0", tainted))).startswith("2 cannot allocate")
    assert outcome(pod("c"), world(device_claim(), slice_object("n0", told))) == "n0"
    snapshot = world(bold, slice_object("n0", tainted))
    (result,) = given_to(pod("c"), snapshot)["c"]["devices"]["results"]
    assert result["tolerations"] == [{"key": "sick", "operator": "Exists"}]


def test_parts_of_one_whole_are_given_until_it_is_used_up() -> None:
    def part(name: str, memory: int) -> Object:
        counted = {"counterSet": "card", "counters": {"memory": {"value": f"{memory}Gi"}}}
        return device_object(name, consumesCounters=[counted])

    counters = [{"name": "card", "counters": {"memory": {"value": "40Gi"}}}]
    slices = [
        slice_object("n0", part("whole", 40), part("half-0", 20), part("half-1", 20), name="a", count=2),
        slice_object("n0", name="b", count=2, sharedCounters=counters),
    ]
    snapshot = world(device_claim("c", status=got("half-0")), device_claim("d"), device_claim("e"), *slices)
    assert devices_of(given_to(pod("d"), snapshot)["d"]) == ["half-1"]
    assert outcome(pod("e"), snapshot).startswith("2 cannot allocate all claims")


def test_capacity_of_a_shared_device_is_given_in_the_steps_that_it_has() -> None:
    policy = {"default": "10Gi", "validRange": {"min": "10Gi", "step": "10Gi"}}
    card = device_object("g0", allowMultipleAllocations=True)
    card["capacity"] = {"memory": {"value": "40Gi", "requestPolicy": policy}}
    wants = [
        device_claim(name, request(exactly=ask(capacity={"requests": {"memory": amount}})))
        for name, amount in (("c", "11Gi"), ("d", "20Gi"), ("e", "1Gi"))
    ]
    snapshot = world(*wants, slice_object("n0", card))
    taken = []
    for name in "cd":
        (result,) = given_to(pod(name), snapshot)[name]["devices"]["results"]
        taken.append((result["consumedCapacity"]["memory"], len(result["shareID"])))
    assert taken == [("20Gi", 36), ("20Gi", 36)]
    assert outcome(pod("e"), snapshot).startswith("2 cannot allocate all claims")


def test_devices_that_need_making_ready_come_last_and_keep_their_conditions() -> None:
    slow = device_object("g0", bindingConditions=["ready"], bindingFailureConditions=["broken"])
    snapshot = world(
        device_claim("c"),
        device_claim("d"),
        slice_object("n0", slow, pool="a"),
        slice_object("n0", device_object("g1"), pool="b"),
    )
    assert devices_of(given_to(pod("c"), snapshot)["c"]) == ["g1"]
    (result,) = given_to(pod("d"), snapshot)["d"]["devices"]["results"]
    assert (result["bindingConditions"], result["bindingFailureConditions"]) == (["ready"], ["broken"])


def test_a_device_that_can_t_be_made_ready_is_given_back() -> None:
    status = got("g0", reservedFor=used_by("uid-p"))
    status["allocation"]["devices"]["results"][0] |= {
        "bindingConditions": ["ready"],
        "bindingFailureConditions": ["broken"],
    }
    broken = {"type": "broken", "status": "True", "reason": "Burnt", "message": "smoke"}
    status["devices"] = [{"driver": DRIVER, "pool": "n0", "device": "g0", "conditions": [broken]}]
    snapshot = world(device_claim(status=status), slice_object("n0", device_object("g0")))
    decision = decide(pod("c"), snapshot)
    assert isinstance(decision, Unschedulable)
    assert decision.release is not None
    assert decision.release.key == "default/c"


CARDS = {"resources": {"requests": {"example.com/gpu": "2"}}}


def test_an_extended_resource_is_served_by_devices_where_nodes_have_none_of_it() -> None:
    obj = pod_object()
    obj["spec"]["containers"] = [{"name": "main", **CARDS}]
    obj["spec"]["initContainers"] = [{"name": "init", **CARDS}]
    asking = pod_facts(obj)
    cards = [device_object(f"g{index}") for index in range(3)]
    snapshot = world(class_object("cards", extendedResourceName="example.com/gpu"), slice_object("n1", *cards))
    assert outcome(asking, snapshot) == "n1"
    reserved = DynamicSteps().reserve(asking, "n1", snapshot)
    assert isinstance(reserved, Reserved)
    assert reserved.more is not None
    # What runs first uses what the others are going to have.
    assert [(one["name"], one["exactly"]["count"]) for one in reserved.more.requests] == [("container-1-request-0", 2)]
    assert [(one["containerName"], one["requestName"]) for one in reserved.more.mappings] == [
        ("main", "container-1-request-0"),
        ("init", "container-1-request-0"),
    ]
    snapshot = world(class_object("cards", extendedResourceName="example.com/gpu"))
    assert outcome(asking, snapshot) == "2 cannot allocate all claims. still not schedulable"
    assert outcome(asking, world()) == "2 Insufficient example.com/gpu. no new claims to deallocate"


def test_a_node_that_has_the_resource_itself_needs_no_devices() -> None:
    obj = pod_object()
    obj["spec"]["containers"] = [{"name": "main", **CARDS}]
    snapshot = world(class_object("cards", extendedResourceName="example.com/gpu"))
    node = node_object("n2")
    node["status"]["allocatable"]["example.com/gpu"] = "2"
    snapshot.put_node(node_facts(node))
    assert outcome(pod_facts(obj), snapshot) == "n2"


def test_a_pod_that_is_not_there_is_judged_with_the_claims_that_it_would_get() -> None:
    template = {"metadata": {"name": "t"}, "spec": {"spec": device_claim()["spec"]}}
    obj = pod_object(resourceClaims=[{"name": "card", "resourceClaimTemplateName": "t"}])
    asking, made = with_claims(obj, [template])
    assert outcome(pod_facts(asking), world(*made, ONE)) == "n1"
    explained = explain(pod_facts(asking), world(*made, ONE), DEFAULT)
    said = {one.name: dict(one.verdicts)["DynamicResources"] for one in explained.nodes}
    assert said == {"n0": ("cannot allocate all claims",), "n1": None}


def test_who_waits_for_what_is_being_written_is_told_when_that_is_over() -> None:
    told: list[str] = []
    snapshot = world(device_claim("c"), slice_object("n0", device_object("g0")))
    view = DevicesView(snapshot.devices, told.append, lambda event, key: told.append(f"{event} {key}"))
    step, asking = DynamicSteps(), pod("c")
    step.unreserve(asking, "n0", step.reserve(asking, "n0", snapshot), snapshot)
    assert told == ["ResourceClaimDeallocated"]
    step.reserve(asking, "n0", snapshot)
    view.put("resourceclaims", "default/c", device_claim("c", status=got("g0", reservedFor=used_by("uid-p"))))
    assert outcome(pod("c"), snapshot).startswith("resource claim default/c is in the process")
    snapshot.devices.forget("default/c", written=True)
    assert told[1:] == ["ResourceClaimChanged default/c"]
    assert outcome(pod("c"), snapshot) == "n0"
