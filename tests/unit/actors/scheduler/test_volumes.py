"""Where pods with volumes may go, and which volumes they get."""

from __future__ import annotations

from typing import Any

import pytest
from harness.scheduling import claim_object, claiming, node_object, pod_object, volume_object

from oarlock.actors.scheduler.claims import VolumePlan, claims_of, plan
from oarlock.actors.scheduler.decision import Placement, Unschedulable, decide
from oarlock.actors.scheduler.facts import PodFacts, node_facts, pod_facts
from oarlock.actors.scheduler.snapshot import Snapshot
from oarlock.actors.scheduler.storage import capacity_facts, claim_facts, class_facts, driver_limits, volume_facts

Object = dict[str, Any]
ZONE = "topology.kubernetes.io/zone"
LOCAL = "kubernetes.io/no-provisioner"


def storage_class(name: str, mode: str = "Immediate", provisioner: str = "csi.example", **more: Any) -> Object:
    return {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode, **more}


def cluster(*objects: Object) -> Snapshot:
    """Two nodes in zones a and b, classes `slow` (immediate) and `late`, and these claims and volumes."""
    made = Snapshot()
    for name, zone in (("n0", "a"), ("n1", "b")):
        made.put_node(node_facts(node_object(name, labels={"zone": zone, ZONE: zone})))
    for one in (storage_class("slow"), storage_class("late", "WaitForFirstConsumer", LOCAL)):
        made.storage.classes[one["metadata"]["name"]] = class_facts(one)
    for obj in objects:
        if "capacity" in obj["spec"]:
            made.storage.put_volume(obj["metadata"]["name"], volume_facts(obj))
        else:
            claim = claim_facts(obj)
            made.storage.put_claim(claim.key, claim)
    return made


def pod(*claims: str, name: str = "p", **spec: Any) -> PodFacts:
    return pod_facts(pod_object(name, **{"volumes": claiming(*claims), **spec}))


def outcome(incoming: PodFacts, snapshot: Snapshot) -> str:
    decision = decide(incoming, snapshot)
    if isinstance(decision, Placement):
        return decision.node
    return decision.message.removeprefix("0/2 nodes are available: ").split(". no new claims", maxsplit=1)[0]


LOST = claim_object("c", volume="v", phase="Lost")
GOING = claim_object("c", volume="v")
GOING["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        ([], 'persistentvolumeclaim "c" not found'),
        ([LOST], 'persistentvolumeclaim "c" bound to non-existent persistentvolume "v"'),
        ([GOING], 'persistentvolumeclaim "c" is being deleted'),
        ([claim_object("c")], "pod has unbound immediate PersistentVolumeClaims"),
        ([claim_object("c", volume="v")], 'persistentvolume "v" not found'),
        ([claim_object("c", volume="v"), volume_object("v", zone="b", claim="c")], "n1"),
        (
            [claim_object("c", volume="v"), volume_object("v", zone="z", claim="c")],
            "2 node(s) didn't match PersistentVolume's node affinity",
        ),
        ([claim_object("c", class_name="late")], "2 node(s) didn't find available persistent volumes to bind"),
        ([claim_object("c", class_name="late"), volume_object("v", class_name="late", zone="b")], "n1"),
        (
            [claim_object("c", class_name="late", size="2Gi"), volume_object("v", class_name="late")],
            "2 node(s) didn't find available persistent volumes to bind",
        ),
        ([claim_object("c", volume="v"), volume_object("v", labels={ZONE: "b"}, claim="c")], "n1"),
        ([claim_object("c", volume="v"), volume_object("v", labels={ZONE: "x__b"}, claim="c")], "n1"),
        (
            [claim_object("c", volume="v"), volume_object("v", labels={ZONE: "x"}, claim="c")],
            "2 node(s) had no available volume zone",
        ),
    ],
)
def test_where_a_claim_lets_a_pod_go(objects: list[Object], said: str) -> None:
    assert outcome(pod("c"), cluster(*objects)) == said


def test_preemption_helps_no_pod_that_waits_for_its_claim() -> None:
    decision = decide(pod("c"), cluster(claim_object("c")))
    assert isinstance(decision, Unschedulable)
    assert decision.message == (
        "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. no new claims to deallocate, "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )


def planned(incoming: PodFacts, snapshot: Snapshot, node: str) -> VolumePlan | tuple[str, ...]:
    return plan(claims_of(incoming, snapshot.storage), snapshot.nodes[node], snapshot.storage)


def test_the_smallest_volume_that_fits_and_the_smallest_claim_first() -> None:
    snapshot = cluster(
        claim_object("large", class_name="late", size="3Gi"),
        claim_object("small", class_name="late", size="1Gi"),
        volume_object("v5", class_name="late", size="5Gi"),
        volume_object("v2", class_name="late", size="2Gi"),
        volume_object("v9", class_name="late", size="9Gi"),
    )
    found = planned(pod("large", "small"), snapshot, "n0")
    assert found == VolumePlan((("v2", "default/small"), ("v5", "default/large")))


def test_a_volume_kept_for_a_claim_is_its_and_nobody_elses() -> None:
    snapshot = cluster(
        claim_object("mine", class_name="late"),
        claim_object("other", class_name="late"),
        volume_object("big", class_name="late", size="9Gi", claim="mine"),
        volume_object("fit", class_name="late"),
    )
    assert planned(pod("mine"), snapshot, "n0") == VolumePlan((("big", "default/mine"),))
    assert planned(pod("other"), snapshot, "n0") == VolumePlan((("fit", "default/other"),))


