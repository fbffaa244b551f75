"""Validate what comes through a Pod's `ephemeralcontainers` and `resize`.

Source: upstream's `ValidatePodEphemeralContainersUpdate` and `ValidatePodResize`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import pod_strategy, pod_validation
from oarlock.cluster.objects.causes import forbidden, invalid
from oarlock.cluster.objects.gostructs import difference
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

_RESIZABLE: Final = frozenset({"cpu", "memory"})
_PATH: Final = "spec.ephemeralContainers"


def ephemeral_containers(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Pod's new ephemeral containers; those that are there stay as they are."""
    causes = pod_validation.pod_metadata_and_spec(new)
    by_name = {one.get("name"): one for one in new["spec"].get("ephemeralContainers") or ()}
    for had in old["spec"].get("ephemeralContainers") or ():
        name = had.get("name", "")
        if name not in by_name:
            causes.append(forbidden(_PATH, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif by_name[name] != had:
            lines = difference("core.v1.EphemeralContainer", had, by_name[name])
            causes.append(forbidden(_PATH, f'existing ephemeral containers "{name}" may not be changed\n{lines}'))
    return causes


def resize(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Pod's new resources: only processor and memory change, nothing set is taken away."""
    causes = pod_validation.pod_metadata_and_spec(new)
    had, wanted = pod_strategy.qos_class(old["spec"]), pod_strategy.qos_class(new["spec"])
    if had != wanted:
        causes.append(invalid("spec", had, "Pod QOS Class may not change as a result of resizing"))
    for group in ("containers", "initContainers"):
        pairs = zip(new["spec"].get(group) or (), old["spec"].get(group) or (), strict=True)
        for index, (container, before) in enumerate(pairs):
            causes += _resized(container, before, f"spec.{group}[{index}].resources")
    return causes


def _resized(container: Obj, before: Obj, place: str) -> list[Cause]:
    now, then = container.get("resources") or {}, before.get("resources") or {}
    causes: list[Cause] = []
    for kind, word in (("limits", "limits"), ("requests", "requests")):
        amounts, had = now.get(kind) or {}, then.get(kind) or {}
        gone = [name for name in had if name in _RESIZABLE and name not in amounts]
        if gone:
            causes.append(forbidden(f"{place}.{kind}", f"resource {word} cannot be removed"))
        if _others(amounts) != _others(had):
            causes.append(forbidden("spec", "only cpu and memory resources are mutable"))
    return causes


def _others(amounts: Obj) -> dict[str, Any]:
    return {name: amount for name, amount in amounts.items() if name not in _RESIZABLE}
