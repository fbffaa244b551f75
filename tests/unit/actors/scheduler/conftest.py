"""Builds pods, nodes and snapshots with a few words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness.scheduling import node_object, pod_object

from oarlock.actors.scheduler.facts import NodeFacts, PodFacts, node_facts, pod_facts
from oarlock.actors.scheduler.snapshot import Snapshot

MakePod = Callable[..., PodFacts]
MakeNode = Callable[..., NodeFacts]


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
