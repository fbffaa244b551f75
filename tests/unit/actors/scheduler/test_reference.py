"""Every filter and score against its plain reference, in clusters that chance makes."""

from __future__ import annotations

import random
from typing import Any

from harness.scheduling import node_object, pod_object
from harness.scheduling_reference import FILTERS as PLAIN_FILTERS
from harness.scheduling_reference import NAMESPACES, Cluster
from harness.scheduling_reference import SCORES as PLAIN_SCORES
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.scheduler.decision import Placement, Search, Unschedulable, decide
from oarlock.actors.scheduler.facts import PodFacts, node_facts, pod_facts
from oarlock.actors.scheduler.plugins import FILTERS, SCORES
from oarlock.actors.scheduler.snapshot import Snapshot

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def a_node(chance: random.Random, name: str) -> dict[str, Any]:
    labels = {ZONE: chance.choice("abc")} if chance.random() < 0.8 else {}
    labels["disk"] = chance.choice(("ssd", "hdd"))
    taints = [{"key": chance.choice("kl"), "effect": chance.choice(EFFECTS)} for _ in range(chance.randrange(2))]
    made = node_object(
        name,
        cpu=chance.choice(("1", "4", "8")),
        memory=chance.choice(("1Gi", "8Gi")),
        pods=chance.choice(("2", "110")),
        labels=labels,
        taints=taints,
        unschedulable=chance.random() < 0.1,
    )
    if chance.random() < 0.4:
        size = chance.randrange(10_000_000, 2_000_000_000)
        made["status"]["images"] = [{"names": ["host/x:latest", "host/x@sha256:0"], "sizeBytes": size}]
    return made


def a_term(chance: random.Random) -> dict[str, Any]:
    term: dict[str, Any] = {"topologyKey": chance.choice((ZONE, HOST)), "labelSelector": a_selector(chance)}
    if chance.random() < 0.3:
        term["namespaceSelector"] = chance.choice(({}, {"matchLabels": {"team": "b"}}))
    if chance.random() < 0.2:
        term[chance.choice(("matchLabelKeys", "mismatchLabelKeys"))] = ["app"]
    return term


def a_selector(chance: random.Random) -> dict[str, Any]:
    return {
        "matchExpressions": [
            {"key": "app", "operator": chance.choice(("In", "NotIn")), "values": [chance.choice("xy")]}
        ]
    }


def affinity(chance: random.Random, often: float) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for kind in ("podAffinity", "podAntiAffinity"):
        if chance.random() < often:
            made[kind] = {REQUIRED: [a_term(chance)]}
        if chance.random() < often:
            weighed = {"weight": chance.randrange(1, 100), "podAffinityTerm": a_term(chance)}
            made.setdefault(kind, {})[PREFERRED] = [weighed]
    if chance.random() < often:
        wanted = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
        made["nodeAffinity"] = {PREFERRED: [{"weight": chance.randrange(1, 100), "preference": wanted}]}
        if chance.random() < often:
            made["nodeAffinity"][REQUIRED] = {"nodeSelectorTerms": [wanted]}
    return made


def a_constraint(chance: random.Random) -> dict[str, Any]:
    return {
        "maxSkew": chance.randrange(1, 3),
        "topologyKey": chance.choice((ZONE, HOST)),
        "whenUnsatisfiable": chance.choice(("DoNotSchedule", "ScheduleAnyway")),
        "labelSelector": a_selector(chance),
        "nodeAffinityPolicy": chance.choice(("Honor", "Ignore")),
        "nodeTaintsPolicy": chance.choice(("Honor", "Ignore")),
        **({"minDomains": chance.randrange(1, 5)} if chance.random() < 0.2 else {}),
    }


def a_pod(chance: random.Random, name: str, often: float, node: str = "") -> PodFacts:
    spec: dict[str, Any] = {"nodeName": node, "affinity": affinity(chance, often)}
    if chance.random() < often:
        spec["topologySpreadConstraints"] = [a_constraint(chance) for _ in range(chance.randrange(1, 3))]
    if chance.random() < often:
        spec["tolerations"] = [{"key": chance.choice("kl"), "operator": "Exists"}]
    if chance.random() < 0.3:
        port = {"containerPort": 80, "hostPort": chance.choice((80, 81))}
        spec["ports"] = [{**port, "hostIP": chance.choice(("", "127.0.0.1", "127.0.0.2"))}]
    obj = pod_object(
        name,
        cpu=chance.choice(("", "100m", "1")),
        memory=chance.choice(("", "128Mi", "1Gi")),
        labels={"app": chance.choice("xyz")} if chance.random() < 0.9 else {},
        **spec,
    )
    obj["metadata"]["namespace"] = chance.choice(("default", "default", "other"))
    if node and chance.random() < 0.1:
        obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return pod_facts(obj)


