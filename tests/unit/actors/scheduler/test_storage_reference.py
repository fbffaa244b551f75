"""The filters of storage against their plain references, in worlds that chance makes and changes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from harness.scheduling import node_object, pod_object
from harness.storage_reference import BOUND, CLASS, OLD_ZONE, SELECTED, ZONE, Hopeless, World
from harness.storage_reference import FILTERS as PLAIN
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.scheduler.facts import node_facts, pod_facts
from oarlock.actors.scheduler.framework import Failure, Impossible
from oarlock.actors.scheduler.plugins import FILTERS
from oarlock.actors.scheduler.snapshot import Snapshot
from oarlock.actors.scheduler.storage_view import StorageView

Object = dict[str, Any]
CLASSES = ("slow", "late", "made", "gone", "")
DRIVERS = ("csi.a", "csi.b")
MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteOncePod")
KINDS = {
    "claims": ("", "persistentvolumeclaims"),
    "volumes": ("", "persistentvolumes"),
    "classes": ("storage.k8s.io", "storageclasses"),
    "csi_nodes": ("storage.k8s.io", "csinodes"),
    "drivers": ("storage.k8s.io", "csidrivers"),
    "capacities": ("storage.k8s.io", "csistoragecapacities"),
    "attachments": ("storage.k8s.io", "volumeattachments"),
}
Verdict = tuple[str, ...] | str
"""Reasons against a node, or why there can be no node."""


def some(chance: random.Random, often: float, make: Callable[[], Object]) -> Object:
    return make() if chance.random() < often else {}


def a_size(chance: random.Random) -> str:
    return f"{chance.randrange(1, 4)}Gi"


def a_node(chance: random.Random, name: str) -> Object:
    zone = some(chance, 0.7, lambda: {chance.choice((ZONE, ZONE, OLD_ZONE)): chance.choice("ab")})
    return node_object(name, labels={**zone, "rack": chance.choice("rs")})


def a_claim(chance: random.Random, name: str, owner: str) -> Object:
    annotations = {
        **some(chance, 0.5, lambda: {BOUND: "yes"}),
        **some(chance, 0.2, lambda: {SELECTED: chance.choice(("n0", "n1"))}),
        **some(chance, 0.1, lambda: {CLASS: chance.choice(CLASSES)}),
    }
    spec = {
        "accessModes": chance.sample(MODES, chance.randrange(1, 3)),
        "resources": {"requests": {"storage": a_size(chance)}},
        "storageClassName": chance.choice(("late", "late", "made", *CLASSES)),
        **some(chance, 0.4, lambda: {"volumeName": f"v{chance.randrange(5)}"}),
        **some(chance, 0.1, lambda: {"volumeMode": "Block"}),
        **some(chance, 0.1, lambda: {"volumeAttributesClassName": "gold"}),
        **some(chance, 0.2, lambda: {"selector": {"matchLabels": {"kind": chance.choice("xy")}}}),
    }
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{name}",
        "annotations": annotations,
        "ownerReferences": [{"uid": owner, "controller": True, "kind": "Pod", "name": "in"}],
        **some(chance, 0.05, lambda: {"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    }
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Lost" if chance.random() < 0.03 else "Pending"}}


def a_volume(chance: random.Random, name: str) -> Object:
    affinity = [
        {
            "matchExpressions": [
                {
                    "key": chance.choice((ZONE, "rack")),
                    "operator": chance.choice(("In", "In", "NotIn")),
                    "values": [chance.choice("abrs")],
                }
            ]
        }
        for _ in range(chance.randrange(1, 3))
    ]
    reference = {"namespace": "default", "name": f"c{chance.randrange(4)}"}
    spec = {
        "accessModes": chance.sample(MODES, chance.randrange(1, 4)),
        "capacity": {"storage": a_size(chance)},
        "storageClassName": chance.choice(("late", "late", *CLASSES)),
        **some(chance, 0.8, lambda: {"csi": {"driver": chance.choice(DRIVERS), "volumeHandle": f"h{name}"}}),
        **some(chance, 0.4, lambda: {"nodeAffinity": {"required": {"nodeSelectorTerms": affinity}}}),
        **some(chance, 0.1, lambda: {"volumeMode": "Block"}),
        **some(chance, 0.1, lambda: {"volumeAttributesClassName": "gold"}),
        **some(chance, 0.3, lambda: {"claimRef": {**reference, **some(chance, 0.5, lambda: {"uid": "uid-c0"})}}),
    }
    metadata = {
        "name": name,
        "labels": {
            **some(chance, 0.3, lambda: {chance.choice((ZONE, OLD_ZONE)): chance.choice(("a", "b", "a__b", ""))}),
            "kind": chance.choice("xy"),
        },
        **some(chance, 0.05, lambda: {"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    }
    return {"metadata": metadata, "spec": spec, "status": {"phase": chance.choice(("Available", "Available", "Bound"))}}


def a_disk(chance: random.Random) -> Object:
    reads = {"readOnly": chance.random() < 0.5}
    return chance.choice(
        (
            {"gcePersistentDisk": {"pdName": chance.choice("pq"), **reads}},
            {"awsElasticBlockStore": {"volumeID": chance.choice("pq"), **reads}},
            {"iscsi": {"iqn": chance.choice("pq"), "lun": 0, "targetPortal": "t", **reads}},
            {
                "rbd": {
                    "monitors": chance.sample(("m", "n", "o"), 2),
                    "pool": "rbd",
                    "image": chance.choice("pq"),
                    **reads,
                }
            },
        )
    )


def a_pod(chance: random.Random, name: str, **spec: Any) -> Object:
    volumes: list[Object] = []
    for place in range(chance.randrange(4)):
        source = chance.choice(
            (
                {"persistentVolumeClaim": {"claimName": f"c{chance.randrange(5)}"}},
                {"persistentVolumeClaim": {"claimName": f"c{chance.randrange(3)}"}},
                {"persistentVolumeClaim": {"claimName": chance.choice(("in-e", "p0-e"))}},
                {"ephemeral": {"volumeClaimTemplate": {}}},
                a_disk(chance),
            )
        )
        volumes.append({"name": "e" if "ephemeral" in source else f"v{place}", **source})
    return pod_object(name, volumes=volumes, **spec)


def a_class(chance: random.Random, name: str) -> Object:
    topology = {"matchLabelExpressions": [{"key": "rack", "values": [chance.choice("rs")]}]}
    return {
        "metadata": {"name": name},
        "provisioner": chance.choice(DRIVERS) if name == "made" else "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate" if name == "slow" else "WaitForFirstConsumer",
        **some(chance, 0.4, lambda: {"allowedTopologies": [topology]}),
    }


def a_capacity(chance: random.Random, name: str) -> Object:
    return {
        "metadata": {"name": name, "namespace": "kube-system"},
        "storageClassName": chance.choice(("made", "late")),
        **some(chance, 0.8, lambda: {"nodeTopology": {"matchLabels": {"rack": chance.choice("rs")}}}),
        **some(chance, 0.8, lambda: {"capacity": a_size(chance)}),
        **some(chance, 0.3, lambda: {"maximumVolumeSize": a_size(chance)}),
    }


def an_attachment(chance: random.Random, name: str) -> Object:
    source = {"persistentVolumeName": f"v{chance.randrange(5)}"}
    return {
        "metadata": {"name": name},
        "spec": {"attacher": "x", "nodeName": chance.choice(("n0", "n1")), "source": source},
    }


def a_csi_node(chance: random.Random, name: str) -> Object:
    drivers = [
        {"name": driver, "nodeID": name, **some(chance, 0.8, lambda: {"allocatable": {"count": chance.randrange(4)}})}
        for driver in DRIVERS
    ]
    return {"metadata": {"name": name}, "spec": {"drivers": drivers}}


def a_world(chance: random.Random) -> World:
    nodes = [a_node(chance, f"n{place}") for place in range(3)]
    return World(
        nodes,
        [a_pod(chance, f"p{place}", nodeName=f"n{chance.randrange(3)}") for place in range(chance.randrange(5))],
        [a_claim(chance, f"c{place}", "uid-in") for place in range(4)]
        + [a_claim(chance, "in-e", chance.choice(("uid-in", "uid-in", "other")))][: chance.randrange(2)]
        + [a_claim(chance, "p0-e", "uid-p0")][: chance.randrange(2)],
        [a_volume(chance, f"v{place}") for place in range(chance.randrange(5))],
        [a_class(chance, name) for name in ("slow", "late", "made")],
        [a_csi_node(chance, f"n{place}") for place in range(chance.randrange(4))],
        [
            {"metadata": {"name": driver}, "spec": some(chance, 0.6, lambda: {"storageCapacity": True})}
            for driver in DRIVERS[: chance.randrange(3)]
        ],
        [a_capacity(chance, f"k{place}") for place in range(chance.randrange(4))],
        [an_attachment(chance, f"a{place}") for place in range(chance.randrange(4))],
    )


def followed(chance: random.Random, world: World) -> Snapshot:
    """The world as the scheduler comes to see it: in any order, some objects other than they are at first, or gone."""
    made = Snapshot()
    view = StorageView(made.storage, lambda _: None)
    news = [(kind, one) for name, kind in KINDS.items() for one in getattr(world, name)]
    passing = a_world(chance)
    for name, kind in KINDS.items():
        for other in getattr(passing, name):
            if chance.random() < 0.3:
                view.put(kind, _key(other), other)
                if not any(_key(other) == _key(one) for one in getattr(world, name)):
                    news.append((kind, {"metadata": other["metadata"], "gone": True}))
    chance.shuffle(news)
    for kind, one in news:
        view.put(kind, _key(one), None if "gone" in one else one)
    for node in world.nodes:
        made.put_node(node_facts(node))
    for pod in world.pods:
        made.put_pod(pod_facts(pod), pod["spec"]["nodeName"])
    return made


def _key(obj: Object) -> str:
    metadata = obj["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else metadata["name"]


def plain(name: str, pod: Object, world: World) -> dict[str, Verdict]:
    said: dict[str, Verdict] = {}
    for node in world.nodes:
        try:
            said[node["metadata"]["name"]] = tuple(PLAIN[name](pod, node, world))
        except Hopeless as hopeless:
            said[node["metadata"]["name"]] = str(hopeless)
    return said


def ours(name: str, pod: Object, snapshot: Snapshot) -> dict[str, Verdict]:
    one = next(one for one in FILTERS if one.name == name)
    try:
        check = one.prepare(pod_facts(pod), snapshot)
    except Impossible as impossible:
        return dict.fromkeys(snapshot.nodes, impossible.reason)
    found: dict[str, Failure | None] = {node.name: check(node) if check else None for node in snapshot}
    return {node: () if failure is None else tuple(sorted(failure.reasons)) for node, failure in found.items()}


@settings(max_examples=1000, deadline=None)
@given(st.integers(0, 2**32))
def test_filters_of_storage_agree_with_their_references(seed: int) -> None:
    chance = random.Random(seed)
    world = a_world(chance)
    pod = a_pod(chance, "in")
    snapshot = followed(chance, world)
    for name in PLAIN:
        assert ours(name, pod, snapshot) == plain(name, pod, world), name


def test_worlds_have_every_verdict() -> None:
    """Chance makes each reason that there is, so that the comparison above compares something."""
    seen: set[str] = set()
    for seed in range(600):
        chance = random.Random(seed)
        world, pod = a_world(chance), a_pod(chance, "in")
        for name in PLAIN:
            for verdict in plain(name, pod, world).values():
                seen.update(verdict if isinstance(verdict, tuple) else [verdict.split('"')[0]])
    assert len(seen) >= 16, sorted(seen)
