"""`oarlock down`: stops a cluster, also one whose supervisor is dead, and its containers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from oarlock.cluster.boot import control, kubeconfig, processes
from oarlock.cluster.boot.access import access_to
from oarlock.cluster.boot.containers import kill_containers
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hoststate import load_host
from oarlock.cluster.boot.state import StateFolder

STOP_S = 90.0


def down(folder: StateFolder, out: TextIO) -> bool:
    """Stop everything that belongs to the cluster; return whether anything was running. Objects are kept."""
    was_running = False
    try:
        for answer in control.ask(folder.control_socket, "down", STOP_S):
            was_running = True
            print(f" - {answer['stopped']}", file=out, flush=True)
    except OSError:
        pass
    return stop_leftovers(folder) or was_running


def delete(folder: StateFolder, context: str) -> None:
    """Remove a stopped cluster's state and its entry in the kubeconfig that the last `up` wrote to."""
    try:
        access = access_to(folder)
    except BootError:
        access = None
    if access is not None and access.kubeconfig:
        kubeconfig.remove(Path(access.kubeconfig), context)
    folder.remove()


def stop_leftovers(folder: StateFolder) -> bool:
    """End the supervisor, the parts and the containers that are still there; return whether any was.

    Raises BootError, and ends nothing, if the folder is a copy of one whose processes live: they are that one's.
    """
    left = processes.leftovers(folder.processes_file)
    _refuse_copy(folder, left.values())
    first = sorted(left, key=lambda name: name != processes.SUPERVISOR)
    processes.end([left[name] for name in first])
    processes.end(processes.marked(f"{processes.MARK}={folder.path}"))
    folder.processes_file.unlink(missing_ok=True)
    containers = kill_containers(folder)
    _remove_routes(folder)
    processes.remove_tree(folder.runtime)
    return bool(left) or containers > 0


def _remove_routes(folder: StateFolder) -> None:
    """Take the routes away that led to this host's pods and to those of others. Raises BootError."""
    host = load_host(folder)
    if host is None or not host.routes_pods:
        return
    from oarlock.cluster.kubelet.network.iproute import NetworkFailure, remove_routes

    try:
        remove_routes()
    except NetworkFailure as failure:
        raise BootError(
            f"the routes to pods are still there: {failure}", "Remove them as root: ip route flush table all proto 200."
        ) from None


def _refuse_copy(folder: StateFolder, pids: Iterable[int]) -> None:
    for pid in pids:
        original = processes.owner(pid)
        if original is not None and original.resolve() != folder.path.resolve():
            raise BootError(
                f"the folder {folder.path} is a copy of {original}, which runs on this machine",
                "Remove the copy: a cluster, or a host of one, has one folder. If it was moved, move it back.",
            )
