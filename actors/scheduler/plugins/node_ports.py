"""Keeps pods off nodes where a host port they ask for is taken."""

from __future__ import annotations

from oarlock.actors.scheduler.facts import HostPort, PodFacts
from oarlock.actors.scheduler.framework import Check, Failure, FilterDefaults
from oarlock.actors.scheduler.snapshot import NodeState, Snapshot

_TAKEN = Failure(("node(s) didn't have free ports for the requested pod ports",), final=False)
_ANY = "0.0.0.0"  # noqa: S104 - a name, nothing listens here


class NodePorts(FilterDefaults):
    name = "NodePorts"
    events = frozenset(("NodeAdded", "AssignedPodDeleted"))

    def prepare(self, pod: PodFacts, snapshot: Snapshot) -> Check | None:  # noqa: ARG002 - a filter's shape
        if not pod.host_ports:
            return None

        def check(node: NodeState) -> Failure | None:
            return _TAKEN if any(_collides(port, node) for port in pod.host_ports) else None

        return check


def _collides(port: HostPort, node: NodeState) -> bool:
    """The address 0.0.0.0 stands for all addresses of the node."""
    protocol, address, number = port
    if address != _ANY:
        return port in node.ports or (protocol, _ANY, number) in node.ports
    return any(taken[0] == protocol and taken[2] == number for taken in node.ports)
