"""Nodes are told how long they may keep what they read, by how many they are."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.actors.controllers import node_ttl


@pytest.mark.parametrize(
    ("nodes", "held_s", "wanted_s"),
    [
        (1, -1, 0),
        (100, 0, 0),
        (101, 0, 15),
        (95, 15, 15),
        (89, 15, 0),
        (600, -1, 30),
        (5000, -1, 300),
        (20_000, 0, 600),
    ],
)
def test_the_borders_overlap(nodes: int, held_s: int, wanted_s: int) -> None:
    assert node_ttl.ttl_s(nodes, held_s) == wanted_s


def test_a_node_is_annotated_once_and_all_are_when_a_border_is_crossed(world: Any) -> None:
    for number in range(100):
        world.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"n{number}"}, "spec": {}})
        world.act(node_ttl.reconcile(f"n{number}", world.view))
    assert world.view.get("nodes", "n7")["metadata"]["annotations"] == {node_ttl.ANNOTATION: "0"}
    assert node_ttl.reconcile("n7", world.view) == []
    last = world.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n100"}, "spec": {}})
    dues = list(node_ttl.NODE_TTL.keys("nodes", None, last, world.view))
    assert len(dues) == 101
    for due in dues:
        world.act(node_ttl.reconcile(due.key, world.view))
    assert world.view.get("nodes", "n7")["metadata"]["annotations"] == {node_ttl.ANNOTATION: "15"}
