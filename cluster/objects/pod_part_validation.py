"""Validate what comes through a Pod's `ephemeralcontainers` and `resize`.

Source: upstream's `ValidatePodEphemeralContainersUpdate` and `ValidatePodResize`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import container_validation, pod_strategy, pod_validation
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_found, required
from oarlock.cluster.objects.container_validation import PodFacts
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

_NOT_EPHEMERAL: Final = (
    *("ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules"),
    *("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"),
)
_RESIZABLE: Final = frozenset({"cpu", "memory"})
_PATH: Final = "spec.ephemeralContainers"


def ephemeral_containers(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Pod's new ephemeral containers; those that are there stay as they are."""
    spec = new["spec"]
    wanted: Sequence[Obj] = spec.get("ephemeralContainers") or ()
    main = [one.get("name") for group in ("containers", "initContainers") for one in spec.get(group) or ()]
    facts = PodFacts(spec, {volume.get("name", "") for volume in spec.get("volumes") or ()})
    causes: list[Cause] = []
    taken = set(main)
    for index, one in enumerate(wanted):
        causes += _ephemeral(one, f"{_PATH}[{index}]", facts, main, taken)
        taken.add(one.get("name"))
    by_name = {one.get("name"): one for one in wanted}
    for had in old["spec"].get("ephemeralContainers") or ():
        name = had.get("name", "")
        if name not in by_name:
            causes.append(forbidden(_PATH, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif by_name[name] != had:
            causes.append(forbidden(_PATH, f'existing ephemeral containers "{name}" may not be changed\n'))
    return causes


def _ephemeral(one: Obj, place: str, facts: PodFacts, main: Sequence[Any], taken: set[Any]) -> list[Cause]:
    name = one.get("name", "")
    if not name:
        return [required(f"{place}.name")]
    if name in taken:
        return [duplicate(f"{place}.name", name)]
    causes = container_validation.container(one, place, facts)
    for field in _NOT_EPHEMERAL:
        if one.get(field):
            causes.append(forbidden(f"{place}.{field}", "cannot be set for an Ephemeral Container"))
    target = one.get("targetContainerName")
    if target and target not in main:
        causes.append(not_found(f"{place}.targetContainerName", target))
    for index, mount in enumerate(one.get("volumeMounts") or ()):
        for field in ("subPath", "subPathExpr"):
            if mount.get(field):
                why = "cannot be set for an Ephemeral Container"
                causes.append(forbidden(f"{place}.volumeMounts[{index}].{field}", why))
    return causes


def resize(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Pod's new resources: only processor and memory change, nothing set is taken away."""
    causes = pod_validation.pod_spec(new["spec"], "spec")
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
