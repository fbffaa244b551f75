"""Aggregated cluster roles have the rules of those that their selectors mean."""

from __future__ import annotations

from typing import Any

from oarlock.actors.controllers import cluster_roles


def role(world: Any, name: str, rules: list[Any], **more: Any) -> None:
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    labels = more.pop("labels", {})
    world.put({**kind, "metadata": {"name": name, "labels": labels}, "rules": rules, **more})


def test_an_aggregated_role_follows_its_parts(world: Any) -> None:
    one, two = {"verbs": ["get"], "resources": ["pods"]}, {"verbs": ["list"], "resources": ["pods"]}
    selectors = [{"matchLabels": {"to": "x"}}]
    role(world, "whole", [], aggregationRule={"clusterRoleSelectors": selectors}, labels={"to": "x"})
    role(world, "b", [two, one], labels={"to": "x"})
    role(world, "a", [one], labels={"to": "x"})
    role(world, "c", [{"verbs": ["delete"]}])
    world.act(cluster_roles.reconcile("whole", world.view))
    assert world.view.get("clusterroles", "whole")["rules"] == [one, two]
    assert world.act(cluster_roles.reconcile("whole", world.view)) == 0
    assert cluster_roles.reconcile("a", world.view) == []
    assert [due.key for due in cluster_roles.CLUSTER_ROLES.keys("clusterroles", None, None, world.view)] == ["whole"]
