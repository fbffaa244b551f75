"""Puts two copies of every component on a Ray cluster that the user runs, or takes them away; then ends.

Run by `ray_guests` as a process of its own. What it is to do comes on standard input, as it holds keys; why it can't,
goes to standard output as one sentence.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import version
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from oarlock.actors.shell.ray_guest import GuestActor
from oarlock.actors.shell.ray_guests import REFUSED

COPIES: Final = ("a", "b")
_CPUS: Final = 0.001
"""As good as none; a node without any CPU is one that its owner wants nothing to run on."""
_PROBE_S: Final = 60.0


class Refused(Exception):
    """Why the Ray cluster can't have guests; one sentence."""


def main() -> int:
    """Return the exit status: 0, or REFUSED when the reason has been printed."""
    document = json.load(sys.stdin)
    try:
        _join(document["address"], document["namespace"])
        try:
            if document["replace"] or not document["guests"]:
                _remove()
            if document["guests"]:
                _place(document["guests"])
        finally:
            ray.shutdown()
    except Refused as refused:
        print(refused)
        return REFUSED
    return 0


def _join(address: str, namespace: str) -> None:
    try:
        ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level=logging.WARNING)
    except Exception as error:
        raise Refused(f"the Ray cluster at {address} can't be used: {' '.join(str(error).split())}") from error


def _place(guests: list[dict[str, Any]]) -> None:
    """Make what is missing. The two copies of a component go to different nodes where there are several."""
    nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))
    if not nodes:
        raise Refused("the Ray cluster has no node with a CPU")
    _check(nodes)
    for number, guest in enumerate(guests):
        for place, letter in enumerate(COPIES):
            copy = f"{guest['name']}-{letter}"
            node = nodes[(number + place) % len(nodes)]
            ray.remote(GuestActor).options(
                name=copy,
                get_if_exists=True,
                lifetime="detached",
                max_restarts=-1,
                num_cpus=_CPUS,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
            ).remote(copy, guest["factory"], guest["parcel"])


def _check(nodes: list[str]) -> None:
    """Raise Refused unless every node has this version of Oarlock."""

    def installed() -> str:  # a nested function travels as its code, and so runs where nothing of ours is installed
        import importlib.metadata

        try:
            return importlib.metadata.version("oarlock")
        except importlib.metadata.PackageNotFoundError:
            return ""

    asked = {
        node: ray.remote(installed)
        .options(num_cpus=_CPUS, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
        .remote()
        for node in nodes
    }
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
    ours = version("oarlock")
    for node, answer in asked.items():
        try:
            found = str(ray.get(answer, timeout=_PROBE_S))
        except Exception as error:
            raise Refused(f"the Ray node {addresses[node]} runs nothing: {' '.join(str(error).split())}") from error
        if found != ours:
            has = f"Oarlock {found}" if found else "no Oarlock"
            raise Refused(
                f"the Ray node {addresses[node]} has {has}: install there what is here, pip install oarlock=={ours}"
            )


def _remove() -> None:
    for name in ray.util.list_named_actors():
        ray.kill(ray.get_actor(name), no_restart=True)


if __name__ == "__main__":
    sys.exit(main())
