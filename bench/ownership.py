"""What it costs a write to keep track of who owns which field, and what an apply costs. No server, no IO."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import orjson

from bench.report import table
from oarlock.cluster.objects import defaulting, schemas
from oarlock.cluster.objects.apply import ownership, skeleton
from oarlock.cluster.objects.apply.ownership import Manager
from oarlock.cluster.objects.resources import Resource, lookup

SECONDS = 2.0
QUICK_SECONDS = 0.1
CONTAINERS = 3
Obj = dict[str, Any]


def measure(*, quick: bool = False) -> str:
    found = lookup("", "v1", "pods")
    assert found is not None
    seconds = QUICK_SECONDS if quick else SECONDS
    rows = [(name, _us_per_call(work, seconds)) for name, work in _operations(found)]
    return f"A pod of {CONTAINERS} containers.\n\n" + table(("operation", "CPU µs"), rows)


def _operations(pods: Resource) -> list[tuple[str, Callable[[], object]]]:
    schema, empty = schemas.schema_for(pods), skeleton.of(pods)
    applied = _pod()
    pod = copy.deepcopy(applied)
    defaulting.default(pods, pod)
    user, kubelet = Manager("user", "v1", "t0"), Manager("kubelet", "v1", "t1", "status")
    created = ownership.updated(schema, [], empty, pod, user)
    running = {**pod, "status": _status("True")}
    reported = ownership.updated(schema, created, pod, running, kubelet)
    failing = {**pod, "status": _status("False")}
    moved = copy.deepcopy(applied)
    moved["spec"]["containers"][0]["image"] = "registry.example/app:2"
    live, entries = ownership.applied(schema, [], {}, applied, user, force=False)
    return [
        ("create", lambda: ownership.updated(schema, [], empty, pod, user)),
        ("first status", lambda: ownership.updated(schema, created, pod, running, kubelet)),
        ("a condition changes", lambda: ownership.updated(schema, reported, running, failing, kubelet)),
        ("nothing changes", lambda: ownership.updated(schema, reported, running, running, kubelet)),
        ("apply, one image changes", lambda: ownership.applied(schema, entries, live, moved, user, force=False)),
        ("managedFields as JSON", lambda: orjson.dumps(reported, option=orjson.OPT_SORT_KEYS)),
    ]


def _pod() -> Obj:
    containers = [
        {
            "name": f"c{number}",
            "image": "registry.example/app:1",
            "ports": [{"containerPort": 8080 + number}],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        }
        for number in range(CONTAINERS)
    ]
    metadata = {"name": "p", "namespace": "default", "labels": {"app": "web", "tier": "front"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers}}


def _status(ready: str) -> Obj:
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    times = {"lastProbeTime": None, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    conditions = [{"type": kind, "status": ready if kind == "Ready" else "True", **times} for kind in kinds]
    return {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "conditions": conditions}


def _us_per_call(work: Callable[[], object], seconds: float) -> float:
    work()
    calls, began = 0, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        for _ in range(100):
            work()
        calls += 100
    return spent / calls * 1e6
