"""What one decision costs the scheduler's CPU: 1,000 nodes in three zones, ten pods on each."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Iterator
from typing import Any

from bench.report import table
from oarlock.actors.scheduler.attempts import Attempts
from oarlock.actors.scheduler.decision import Placement, Search, decide
from oarlock.actors.scheduler.facts import node_facts, pod_facts
from oarlock.actors.scheduler.snapshot import Snapshot

NODES, PODS_PER_NODE, DECISIONS, QUICK_DECISIONS = 1000, 10, 200, 5
SEED = 1
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
APPS = ("a", "b", "c", "d")


def measure(*, quick: bool = False) -> str:
    """Return the table. Figures are CPU time of this process, so that busy neighbours disturb them little."""
    count = QUICK_DECISIONS if quick else DECISIONS
    rows = [(kind, *_cost(kind, spec, count)) for kind, spec in _kinds()]
    head = f"One `decide`, {NODES:,} nodes with {PODS_PER_NODE} pods each, and keeping what came up for `explain`.\n\n"
    return head + table(("pod", "CPU µs", "keeping it, µs"), rows)


def _kinds() -> Iterator[tuple[str, dict[str, Any]]]:
    chosen = {"labelSelector": {"matchLabels": {"app": "a"}}}
    yield "requests only", {}
    yield "that fits nowhere", {"nodeSelector": {"no": "such"}}
    yield "requests and preferred nodes", {"affinity": _preferring_zone()}
    yield (
        "spread over zones and nodes",
        {
            "topologySpreadConstraints": [
                {"maxSkew": 5, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", **chosen},
                {"maxSkew": 1, "topologyKey": HOST, "whenUnsatisfiable": "ScheduleAnyway", **chosen},
            ]
        },
    )
    term = {**chosen, "topologyKey": HOST}
    preferred = [{"weight": 10, "podAffinityTerm": {**term, "topologyKey": ZONE}}]
    yield (
        "away from its like",
        {
            "affinity": {
                "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]},
                "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred},
            }
        },
    )


def _preferring_zone() -> dict[str, Any]:
    wanted = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["z1"]}]}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": wanted}]}}


def _cost(kind: str, spec: dict[str, Any], count: int) -> tuple[float, float]:
    """Return CPU microseconds of a decision, each pod staying where it was put, and of keeping it."""
    snapshot, search, attempts = _cluster(), Search(), Attempts()
    pods = [pod_facts(_pod(f"{kind}-{number}", random.Random(number), spec)) for number in range(count)]
    deciding = keeping = 0.0
    gc.collect()
    for pod in pods:
        started = time.process_time()
        decision = decide(pod, snapshot, search=search)
        decided = time.process_time()
        attempts.decide(pod, 1, "default-scheduler", 0.0, decision)
        keeping += time.process_time() - decided
        deciding += decided - started
        if isinstance(decision, Placement):
            snapshot.put_pod(pod, decision.node)
    return deciding / count * 1e6, keeping / count * 1e6


def _cluster() -> Snapshot:
    chance, snapshot = random.Random(SEED), Snapshot()
    for number in range(NODES):
        labels = {HOST: f"n{number}", ZONE: f"z{number % 3}"}
        status = {"allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"}}
        snapshot.put_node(node_facts({"metadata": {"name": f"n{number}", "labels": labels}, "status": status}))
        for place in range(PODS_PER_NODE):
            snapshot.put_pod(pod_facts(_pod(f"p{number}-{place}", chance, {})), f"n{number}")
    return snapshot


def _pod(name: str, chance: random.Random, spec: dict[str, Any]) -> dict[str, Any]:
    requests = {"cpu": f"{chance.randrange(1, 10)}00m", "memory": f"{chance.randrange(1, 40)}00Mi"}
    app = chance.choice(APPS[1:]) if not spec else "a"
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": "host/x", "resources": {"requests": requests}}], **spec},
    }
