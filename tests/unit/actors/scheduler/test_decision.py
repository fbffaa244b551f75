"""Where pods go, and what users read when they go nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.scheduler.decision import Placement, Search, Unschedulable, decide
from oarlock.actors.scheduler.facts import NodeFacts, PodFacts, node_facts, pod_facts
from oarlock.actors.scheduler.framework import scaled
from oarlock.actors.scheduler.snapshot import Snapshot

MakePod = Callable[..., PodFacts]
MakeNode = Callable[..., NodeFacts]
TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
OUTLOOK_FINAL = (
    "no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
)


def message(pod: PodFacts, snapshot: Snapshot) -> str:
    decision = decide(pod, snapshot)
    assert isinstance(decision, Unschedulable)
    return decision.message


def node_of(pod: PodFacts, snapshot: Snapshot) -> str:
    decision = decide(pod, snapshot)
    assert isinstance(decision, Placement), decision
    return decision.node


def term(**labels: str) -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": labels}, "topologyKey": "zone"}


def test_no_nodes(make_pod: MakePod) -> None:
    assert message(make_pod(), Snapshot()) == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"cpu": "5"}, "2 Insufficient cpu"),
        ({"nodeSelector": {"disk": "ssd"}}, "2 node(s) didn't match Pod's node affinity/selector"),
        ({"nodeName": "n9"}, "2 node(s) didn't match the requested node name"),
        (
            {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(app="db")]}}},
            "2 node(s) didn't match pod affinity rules",
        ),
        (
            {
                "topologySpreadConstraints": [
                    {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
                ]
            },
            "2 node(s) didn't match pod topology spread constraints (missing required label)",
        ),
    ],
)
def test_refusals_are_worded_as_upstream(
    make_pod: MakePod, snapshot: Snapshot, spec: dict[str, Any], said: str
) -> None:
    assert message(make_pod(**spec), snapshot) == f"0/2 nodes are available: {said}. {OUTLOOK_FINAL}"


def test_reasons_are_counted_and_sorted(make_pod: MakePod, make_node: MakeNode) -> None:
    snapshot = Snapshot()
    snapshot.put_node(make_node("full", pods="0"))
    snapshot.put_node(make_node("cordoned", unschedulable=True))
    snapshot.put_node(make_node("tainted", taints=[TAINT]))
    assert message(make_pod(), snapshot) == (
        "0/3 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable. "
        "no new claims to deallocate, preemption: 0/3 nodes are available: "
        "1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    )


def test_a_pod_that_never_preempts_says_so(make_pod: MakePod, snapshot: Snapshot) -> None:
    said = message(make_pod(cpu="5", preemptionPolicy="Never"), snapshot)
    assert said.endswith("preemption: not eligible due to preemptionPolicy=Never.")


def test_the_emptier_node_wins(make_pod: MakePod, snapshot: Snapshot) -> None:
    snapshot.put_pod(make_pod("big", cpu="2"), "n0")
    assert node_of(make_pod(cpu="1"), snapshot) == "n1"


def test_tolerated_taint_and_preferred_avoidance(make_pod: MakePod, make_node: MakeNode, snapshot: Snapshot) -> None:
    snapshot.put_node(make_node("n0", taints=[TAINT]))
    snapshot.put_node(make_node("n1", unschedulable=True))
    assert node_of(make_pod(tolerations=[{"key": "dedicated", "operator": "Exists"}]), snapshot) == "n0"


def test_host_ports_collide_over_all_addresses(make_pod: MakePod, snapshot: Snapshot) -> None:
    port = {"containerPort": 80, "hostPort": 80}
    snapshot.put_pod(make_pod("a", ports=[{**port, "hostIP": "127.0.0.1"}]), "n0")
    assert node_of(make_pod(ports=[port]), snapshot) == "n1"
    snapshot.put_pod(make_pod("b", ports=[port]), "n1")
    assert "didn't have free ports" in message(make_pod(ports=[port]), snapshot)
    assert node_of(make_pod(ports=[{**port, "protocol": "UDP"}]), snapshot) in ("n0", "n1")


def test_anti_affinity_works_in_both_directions(make_pod: MakePod, snapshot: Snapshot) -> None:
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(app="web")]}}
    snapshot.put_pod(make_pod("loner", labels={"app": "web"}, affinity=apart), "n0")
    assert node_of(make_pod("second", labels={"app": "web"}), snapshot) == "n1"
    assert node_of(make_pod("third", affinity=apart), snapshot) == "n1"


def test_the_first_of_a_group_that_wants_itself_may_go_anywhere(make_pod: MakePod, snapshot: Snapshot) -> None:
    together = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(app="web")]}}
    first = make_pod("first", labels={"app": "web"}, affinity=together)
    chosen = node_of(first, snapshot)
    snapshot.put_pod(first, chosen)
    assert node_of(make_pod("second", labels={"app": "web"}, affinity=together), snapshot) == chosen


@pytest.mark.parametrize("unsatisfiable", ["DoNotSchedule", "ScheduleAnyway"])
def test_spread_balances_zones(make_pod: MakePod, make_node: MakeNode, snapshot: Snapshot, unsatisfiable: str) -> None:
    snapshot.put_node(make_node("n2", labels={"zone": "a"}, cpu="64", memory="64Gi"))
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": unsatisfiable,
        "labelSelector": {"matchLabels": {"app": "x"}},
    }
    zones = []
    for number in range(4):
        pod = make_pod(f"p{number}", labels={"app": "x"}, topologySpreadConstraints=[constraint])
        chosen = node_of(pod, snapshot)
        snapshot.put_pod(pod, chosen)
        zones.append(snapshot.nodes[chosen].labels["zone"])
    assert sorted(zones) == ["a", "a", "b", "b"]


def test_images_draw_pods(make_pod: MakePod, snapshot: Snapshot) -> None:
    node = {
        "metadata": {"name": "n1", "labels": {"zone": "b"}},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "images": [{"names": ["host/x:latest"], "sizeBytes": 900_000_000}],
        },
    }
    snapshot.put_node(node_facts(node))
    assert node_of(make_pod(), snapshot) == "n1"


def test_init_containers_sidecars_and_overhead_count() -> None:
    def container(cpu: str, **more: str) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    pod = pod_facts(
        {
            "metadata": {"name": "p"},
            "spec": {
                "containers": [container("1"), container("500m")],
                "initContainers": [container("300m", restartPolicy="Always"), container("3")],
                "overhead": {"cpu": "100m"},
            },
        }
    )
    assert pod.requests == {"cpu": 3400}


def test_what_the_pod_as_a_whole_asks_for_replaces_what_its_containers_do() -> None:
    """Source: KEP-2837. What only containers name still counts, as does overhead."""
    pod = pod_facts(
        {
            "metadata": {"name": "p"},
            "spec": {
                "resources": {"requests": {"cpu": "2"}},
                "containers": [
                    {"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "1Gi", "example.com/x": "1"}}},
                    {"name": "d", "resources": {"requests": {"memory": "1Gi"}}},
                ],
                "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "9"}}}],
                "overhead": {"cpu": "100m"},
            },
        }
    )
    assert pod.requests == {"cpu": 2100, "memory": 2 << 30, "example.com/x": 1}
    assert pod.scored[0] == 2100


def test_a_large_cluster_is_searched_in_turns(make_pod: MakePod, make_node: MakeNode) -> None:
    snapshot, search = Snapshot(), Search()
    for number in range(1000):
        snapshot.put_node(make_node(f"n{number}"))
    decisions = [decide(make_pod(), snapshot, search=search) for _ in range(4)]
    assert all(isinstance(one, Placement) and one.feasible == 420 for one in decisions)
    assert len({one.node for one in decisions if isinstance(one, Placement)}) > 1


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.integers(0, 10_000), min_size=1))
def test_scaling_keeps_order_and_bounds(raw: dict[str, int]) -> None:
    grades, reverse = scaled(raw), scaled(raw, reverse=True)
    assert all(0 <= grade <= 100 for grade in (*grades.values(), *reverse.values()))
    for one, other in zip(raw, list(raw)[1:], strict=False):
        assert (raw[one] <= raw[other]) == (grades[one] <= grades[other]) or grades[one] == grades[other]
        assert raw[one] > raw[other] or reverse[one] >= reverse[other]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["put", "drop"]), st.integers(0, 9), st.integers(0, 2)), max_size=40))
def test_incremental_sums_equal_a_fresh_count(changes: list[tuple[str, int, int]]) -> None:
    snapshot = Snapshot()
    nodes = [f"n{number}" for number in range(3)]
    for name in nodes:
        status = {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "9"}}
        snapshot.put_node(node_facts({"metadata": {"name": name}, "status": status}))
    for change, pod, node in changes:
        if change == "put":
            requests = {"cpu": f"{pod}00m", "memory": f"{node}Mi"}
            container = {"name": "c", "resources": {"requests": requests}, "ports": [{"hostPort": 1 + pod % 3}]}
            facts = pod_facts({"metadata": {"name": f"p{pod}"}, "spec": {"containers": [container]}})
            snapshot.put_pod(facts, nodes[node])
        else:
            snapshot.drop_pod(f"default/p{pod}", nodes[node])
    for state in snapshot:
        fresh = state.without(())
        assert {key: value for key, value in state.requested.items() if value} == {
            key: value for key, value in fresh.requested.items() if value
        }
        assert (state.scored_cpu, state.scored_memory, state.ports) == (
            fresh.scored_cpu,
            fresh.scored_memory,
            fresh.ports,
        )


def test_pods_of_one_service_or_owner_are_spread_by_default(make_pod: MakePod, snapshot: Snapshot) -> None:
    for number in range(2):
        snapshot.put_pod(make_pod(f"w{number}", labels={"app": "web"}), "n0")
    snapshot.put_pod(make_pod("big", cpu="1", memory="1Gi"), "n1")
    incoming = make_pod(cpu="100m", labels={"app": "web"})
    assert node_of(incoming, snapshot) == "n0"
    service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}}}
    snapshot.workloads.put("Service", "default/web", service)
    assert node_of(incoming, snapshot) == "n1"
    snapshot.workloads.put("Service", "default/web", None)
    owned = pod_facts(
        {
            "metadata": {
                "name": "in",
                "namespace": "default",
                "labels": {"app": "web"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "controller": True}],
            },
            "spec": {"containers": []},
        }
    )
    assert node_of(owned, snapshot) == "n0"
    replicas = {"metadata": {"name": "web-1"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}
    snapshot.workloads.put("ReplicaSet", "default/web-1", replicas)
    assert node_of(owned, snapshot) == "n1"


@pytest.mark.parametrize(
    ("spec", "allocated", "actual", "conditions", "counted"),
    [
        ("1", None, None, [], 1000),
        ("1", "2", "2", [], 2000),
        ("3", "2", "1", [], 3000),
        ("3", "2", "1", [{"type": "PodResizePending", "status": "True", "reason": "Deferred"}], 3000),
        ("3", "2", "1", [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}], 2000),
    ],
)
def test_a_pod_being_resized_counts_for_the_most_it_may_hold(
    spec: str, allocated: str | None, actual: str | None, conditions: list[dict[str, str]], counted: int
) -> None:
    status: dict[str, Any] = {"name": "c"}
    if allocated:
        status |= {"allocatedResources": {"cpu": allocated}, "resources": {"requests": {"cpu": actual}}}
    pod = pod_facts(
        {
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": spec}}}]},
            "status": {"containerStatuses": [status], "conditions": conditions},
        }
    )
    assert pod.requests["cpu"] == counted
