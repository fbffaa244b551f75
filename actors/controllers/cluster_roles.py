"""ClusterRoles that are made of others, such as admin, edit and view.

Source: kubernetes.io "Aggregated ClusterRoles"; upstream's clusterroleaggregation controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oarlock.actors.controllers.actions import Action, Patch
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View
from oarlock.cluster.objects import selectors

Object = dict[str, Any]


def reconcile(key: str, view: View) -> list[Action]:
    """Return what gives an aggregated role the rules of all roles that its selectors mean, each rule once."""
    role = view.get("clusterroles", key)
    wanted = ((role or {}).get("aggregationRule") or {}).get("clusterRoleSelectors")
    if role is None or not wanted:
        return []
    rules: list[Object] = []
    for text in wanted:
        selector = selectors.from_object(text)
        for one in sorted(view.list("clusterroles"), key=lambda one: str(one["metadata"]["name"])):
            if one["metadata"]["name"] != key and selector.matches(one["metadata"].get("labels") or {}):
                rules += [rule for rule in one.get("rules") or () if rule not in rules]
    if rules == (role.get("rules") or []):
        return []
    certain = {"uid": role["metadata"]["uid"], "resourceVersion": role["metadata"]["resourceVersion"]}
    return [Patch(role, {"metadata": certain, "rules": rules})]


def _keys(_plural: str, _old: Object | None, _new: Object | None, view: View, /) -> Iterable[Due]:
    """Any role may be part of any aggregated one."""
    return [Due(one["metadata"]["name"]) for one in view.list("clusterroles") if one.get("aggregationRule")]


CLUSTER_ROLES = Controller(
    name="clusterrole_aggregation",
    source="clusterrole-aggregation-controller",
    reads=("clusterroles",),
    keys=_keys,
    reconcile=reconcile,
    workers=2,
)
