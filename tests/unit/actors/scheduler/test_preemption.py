"""Who has to go so that a more important pod fits, and who never has to."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from harness.scheduling import node_object, pod_object
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.scheduler.decision import Placement, Unschedulable, decide
from oarlock.actors.scheduler.disruption import breaking, budget
from oarlock.actors.scheduler.facts import NodeFacts, PodFacts, node_facts, pod_facts
from oarlock.actors.scheduler.preemption import Nomination
from oarlock.actors.scheduler.snapshot import Snapshot

MakePod = Callable[..., PodFacts]
MakeNode = Callable[..., NodeFacts]


def pod(name: str, cpu: str = "1", priority: int = 0, status: dict[str, Any] | None = None, **words: Any) -> PodFacts:
    return pod_facts({**pod_object(name, cpu=cpu, priority=priority, **words), "status": status or {}})


def cluster(**pods_by_node: list[PodFacts]) -> Snapshot:
    """Nodes of 2 CPUs with these pods."""
    made = Snapshot()
    for name, pods in pods_by_node.items():
        made.put_node(node_facts(node_object(name, cpu="2")))
        for one in pods:
            made.put_pod(one, name)
    return made


def nomination(incoming: PodFacts, snapshot: Snapshot) -> Nomination:
    decision = decide(incoming, snapshot)
    assert isinstance(decision, Unschedulable)
    assert decision.nomination is not None, decision.message
    return decision.nomination


def victims(incoming: PodFacts, snapshot: Snapshot) -> tuple[str, list[str]]:
    found = nomination(incoming, snapshot)
    return found.node, [one.name for one in found.victims]


def protect(snapshot: Snapshot, name: str, allowed: int, **labels: str) -> None:
    snapshot.budgets[name] = budget(
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": {"matchLabels": labels}},
            "status": {"disruptionsAllowed": allowed},
        }
    )


def test_only_as_many_go_as_must() -> None:
    begun = [{"startTime": f"2026-01-0{day}T00:00:00Z"} for day in (1, 2, 3)]
    snapshot = cluster(
        n0=[pod(name, cpu, 0, one) for name, cpu, one in zip("abc", ("500m", "500m", "1"), begun, strict=True)]
    )
    assert victims(pod("in", "1", 5), snapshot) == ("n0", ["c"])


def test_nobody_of_the_same_priority_goes() -> None:
    decision = decide(pod("in", "1", 5), cluster(n0=[pod("a", "2", 5)]))
    assert isinstance(decision, Unschedulable)
    assert decision.nomination is None
    assert decision.hopeless
    assert decision.message.endswith(
        "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    )


RULES = [
    ("a node where no budget breaks", [pod("a", "2", labels={"app": "x"})], [pod("b", "2", 3)]),
    ("then the least important of the most important", [pod("a", "2", 3)], [pod("b", "2", 2)]),
    ("then the lowest sum", [pod("a", "1", 2), pod("c", "1", 2)], [pod("b", "1", 2), pod("d", "1", 1)]),
    ("then the fewest", [pod("a", "1", 2), pod("c", "1", 2)], [pod("b", "2", 2)]),
    (
        "then those that began last",
        [pod("a", "2", status={"startTime": "2026-01-01T00:00:00Z"})],
        [pod("b", "2", status={"startTime": "2026-01-02T00:00:00Z"})],
    ),
]


@pytest.mark.parametrize(("worse", "better"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES])
@pytest.mark.parametrize("order", [1, -1])
def test_the_node_where_least_is_lost(worse: list[PodFacts], better: list[PodFacts], order: int) -> None:
    names = ["worse", "better"][::order]
    snapshot = cluster(**{name: worse if name == "worse" else better for name in names})
    protect(snapshot, "x", 0, app="x")
    assert victims(pod("in", "2", 9), snapshot)[0] == "better"


def test_a_budget_is_broken_only_where_there_is_no_other_way() -> None:
    web = [pod(name, "1", labels={"app": "web"}) for name in ("w0", "w1")]
    snapshot = cluster(n0=web)
    protect(snapshot, "web", 0, app="web")
    assert nomination(pod("in", "1", 9), snapshot).broken_budgets == 1
    snapshot = cluster(n0=[web[0], pod("loose", "1", 8)])
    protect(snapshot, "web", 0, app="web")
    assert victims(pod("in", "1", 9), snapshot) == ("n0", ["loose"])


def test_budgets_count_down_and_spare_none_that_has_gone() -> None:
    pods = [pod(name, labels={"app": "web"}) for name in ("a", "b", "c")]
    made = budget(
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {"disruptionsAllowed": 1, "disruptedPods": {"a": "2026-01-01T00:00:00Z"}},
        }
    )
    breaks, keeps = breaking(pods, [made])
    assert ([one.name for one in breaks], [one.name for one in keeps]) == (["c"], ["a", "b"])


def test_a_pod_that_never_preempts_and_one_that_waits_say_so() -> None:
    snapshot = cluster(n0=[pod("a", "2")])
    never = decide(pod("in", "1", 9, preemptionPolicy="Never"), snapshot)
    assert isinstance(never, Unschedulable)
    assert never.message == (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, "
        "preemption: not eligible due to preemptionPolicy=Never."
    )
    going = pod_object("a", cpu="2")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    going["status"] = {
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
    }
    snapshot.put_pod(pod_facts(going), "n0")
    waits = decide(pod("in", "1", 9, status={"nominatedNodeName": "n0"}), snapshot)
    assert isinstance(waits, Unschedulable)
    assert waits.nomination is None
    assert not waits.hopeless
    assert waits.message.endswith("preemption: not eligible due to a terminating pod on the nominated node.")


def test_room_made_for_one_pod_is_not_taken_by_a_lesser_one() -> None:
    snapshot = cluster(n0=[])
    snapshot.nominate(pod("chosen", "2", 9), "n0")
    lesser = decide(pod("lesser", "1", 1), snapshot)
    assert isinstance(lesser, Unschedulable)
    assert isinstance(decide(pod("greater", "1", 10), snapshot), Placement)
    own = decide(pod("chosen", "2", 9, status={"nominatedNodeName": "n0"}), snapshot)
    assert isinstance(own, Placement)


def test_a_pod_takes_its_nominated_node_though_another_is_emptier() -> None:
    snapshot = cluster(n0=[pod("a", "1")], n1=[])
    decision = decide(pod("in", "1", 9, status={"nominatedNodeName": "n0"}), snapshot)
    assert isinstance(decision, Placement)
    assert decision.node == "n0"


def test_a_pod_kept_away_by_its_enemies_may_remove_them() -> None:
    apart = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    }
    snapshot = cluster(n0=[pod("web", "100m", labels={"app": "web"}), pod("other", "100m")])
    assert victims(pod("in", "100m", 9, affinity=apart), snapshot) == ("n0", ["web"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.booleans()), min_size=1, max_size=4),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 8),
    st.integers(0, 2),
)
def test_never_more_than_needed_nor_a_budget_where_an_alternative_exists(
    nodes: list[list[tuple[int, int, bool]]], wanted: int, allowed: int
) -> None:
    """Against every set of victims that there is."""
    snapshot = Snapshot()
    for number, pods in enumerate(nodes):
        snapshot.put_node(node_facts(node_object(f"n{number}", cpu="800m")))
        for place, (size, priority, guarded) in enumerate(pods):
            labels = {"app": "web" if guarded else "other"}
            snapshot.put_pod(pod(f"p{number}-{place}", f"{size}00m", priority, labels=labels), f"n{number}")
    protect(snapshot, "web", allowed, app="web")
    incoming = pod("in", f"{wanted}00m", 2)
    decision = decide(incoming, snapshot)
    ways = list(_ways(incoming, snapshot))
    if isinstance(decision, Placement) or decision.nomination is None:
        assert isinstance(decision, Placement) or not ways
        return
    found = decision.nomination
    chosen = frozenset(one.name for one in found.victims)
    assert (found.node, chosen) in [(node, names) for node, names, _ in ways]
    assert not any(node == found.node and names < chosen for node, names, _ in ways)
    breaks, _ = breaking(found.victims, snapshot.budgets.values())
    assert not breaks or all(broken for _, _, broken in ways)


def _ways(incoming: PodFacts, snapshot: Snapshot) -> list[tuple[str, frozenset[str], bool]]:
    """Every (node, set of lesser pods that make room there, whether their going breaks a budget)."""
    found = []
    for node in snapshot:
        lesser = [one for one in node.pods.values() if one.priority < incoming.priority]
        for count in range(1, len(lesser) + 1):
            for some in combinations(lesser, count):
                state = node.without(one.key for one in some)
                if state.requested["cpu"] + incoming.requests["cpu"] <= node.allocatable["cpu"]:
                    breaks, _ = breaking(some, snapshot.budgets.values())
                    found.append((node.name, frozenset(one.name for one in some), bool(breaks)))
    return found