def test_what_is_assumed_is_taken_and_can_be_given_back() -> None:
    snapshot = cluster(
        claim_object("one", class_name="late"),
        claim_object("two", class_name="late"),
        volume_object("v", class_name="late"),
    )
    snapshot.storage.assume([("v", "default/one")], [], "n0")
    assert planned(pod("two"), snapshot, "n0") == ("node(s) didn't find available persistent volumes to bind",)
    snapshot.storage.forget([("v", "default/one")], [])
    assert planned(pod("two"), snapshot, "n0") == VolumePlan((("v", "default/two"),))


def test_a_volume_is_made_where_the_class_allows_and_space_is_left() -> None:
    snapshot = cluster(claim_object("c", class_name="made", size="5Gi"))
    topology = [{"matchLabelExpressions": [{"key": "zone", "values": ["b"]}]}]
    made = storage_class("made", "WaitForFirstConsumer", allowedTopologies=topology)
    snapshot.storage.classes["made"] = class_facts(made)
    assert planned(pod("c"), snapshot, "n0") == ("node(s) didn't find available persistent volumes to bind",)
    assert planned(pod("c"), snapshot, "n1") == VolumePlan((), ("default/c",))
    snapshot.storage.counting_drivers.add("csi.example")
    assert planned(pod("c"), snapshot, "n1") == ("node(s) did not have enough free storage",)
    room = {"storageClassName": "made", "capacity": "9Gi", "nodeTopology": {"matchLabels": {"zone": "b"}}}
    snapshot.storage.capacities["x"] = capacity_facts(room)
    assert planned(pod("c"), snapshot, "n1") == VolumePlan((), ("default/c",))
    snapshot.storage.capacities["x"] = capacity_facts({**room, "maximumVolumeSize": "4Gi"})
    assert planned(pod("c"), snapshot, "n1") == ("node(s) did not have enough free storage",)


def test_an_ephemeral_claim_must_be_the_pods_own() -> None:
    volumes = [{"name": "data", "ephemeral": {"volumeClaimTemplate": {}}}]
    incoming = pod(volumes=volumes)
    waits = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-data"'
    assert outcome(incoming, cluster()) == waits
    foreign = cluster(claim_object("p-data", volume="v", owner="somebody"), volume_object("v", claim="p-data"))
    assert outcome(incoming, foreign).startswith("PVC default/p-data was not created for pod default/p")
    own = cluster(claim_object("p-data", volume="v", owner="uid-p"), volume_object("v", zone="b", claim="p-data"))
    assert outcome(incoming, own) == "n1"


def test_a_claim_for_one_pod_serves_one_pod_in_the_whole_cluster() -> None:
    snapshot = cluster(claim_object("c", volume="v", modes=["ReadWriteOncePod"]), volume_object("v", claim="c"))
    snapshot.put_pod(pod("c", name="first"), "n0")
    assert outcome(pod("c"), snapshot) == (
        "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    )
    assert outcome(pod("c", priority=5), snapshot) != "n1"
    decision = decide(pod("c", priority=5), snapshot)
    assert isinstance(decision, Unschedulable)
    assert decision.nomination is not None
    assert decision.nomination.node == "n0"


@pytest.mark.parametrize(
    ("kind", "one", "other", "shared"),
    [
        ("gcePersistentDisk", {"pdName": "d"}, {"pdName": "d"}, False),
        ("gcePersistentDisk", {"pdName": "d", "readOnly": True}, {"pdName": "d", "readOnly": True}, True),
        ("awsElasticBlockStore", {"volumeID": "d", "readOnly": True}, {"volumeID": "d", "readOnly": True}, False),
        ("iscsi", {"iqn": "d", "readOnly": True}, {"iqn": "d"}, False),
        ("rbd", {"monitors": ["a", "b"], "image": "i"}, {"monitors": ["b"], "image": "i"}, False),
        ("rbd", {"monitors": ["a"], "image": "i"}, {"monitors": ["b"], "image": "i"}, True),
    ],
)
def test_disks_in_the_pod_itself(kind: str, one: Object, other: Object, shared: bool) -> None:
    snapshot = cluster()
    for node in ("n0", "n1"):
        snapshot.put_pod(pod(name=node, volumes=[{"name": "d", kind: one}]), node)
    said = outcome(pod(volumes=[{"name": "d", kind: other}]), snapshot)
    assert said == ("n0" if shared else "2 node(s) had no available disk")


def test_a_node_attaches_no_more_volumes_than_its_driver_can() -> None:
    objects = [claim_object(name, volume=f"v{name}") for name in "abc"]
    volumes = [volume_object(f"v{name}", claim=name) for name in "abc"]
    snapshot = cluster(*objects, *volumes)
    csi = {"spec": {"drivers": [{"name": "csi.example", "nodeID": "x", "allocatable": {"count": 2}}]}}
    for node in ("n0", "n1"):
        snapshot.storage.limits[node] = driver_limits(csi)
    snapshot.put_pod(pod("a", "b", name="first"), "n0")
    assert outcome(pod("c"), snapshot) == "n1"
    assert outcome(pod("a", nodeSelector={"zone": "a"}), snapshot) == "n0"
    assert outcome(pod("c", nodeSelector={"zone": "a"}), snapshot).startswith("1 node(s) didn't match")
    snapshot.put_pod(pod("b", name="second"), "n1")
    assert outcome(pod("a", "c", nodeSelector={"zone": "b"}), snapshot).startswith("1 node(s) didn't match")
    assert "1 node(s) exceed max volume count" in outcome(pod("a", "c", nodeSelector={"zone": "b"}), snapshot)
