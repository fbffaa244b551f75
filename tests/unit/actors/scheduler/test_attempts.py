"""What is kept of a pod's last attempt, and for how long."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from harness.scheduling import node_object, pod_object

from oarlock.actors.scheduler import attempt_page, attempts
from oarlock.actors.scheduler.attempts import Attempts, details_of
from oarlock.actors.scheduler.decision import Diagnosis, Placement, decide
from oarlock.actors.scheduler.explanation import explain
from oarlock.actors.scheduler.facts import PodFacts, node_facts, pod_facts
from oarlock.actors.scheduler.framework import Grades
from oarlock.actors.scheduler.plugins import DEFAULT
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

Object = dict[str, Any]


def cluster(*sizes: str) -> Snapshot:
    made = Snapshot()
    for place, cpu in enumerate(sizes):
        made.put_node(node_facts(node_object(f"n{place}", cpu=cpu, labels={"place": str(place)})))
    return made


def pod(name: str = "p", cpu: str = "1", **spec: Any) -> PodFacts:
    return pod_facts(pod_object(name, cpu=cpu, **spec))


def told(snapshot: Snapshot, incoming: PodFacts) -> Object:
    """Return the page about the pod's attempt."""
    kept = Attempts()
    kept.decide(incoming, 3, "default-scheduler", 0.0, decide(incoming, snapshot))
    found = kept.get(incoming.key)
    assert found is not None
    return attempt_page.attempt(*found)


def test_a_placement_is_told_with_every_grade_and_every_refusal() -> None:
    page = told(cluster("8", "1", "4"), pod(cpu="2"))
    assert (page["number"], page["outcome"], page["node"], page["time"]) == (3, "binding", "n0", "1970-01-01T00:00:00Z")
    nodes = page["nodes"]
    assert nodes["fitting"] == ["n0", "n2"]
    assert nodes["refused"] == [{"filter": "NodeResourcesFit", "reasons": ["Insufficient cpu"], "nodes": ["n1"]}]
    assert nodes["filters"].index("NodeResourcesFit") == 5
    totals = [sum(one["weight"] * one["grades"][place] for one in nodes["scores"]) for place in (0, 1)]
    assert totals[0] > totals[1]


def test_what_is_kept_is_what_a_new_decision_would_say() -> None:
    """Grades and verdicts are those that `explain --now` works out in another way."""
    chance = random.Random(1)
    for _ in range(20):
        snapshot = cluster(*(chance.choice("1248") for _ in range(chance.randrange(1, 8))))
        incoming = pod(cpu=chance.choice(("1", "3")))
        nodes = told(snapshot, incoming)["nodes"]
        anew = {report.name: report for report in explain(incoming, snapshot, DEFAULT).nodes}
        for place, name in enumerate(nodes["fitting"]):
            scores = tuple((one["name"], one["grades"][place], one["weight"]) for one in nodes["scores"])
            # Of one node alone no score is asked.
            assert scores == (anew[name].scores if len(nodes["fitting"]) > 1 else ())
            assert all(reasons is None for _, reasons in anew[name].verdicts)
        for kind in nodes["refused"]:
            for name in kind["nodes"]:
                first = next((who, reasons) for who, reasons in anew[name].verdicts if reasons is not None)
                assert first == (kind["filter"], tuple(kind["reasons"]))
        assert len(nodes["fitting"]) + sum(len(kind["nodes"]) for kind in nodes["refused"]) == len(snapshot)


def test_a_refusal_tells_who_makes_room() -> None:
    snapshot = cluster("2")
    snapshot.put_pod(pod("lesser", cpu="2", priority=1), "n0")
    page = told(snapshot, pod(cpu="2", priority=9))
    assert (page["outcome"], page["nominatedNode"], page["victims"]) == ("unschedulable", "n0", ["default/lesser"])
    assert page["message"] == "0/1 nodes are available: 1 Insufficient cpu."


def test_a_pod_that_can_run_nowhere_tells_which_filter_says_so() -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "missing"}}]
    nodes = told(cluster("4"), pod(volumes=volumes))["nodes"]
    assert (nodes["impossible"], nodes["fitting"], nodes["refused"]) == ("VolumeRestrictions", [], [])


def test_nodes_that_a_pod_does_not_name_are_told_as_not_asked_about() -> None:
    field = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [field]}]}}
    nodes = told(cluster("4", "4"), pod(affinity={"nodeAffinity": required}))["nodes"]
    assert (nodes["only"], nodes["fitting"]) == (["NodeAffinity"], ["n1"])
    assert [kind["nodes"] for kind in nodes["refused"]] == [["n0"]]


