"""Which container of a pod a request means. Source: upstream's pkg/registry/core/pod/strategy.go."""

from __future__ import annotations

from typing import Any

from oarlock.cluster.objects import status


def chosen(pod: dict[str, Any], name: str) -> str:
    """Return the container called `name`, or the only one. Raises ApiError 400."""
    spec, pod_name = pod["spec"], pod["metadata"]["name"]
    groups = ("containers", "initContainers", "ephemeralContainers")
    names = [[one["name"] for one in spec.get(group) or ()] for group in groups]
    if name:
        if not any(name in group for group in names):
            raise status.bad_request(f"container {name} is not valid for pod {pod_name}")
        return name
    if len(names[0]) == 1:
        return str(names[0][0])
    text = f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(names[0])}]"
    if names[1]:
        text += f" or one of the init containers: [{' '.join(names[1])}]"
    raise status.bad_request(text)
