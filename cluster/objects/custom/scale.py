"""The Scale of a custom object that has one, at the paths of its definition.

Source: apiextensions `registry/customresource/etcd.go` (ScaleREST).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from oarlock.cluster.objects.custom import jsonpath
from oarlock.cluster.objects.custom.kind import ScalePaths


def counts(paths: ScalePaths, obj: Mapping[str, Any]) -> tuple[int | None, int, str]:
    """(replicas wanted, or None where the field is missing; replicas there are; selector)."""
    wanted = next(jsonpath.find(obj, paths.spec_replicas), None)
    present = next(jsonpath.find(obj, paths.status_replicas), 0)
    selector = next(jsonpath.find(obj, paths.selector), "") if paths.selector else ""
    return (
        (wanted if isinstance(wanted, int) else None),
        (present if isinstance(present, int) else 0),
        str(selector or ""),
    )


def with_replicas(paths: ScalePaths, obj: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    """Return a copy that wants `replicas`; maps on the way are made."""
    made = copy.deepcopy(dict(obj))
    here: dict[str, Any] = made
    *way, last = [str(step) for step in paths.spec_replicas]
    for step in way:
        below = here.get(step)
        if not isinstance(below, dict):
            below = here[step] = {}
        here = below
    here[last] = replicas
    return made
