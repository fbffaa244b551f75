"""Puts two copies of every hosted component on a Ray cluster, those that are missing; then ends.

Run by the head's `RayHead` as a process of its own, because whatever imports ray costs 60 MB as long as it lives.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import ray
from ray import _raylet
from ray.util.scheduling_strategies import In, NodeLabelSchedulingStrategy

from oarlock.actors.shell.ray_actor import HostActor
from oarlock.actors.shell.ray_processes import POSITION_LABEL, Hosted

RAY_NAMESPACE = "oarlock"
POSITIONS = ("a", "b")

_GcsClient: Any = vars(_raylet)["GcsClient"]
"""Ray's type stub leaves it out."""

_WAIT_S, _POLL_S = 30.0, 0.05
_WAIT_HOME_S = 10.0
"""How long a copy waits for the node that it is at home on before it is put wherever there is one."""
_CPUS = 0.001
"""As good as none; an actor that wants nothing at all is put anywhere, whatever its strategy says."""

_log = logging.getLogger(__name__)


def main(argument: str) -> int:
    """Place what the argument (JSON) says. Returns the exit status."""
    document = json.loads(argument)
    hosted = [Hosted(**entry) for entry in document["hosted"]]
    place(document["gcs_address"], document["name"], document["ip"], hosted)
    return 0


def place(gcs_address: str, node_name: str, ip: str, hosted: list[Hosted]) -> None:
    """Create the copies that are missing."""
    gcs = _GcsClient(address=gcs_address)
    # `ray.init` would look for this host's raylet only once a second.
    if not _wait(gcs, lambda node: node.node_name == node_name, _WAIT_S):
        raise TimeoutError(f"Ray node {node_name} has not joined in {_WAIT_S:g} s")
    ray.init(
        address=gcs_address,
        namespace=RAY_NAMESPACE,
        log_to_driver=False,
        logging_level=logging.WARNING,
        _node_ip_address=ip,
    )
    try:
        present = set(ray.util.list_named_actors())
        for position in POSITIONS:
            missing = [one for one in hosted if f"{one.name}-{position}" not in present]
            if missing:
                _wait(gcs, partial(_is_at, position), _WAIT_HOME_S)
            for component in missing:
                _create(component, position)
    finally:
        ray.shutdown()


def _create(component: Hosted, position: str) -> None:
    copy = f"{component.name}-{position}"
    ray.remote(HostActor).options(
        name=copy,
        lifetime="detached",
        max_restarts=-1,
        num_cpus=_CPUS,
        scheduling_strategy=NodeLabelSchedulingStrategy(hard={}, soft={POSITION_LABEL: In(position)}),
    ).remote(copy, component.factory, component.name, position)
    _log.info("actor created name=%s", copy)


def _is_at(position: str, node: Any) -> bool:
    return bool(node.labels.get(POSITION_LABEL) == position)


def _wait(gcs: Any, accept: Callable[[Any], bool], within_s: float) -> bool:
    """Return whether a live node that is acceptable has joined in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if any(not node.state and accept(node) for node in gcs.get_all_node_info().values()):
            return True
        time.sleep(_POLL_S)
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
