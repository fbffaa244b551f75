"""Questions about a pod's spec that need no state."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from oarlock.cluster.kubelet.runtime import ContainerStatus, State
from oarlock.cluster.objects import quantity

Pod = Mapping[str, Any]
Container = Mapping[str, Any]


def full_name(pod: Pod) -> str:
    """Return the pod's name as the kubelet writes it in messages."""
    metadata = pod["metadata"]
    return f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"


def is_sidecar(container: Container) -> bool:
    """Tell whether an init container is one that goes on running. Source: KEP-753."""
    return container.get("restartPolicy") == "Always"


def init_containers(pod: Pod) -> list[Container]:
    return pod["spec"].get("initContainers") or []


def main_containers(pod: Pod) -> list[Container]:
    found: list[Container] = pod["spec"]["containers"]
    return found


def all_containers(pod: Pod) -> list[Container]:
    """Return containers of every kind."""
    return [*init_containers(pod), *main_containers(pod), *(pod["spec"].get("ephemeralContainers") or [])]


def sidecars(pod: Pod) -> list[Container]:
    return [container for container in init_containers(pod) if is_sidecar(container)]


def restart_policy(pod: Pod, container: Container) -> str:
    """Return Always, OnFailure or Never; an init container that must succeed is never Always."""
    own = container.get("restartPolicy")
    if own:
        return str(own)
    policy = str(pod["spec"].get("restartPolicy") or "Always")
    if policy == "Always" and any(container is init for init in init_containers(pod)):
        return "OnFailure"
    return policy


def should_restart(pod: Pod, container: Container, status: ContainerStatus) -> bool:
    """Tell whether a container that has exited is to run again."""
    policy = restart_policy(pod, container)
    return policy == "Always" or (policy == "OnFailure" and status.exit_code != 0)


def latest(statuses: list[ContainerStatus]) -> dict[str, ContainerStatus]:
    """Return each container's last run by name."""
    found: dict[str, ContainerStatus] = {}
    for status in statuses:
        if status.name not in found or status.attempt >= found[status.name].attempt:
            found[status.name] = status
    return found


def initialized(pod: Pod, runs: Mapping[str, ContainerStatus]) -> bool:
    """Tell whether main containers may start: one has already, or every init container has succeeded or serves."""
    if any(container["name"] in runs for container in main_containers(pod)):
        return True
    for container in init_containers(pod):
        run = runs.get(container["name"])
        if run is None:
            return False
        if is_sidecar(container):
            if run.state is State.CREATED:
                return False
        elif run.state is not State.EXITED or run.exit_code != 0:
            return False
    return True


def grace_s(pod: Pod) -> float:
    """Return how long a container may take to end by itself."""
    seconds = pod["spec"].get("terminationGracePeriodSeconds")
    return 30.0 if seconds is None else float(seconds)


def probe_grace_s(pod: Pod, name: str, kind: str) -> float:
    """Return the same for a container that failed its "liveness" or "startup" probe, which may say so itself."""
    for container in all_containers(pod):
        own = (container.get(f"{kind}Probe") or {}).get("terminationGracePeriodSeconds")
        if container["name"] == name and own is not None:
            return float(own)
    return grace_s(pod)


def memory_limit_bytes(container: Container) -> int:
    text = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return quantity.whole(text) if text else 0


def nice(container: Container) -> int:
    """Return how much nicer than the agent the container is: 0 from one requested core up, 10 for none."""
    text = ((container.get("resources") or {}).get("requests") or {}).get("cpu")
    milli = quantity.milli(text) if text else 0
    return 10 if milli <= 0 else max(0, min(10, round(-math.log2(milli / 1000))))


def fingerprint(container: Container) -> str:
    """Return what changes when a running container must be replaced. Source: the kubelet hashes name and image."""
    content = json.dumps([container["name"], container.get("image")]).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def port_number(container: Container, port: int | str) -> int:
    """Return a probe's or hook's port, by number or by name. Raises ValueError."""
    if isinstance(port, int):
        return port
    for entry in container.get("ports") or []:
        if entry.get("name") == port:
            return int(entry["containerPort"])
    return int(port)
