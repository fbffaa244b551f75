"""How long agents may keep secrets and config maps before they ask again, by the size of the cluster.

Source: upstream's ttl controller: its borders overlap, so that a cluster that changes a little keeps its value.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oarlock.actors.controllers.actions import Action, Patch
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View

Object = dict[str, Any]

ANNOTATION = "node.alpha.kubernetes.io/ttl"
_BORDERS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 10_000, 300), (9000, 1 << 31, 600))
"""Fewest nodes, most nodes, seconds."""


def ttl_s(nodes: int, held_s: int) -> int:
    """Return the seconds for so many nodes; what is held stays as long as it is within its borders."""
    fitting = [seconds for fewest, most, seconds in _BORDERS if fewest <= nodes <= most]
    return held_s if held_s in fitting else fitting[0]


def reconcile(key: str, view: View) -> list[Action]:
    """Return the annotation that a node lacks."""
    node = view.get("nodes", key)
    if node is None:
        return []
    text = (node["metadata"].get("annotations") or {}).get(ANNOTATION, "")
    held_s = int(text) if text.isdigit() else -1
    wanted_s = ttl_s(len(view.caches["nodes"]), held_s)
    if held_s == wanted_s:
        return []
    return [Patch(node, {"metadata": {"annotations": {ANNOTATION: str(wanted_s)}}})]


def _keys(_plural: str, old: Object | None, new: Object | None, view: View, /) -> Iterable[Due]:
    """A node that comes or goes may change what all others are told."""
    if old is not None and new is not None:
        return [Due(new["metadata"]["name"])] if ANNOTATION not in (new["metadata"].get("annotations") or {}) else []
    mine = [Due(new["metadata"]["name"])] if new is not None else []
    count = len(view.caches["nodes"])
    at_border = any(count in (fewest, fewest - 1, most, most + 1) for fewest, most, _ in _BORDERS)
    return [Due(one["metadata"]["name"]) for one in view.list("nodes")] if at_border else mine


NODE_TTL = Controller(
    name="ttl",
    source="ttl-controller",
    reads=("nodes",),
    keys=_keys,
    reconcile=reconcile,
    workers=4,
)
