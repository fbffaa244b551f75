"""What a running pod holds while it is resized in place: the larger of what it has, what it was given and what it asks.

Source: KEP-1287; upstream's resourcehelper.PodRequests with UseStatusResources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oarlock.cluster.objects import quantity

Object = Mapping[str, Any]
_CONTAINERS = (("containers", "containerStatuses"), ("initContainers", "initContainerStatuses"))


def resized(spec: Object, status: Object) -> Object:
    """Return the spec with requests as they count now; the same object if no container tells of others."""
    found = {name: _held(spec, status, name, statuses) for name, statuses in _CONTAINERS if status.get(statuses)}
    changed = {name: containers for name, containers in found.items() if containers is not None}
    return {**spec, **changed} if changed else spec


def _held(spec: Object, status: Object, name: str, statuses: str) -> list[Object] | None:
    told = {one["name"]: one for one in status[statuses] if one.get("resources") or one.get("allocatedResources")}
    if not told:
        return None
    refused = any(
        one.get("type") == "PodResizePending" and one.get("reason") == "Infeasible"
        for one in status.get("conditions") or ()
    )
    return [_with(one, told.get(one["name"]), refused=refused) for one in spec.get(name) or ()]


def _with(container: Object, told: Object | None, *, refused: bool) -> Object:
    if told is None:
        return container
    resources = container.get("resources") or {}
    actual = (told.get("resources") or {}).get("requests") or {}
    sources = [actual, told.get("allocatedResources") or {}]
    # What the node can never give isn't waited for.
    if not refused:
        sources.append(resources.get("requests") or {})
    requests: dict[str, Any] = {}
    for source in sources:
        for name, amount in source.items():
            if name not in requests or quantity.parse(amount) > quantity.parse(requests[name]):
                requests[name] = amount
    return {**container, "resources": {**resources, "requests": requests}}
