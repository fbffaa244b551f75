"""Gives each Node its range of pod addresses, once, out of the cluster's.

No block is ever two nodes': a node's block is read from the shared caches, and one that was promised to a node stays
promised until the caches show it there, whatever became of the write. A holder that lost its lease can write nothing,
and a new one begins with caches that show all that was written before. A Node that is gone gives its block back;
blocks are given in turn, so that one is used again only after all others.
Source: upstream's `pkg/controller/nodeipam/ipam`, range_allocator.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from oarlock.actors.controllers.actions import Action, Patch, RecordEvent, Requeue
from oarlock.actors.controllers.cluster_ranges import ClusterRange
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View

Object = dict[str, Any]

NAME = "nodeipam"
_AGAIN_S = 60.0
"""A node for which there was no block is looked at again when another goes, or after so long."""


class Allocator:
    """Which blocks are free and which are promised. `reserved` are CIDRs that no node may get, those of Services."""

    def __init__(self, ranges: Sequence[ClusterRange], reserved: Sequence[str] = ()) -> None:
        self._ranges, self._reserved = tuple(ranges), tuple(reserved)
        self._next = [0] * len(self._ranges)
        self._promised: dict[str, tuple[str, list[str]]] = {}

    def reconcile(self, key: str, view: View) -> list[Action]:
        """Return the write that gives a node its blocks, one of each range."""
        node = view.get("nodes", key)
        uid = node["metadata"]["uid"] if node is not None else ""
        promised = self._promised.pop(key, None)
        if node is None or _cidrs(node):
            return []
        kept = promised is not None and not self._taken(promised[1], view)
        cidrs = promised[1] if promised is not None and kept else self._choose(view)
        if not cidrs:
            return [_told(node, "CIDRNotAvailable"), Requeue(_AGAIN_S)]
        self._promised[key] = (uid, cidrs)
        # The uid: what was promised to this Node isn't for another one of the same name.
        patch = {"metadata": {"uid": uid}, "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}}
        return [Patch(node, patch, failed=_told(node, "CIDRAssignmentFailed"))]

    def keys(self, _plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
        """A Node that comes needs blocks; one that goes may leave some to others."""
        if new is not None:
            settled = old is not None and bool(_cidrs(old))
            return [] if settled else [Due(new["metadata"]["name"])]
        assert old is not None
        return [Due(old["metadata"]["name"]), *(Due(name) for name in _without(view))]

    def _choose(self, view: View) -> list[str]:
        """Return the next free block of each range; nothing if one of them has none."""
        self._promised = {name: one for name, one in self._promised.items() if _is(view.get("nodes", name), one[0])}
        found = [one.free(self._used(one, view), first) for one, first in zip(self._ranges, self._next, strict=True)]
        numbers = [number for number in found if number is not None]
        if len(numbers) < len(found):
            return []
        self._next = [(number + 1) % one.count for one, number in zip(self._ranges, numbers, strict=True)]
        return [one.block(number) for one, number in zip(self._ranges, numbers, strict=True)]

    def _taken(self, cidrs: Sequence[str], view: View) -> bool:
        """Whether a node has what was promised to another: by another holder's hand, or by a user's."""
        held = view.pod_cidrs()
        return any(
            set(one.touched(cidr)) & {number for other in held for number in one.touched(other)}
            for one, cidr in zip(self._ranges, cidrs, strict=True)
        )

    def _used(self, one: ClusterRange, view: View) -> set[int]:
        promised = (cidr for _, cidrs in self._promised.values() for cidr in cidrs)
        return {number for cidr in (*view.pod_cidrs(), *promised, *self._reserved) for number in one.touched(cidr)}


def _cidrs(node: Object | None) -> list[str]:
    return ((node or {}).get("spec") or {}).get("podCIDRs") or []


def _is(node: Object | None, uid: str) -> bool:
    """Whether a node is still there: a write for one that isn't can't arrive any more."""
    return node is not None and node["metadata"]["uid"] == uid


def _without(view: View) -> Iterator[str]:
    for node in view.list("nodes"):
        if not _cidrs(node):
            yield node["metadata"]["name"]


def _told(node: Object, reason: str) -> RecordEvent:
    return RecordEvent(node, reason, f"Node {node['metadata']['name']} status is now: {reason}", "Warning")


def node_ipam(ranges: Sequence[ClusterRange], reserved: Sequence[str] = ()) -> Controller:
    """Return the controller for these ranges."""
    allocator = Allocator(ranges, reserved)
    return Controller(
        name=NAME,
        source="cidrAllocator",
        reads=("nodes",),
        keys=allocator.keys,
        reconcile=allocator.reconcile,
        workers=8,
        undivided=True,
    )
