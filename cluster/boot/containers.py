"""Ends the containers of a cluster whose agents no longer do."""

from __future__ import annotations

from oarlock.cluster.boot.state import StateFolder


def kill_containers(folder: StateFolder) -> int:
    """Kill every container below the cluster's node folders; return how many there were."""
    if not folder.nodes.is_dir():
        return 0
    from oarlock.cluster.kubelet.leftovers import kill_all

    return sum(kill_all(root) for root in sorted(folder.nodes.iterdir()) if root.is_dir())