def a_cluster(chance: random.Random) -> tuple[Snapshot, Cluster]:
    """The same cluster twice: for the filters, and for their references."""
    snapshot, plain = Snapshot(), []
    snapshot.namespace_labels.update(NAMESPACES)
    for number in range(chance.randrange(1, 7)):
        node = node_facts(a_node(chance, f"n{number}"))
        pods = [a_pod(chance, f"p{number}-{place}", 0.15, node.name) for place in range(chance.randrange(4))]
        snapshot.put_node(node)
        for pod in pods:
            snapshot.put_pod(pod, node.name)
        plain.append((node, pods))
    for number in range(chance.randrange(3)):
        # What has come and gone leaves no trace.
        gone = a_pod(chance, f"gone{number}", 0.5, "n0")
        snapshot.put_pod(gone, "n0")
        snapshot.drop_pod(gone.key, "n0")
    return snapshot, plain


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_filters_agree_with_their_references(seed: int) -> None:
    chance = random.Random(seed)
    snapshot, plain = a_cluster(chance)
    incoming = a_pod(chance, "in", 0.5)
    for one in FILTERS:
        if one.name in PLAIN_FILTERS:
            check = one.prepare(incoming, snapshot)
            said = {node.name: check is None or check(node) is None for node in snapshot}
            wanted = {place[0].name: PLAIN_FILTERS[one.name](incoming, place, plain) for place in plain}
            assert said == wanted, one.name


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_scores_agree_with_their_references(seed: int) -> None:
    chance = random.Random(seed)
    snapshot, plain = a_cluster(chance)
    incoming = a_pod(chance, "in", 0.5)
    some = [place for place in plain if chance.random() < 0.8] or plain
    nodes = [snapshot.nodes[node.name] for node, _ in some]
    for one, _ in SCORES:
        if one.name in PLAIN_SCORES:
            grades = one.grade(incoming, snapshot, nodes)
            if grades is not None:
                wanted = PLAIN_SCORES[one.name](incoming, some, plain)
                assert [grades[node.name] for node in nodes] == wanted, one.name


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_a_node_with_pods_gone_is_judged_as_a_cluster_without_them(seed: int) -> None:
    """Preemption asks about clusters that aren't; the filters must not tell them from real ones."""
    chance = random.Random(seed)
    snapshot, plain = a_cluster(chance)
    incoming = a_pod(chance, "in", 0.5)
    place, (node, pods) = chance.choice(list(enumerate(plain)))
    kept = [pod for pod in pods if chance.random() < 0.5]
    changed = snapshot.nodes[node.name].without(pod.key for pod in pods if pod not in kept)
    view = snapshot.replacing(changed)
    less = [*plain[:place], (node, kept), *plain[place + 1 :]]
    for one in FILTERS:
        if one.name in PLAIN_FILTERS:
            check = one.prepare(incoming, view)
            assert (check is None or check(changed) is None) == PLAIN_FILTERS[one.name](incoming, less[place], less)


def play(seed: int) -> list[str]:
    """Schedule pods as they come and go; return every decision in words."""
    chance, search = random.Random(seed), Search(chance=random.Random(seed))
    snapshot = Snapshot()
    snapshot.namespace_labels.update(NAMESPACES)
    for number in range(130):
        snapshot.put_node(node_facts(a_node(chance, f"n{number}")))
    said: list[str] = []
    for number in range(60):
        pod = a_pod(chance, f"p{number}", 0.3)
        decision = decide(pod, snapshot, search=search)
        if isinstance(decision, Placement):
            snapshot.put_pod(pod, decision.node)
            said.append(decision.node)
        else:
            assert isinstance(decision, Unschedulable)
            said.append(decision.message)
        if number % 7 == 6 and said[number - 3] in snapshot.nodes:
            snapshot.drop_pod(f"default/p{number - 3}", said[number - 3])
    return said


def test_a_recorded_cluster_replays_to_the_same_placements() -> None:
    assert play(7) == play(7)
    assert play(7) != play(8)
