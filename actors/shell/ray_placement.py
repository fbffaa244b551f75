"""Names a new Ray cluster and puts two copies of every hosted component on it; then ends.

Run by the head's `RayNode` as a process of its own after each start of the GCS, because whatever imports ray costs
60 MB as long as it lives, and placing takes two seconds.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray import _raylet
from ray._common.usage import usage_lib

from oarlock.actors.shell.ray_actor import HostActor
from oarlock.actors.shell.ray_processes import SESSION, Hosted, RayNodeSettings, position_resource

NAMESPACE = "oarlock"
POSITIONS = ("a", "b")

_GcsClient: Any = vars(_raylet)["GcsClient"]
"""Ray's type stub leaves it out."""

_SESSION_KEYS = b"session"
_WAIT_S, _POLL_S = 30.0, 0.05

_log = logging.getLogger(__name__)


def main(argument: str) -> int:
    """Place what the settings (JSON) say. Returns the exit status."""
    document = json.loads(argument)
    hosted = tuple(Hosted(**entry) for entry in document.pop("hosted"))
    settings = RayNodeSettings(**document, hosted=hosted)
    name_cluster(settings)
    if hosted:
        place(settings)
    return 0


def name_cluster(settings: RayNodeSettings) -> None:
    """Write what Ray's workers look for in a new GCS, and note the cluster's id for the raylets."""
    gcs = _GcsClient(address=settings.gcs_address)
    gcs.internal_kv_put(b"session_name", SESSION.encode(), overwrite=True, namespace=_SESSION_KEYS)
    usage_lib.put_cluster_metadata(gcs, ray_init_cluster=False)
    _write_whole(settings.cluster_id_file, gcs.cluster_id.hex())


def place(settings: RayNodeSettings) -> None:
    """Create the copies that are missing. A copy whose node has yet to join starts when it does."""
    _wait_node(settings)
    ray.init(
        address=settings.gcs_address,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.WARNING,
        _node_ip_address=settings.ip,
    )
    try:
        present = set(ray.util.list_named_actors())
        for component in settings.hosted:
            for position in POSITIONS:
                if f"{component.name}-{position}" not in present:
                    _create(component, position)
    finally:
        ray.shutdown()


def _create(component: Hosted, position: str) -> None:
    copy = f"{component.name}-{position}"
    ray.remote(HostActor).options(
        name=copy,
        lifetime="detached",
        max_restarts=-1,
        num_cpus=0,
        resources={position_resource(position): 1},
    ).remote(copy, component.factory, component.settings_file)
    _log.info("actor created name=%s", copy)


def _wait_node(settings: RayNodeSettings) -> None:
    """Return once the head's own raylet has joined: `ray.init` would look for it only once a second."""
    gcs = _GcsClient(address=settings.gcs_address)
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        if any(node.node_name == settings.name and not node.state for node in gcs.get_all_node_info().values()):
            return
        time.sleep(_POLL_S)
    raise TimeoutError(f"Ray node {settings.name} has not joined in {_WAIT_S:g} s")


def _write_whole(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
