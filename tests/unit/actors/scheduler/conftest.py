"""Builds pods, nodes and snapshots with a few words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oarlock.actors.scheduler.facts import NodeFacts, PodFacts, node_facts, pod_facts
from oarlock.actors.scheduler.snapshot import Snapshot

MakePod = Callable[..., PodFacts]
MakeNode = Callable[..., NodeFacts]


def pod_object(
    name: str = "p", *, cpu: str = "", memory: str = "", labels: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}
    container = {"name": "c", "image": "host/x", "resources": {"requests": requests}}
    if "ports" in spec:
        container["ports"] = spec.pop("ports")
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": labels or {}},
        "spec": {"containers": [container], **spec},
    }


def node_object(
    name: str,
    *,
    cpu: str = "4",
    memory: str = "8Gi",
    pods: str = "110",
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}},
    }


@pytest.fixture
def make_pod() -> MakePod:
    return lambda *args, **words: pod_facts(pod_object(*args, **words))


@pytest.fixture
def make_node() -> MakeNode:
    return lambda *args, **words: node_facts(node_object(*args, **words))


@pytest.fixture
def snapshot(make_node: MakeNode) -> Snapshot:
    """Two equal nodes, n0 in zone a and n1 in zone b."""
    made = Snapshot()
    for name, zone in (("n0", "a"), ("n1", "b")):
        made.put_node(make_node(name, labels={"zone": zone}))
    return made
