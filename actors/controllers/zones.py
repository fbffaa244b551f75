"""Whether so many nodes of a zone are lost at once that moving their pods would do harm.

Source: kubernetes.io "Nodes", "Rate limits on eviction"; upstream's node_lifecycle_controller.go, ComputeZoneState.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.actors.controllers import conditions

Object = dict[str, Any]

_REGION, _ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
_SHARE_MAX = 0.55
_LOST_MIN = 3


def zone_of(node: Mapping[str, Any]) -> tuple[str, str]:
    """Return region and zone; nodes without such labels are together in one."""
    labels = node["metadata"].get("labels") or {}
    return labels.get(_REGION, ""), labels.get(_ZONE, "")


def is_ready(node: Mapping[str, Any]) -> bool:
    """Whether the node says, and nobody doubts, that it is well."""
    return conditions.is_true((node.get("status") or {}).get("conditions"), "Ready")


def disrupted(nodes: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return the zones whose pods are to stay where they are.

    Those that lost 55 % of their nodes, at least three, or all of several; and every zone when no node is left at all,
    for then it's us who can't see.
    """
    lost: dict[tuple[str, str], int] = {}
    total: dict[tuple[str, str], int] = {}
    for node in nodes:
        zone = zone_of(node)
        total[zone] = total.get(zone, 0) + 1
        lost[zone] = lost.get(zone, 0) + (not is_ready(node))
    if sum(lost.values()) == sum(total.values()):
        return set(total)
    return {zone for zone, count in lost.items() if _is_disrupted(count, total[zone])}


def _is_disrupted(lost: int, total: int) -> bool:
    return (lost >= _LOST_MIN and lost / total >= _SHARE_MAX) or (lost == total > 1)