def test_a_nominated_node_that_will_do_is_all_that_is_looked_at() -> None:
    incoming = pod_facts({**pod_object("p", cpu="1"), "status": {"nominatedNodeName": "n1"}})
    nodes = told(cluster("8", "4"), incoming)["nodes"]
    assert (nodes["fitting"], nodes["refused"], nodes["scores"]) == (["n1"], [], [])


def test_the_outcome_of_binding_is_kept() -> None:
    kept, snapshot, incoming = Attempts(), cluster("4"), pod()
    decision = decide(incoming, snapshot)
    kept.decide(incoming, 1, "default-scheduler", 0.0, decision)
    kept.fail(incoming, 1, "default-scheduler", 0.0, "the volume is gone")
    attempt, details = kept.get(incoming.key) or (None, None)
    assert attempt is not None
    assert (attempt.outcome, attempt.message, attempt.node) == ("failed", "the volume is gone", "n0")
    assert details is not None
    kept.decide(incoming, 2, "default-scheduler", 0.0, decision)
    kept.bind(incoming, 1)
    assert (kept.get(incoming.key) or [None])[0].outcome == "binding"  # type: ignore[union-attr]
    kept.bind(incoming, 2)
    assert (kept.get(incoming.key) or [None])[0].outcome == "bound"  # type: ignore[union-attr]
    kept.fail(pod("other"), 1, "default-scheduler", 0.0, 'running "X" filter plugin: no')
    assert (kept.get("default/other") or [None])[0].message.startswith('running "X"')  # type: ignore[union-attr]
    kept.forget(incoming.key)
    kept.forget("default/other")
    assert (len(kept), kept.size_bytes) == (0, 0)


def test_only_so_many_pods_are_kept_and_bound_ones_go_first() -> None:
    kept, snapshot = Attempts(pods_max=3), cluster("4")
    for name in ("bound", "a", "b", "c"):
        incoming = pod(name)
        kept.decide(incoming, 1, "default-scheduler", 0.0, decide(incoming, snapshot))
        if name == "bound":
            kept.bind(incoming, 1)
    assert [name for name in ("bound", "a", "b", "c") if kept.get(f"default/{name}")] == ["a", "b", "c"]
    incoming = pod("d")
    kept.decide(incoming, 1, "default-scheduler", 0.0, decide(incoming, snapshot))
    assert kept.get("default/a") is None
    assert len(kept) == 3


def test_only_so_many_bytes_are_kept_and_outcomes_outlive_nodes() -> None:
    snapshot = cluster(*["4"] * 50)
    probe = Attempts()
    probe.decide(pod(), 1, "default-scheduler", 0.0, decide(pod(), snapshot))
    kept = Attempts(bytes_max=3 * probe.size_bytes)
    for place in range(10):
        incoming = pod(f"p{place}")
        kept.decide(incoming, 1, "default-scheduler", 0.0, decide(incoming, snapshot))
        assert kept.size_bytes <= 3 * probe.size_bytes
    found = [kept.get(f"default/p{place}") for place in range(10)]
    assert [one is not None and one[1] is not None for one in found] == [False] * 7 + [True] * 3
    assert attempt_page.attempt(*found[0])["nodes"] is None  # type: ignore[misc]
    kept.clear()
    assert (len(kept), kept.size_bytes) == (0, 0)


def test_of_many_nodes_the_best_are_kept_and_the_rest_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "NODES_MAX", 3)
    page = told(cluster("2", "9", "2", "8", "1", "7", "1", "1", "1"), pod(cpu="2"))["nodes"]
    assert (sorted(page["fitting"]), page["fittingBeyond"]) == (["n1", "n3", "n5"], 2)
    assert all(len(one["grades"]) == 3 for one in page["scores"])
    assert (page["refused"][0]["nodes"], page["refusedBeyond"]) == (["n4", "n6", "n7"], 1)


def test_grades_beyond_a_byte_are_kept() -> None:
    kept = details_of(Diagnosis(fitting=["n0", "n1"], grades=[("Extenders", 1, [0, 4_000])], totals=[0, 4_000]))
    assert [list(grades) for _, _, grades in kept.scores] == [[0, 4_000]]


def test_a_score_that_is_silent_about_a_node_gives_it_nothing() -> None:
    class Shy:
        name = "Shy"

        def grade(self, pod: PodFacts, snapshot: Snapshot, nodes: Sequence[NodeState]) -> Grades:
            return {"n1": 7}

    decision = decide(pod(), cluster("4", "4"), profile=replace(DEFAULT, scores=((Shy(), 2),)))
    assert isinstance(decision, Placement)
    assert (decision.node, list(decision.diagnosis.grades)) == ("n1", [("Shy", 2, [0, 7])])
