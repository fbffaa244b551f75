"""Validate updates of Pods: which of their fields may change, and how.

Source: upstream's `ValidatePodUpdate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import pod_validation
from oarlock.cluster.objects.causes import forbidden, invalid
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_CHANGEABLE: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_COUNT: Final = "pod updates may not add or remove containers"


def pod_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Pod that replaces `old`."""
    wanted, present = new["spec"], old["spec"]
    causes = pod_validation.pod_spec(wanted, "spec")
    for group in ("containers", "initContainers"):
        if len(wanted.get(group) or ()) != len(present.get(group) or ()):
            return [*causes, forbidden(f"spec.{group}", _COUNT)]
    for group in ("containers", "initContainers"):
        for index, container in enumerate(wanted.get(group) or ()):
            image = container.get("image", "")
            if image != image.strip():
                place = f"spec.{group}[{index}].image"
                causes.append(invalid(place, image, "must not have leading or trailing whitespace"))
    causes += _deadline(wanted, present)
    causes += _tolerations(wanted, present)
    causes += _gates(wanted, present)
    if _frozen(wanted, present) != _frozen(present, present):
        causes.append(forbidden("spec", _CHANGEABLE))
    return causes


def _deadline(wanted: Obj, present: Obj) -> list[Cause]:
    """A deadline may be set and shortened, never lengthened or lifted."""
    place = "spec.activeDeadlineSeconds"
    asked, had = wanted.get("activeDeadlineSeconds"), present.get("activeDeadlineSeconds")
    if asked == had:
        return []
    if asked is None:
        return [invalid(place, asked, "must not update from a positive integer to nil value")]
    if asked < 0:
        return [invalid(place, asked, "must be greater than or equal to 0")]
    if had is not None and asked > had:
        return [invalid(place, asked, "must be less than or equal to previous value")]
    return []


def _tolerations(wanted: Obj, present: Obj) -> list[Cause]:
    """Tolerations may be added; of those there, only the seconds may change."""
    asked: Sequence[Obj] = wanted.get("tolerations", ())
    kept = [_without_seconds(one) for one in asked]
    for had in present.get("tolerations", ()):
        if _without_seconds(had) not in kept:
            why = "existing toleration can not be modified except its tolerationSeconds"
            return [forbidden("spec.tolerations", why)]
    return []


def _without_seconds(toleration: Obj) -> dict[str, Any]:
    return {name: value for name, value in toleration.items() if name != "tolerationSeconds"}


def _gates(wanted: Obj, present: Obj) -> list[Cause]:
    """Scheduling gates may be lifted, never added."""
    asked = [gate.get("name") for gate in wanted.get("schedulingGates", ())]
    had = [gate.get("name") for gate in present.get("schedulingGates", ())]
    return [
        forbidden(f"spec.schedulingGates[{index}].name", "only deletion is allowed, but found new scheduling gate")
        for index, name in enumerate(asked)
        if name not in had
    ]


def _frozen(wanted: Obj, present: Obj) -> dict[str, Any]:
    """The part of a spec that an update may not change: what may is taken from the present one, or left out."""
    spec = {name: value for name, value in wanted.items() if name not in _FREE}
    for group in ("containers", "initContainers"):
        if spec.get(group):
            spec[group] = [{**one, "image": ""} for one in spec[group]]
    if present.get("terminationGracePeriodSeconds", 0) < 0 and wanted.get("terminationGracePeriodSeconds") == 1:
        spec["terminationGracePeriodSeconds"] = present["terminationGracePeriodSeconds"]
    if present.get("schedulingGates"):  # a gated Pod may still be told more exactly where it may go
        for name in ("nodeSelector", "affinity"):
            if _only_narrows(name, wanted.get(name), present.get(name)):
                spec[name] = present.get(name)
    return {name: value for name, value in spec.items() if value is not None}


_FREE: Final = frozenset({"activeDeadlineSeconds", "tolerations", "schedulingGates", "priority"})


def _only_narrows(name: str, wanted: Any, present: Any) -> bool:
    if name == "nodeSelector":
        asked = wanted or {}
        return all(asked.get(key) == value for key, value in (present or {}).items())
    rest = {key: value for key, value in (wanted or {}).items() if key != "nodeAffinity"}
    had = {key: value for key, value in (present or {}).items() if key != "nodeAffinity"}
    return rest == had and not (present or {}).get("nodeAffinity")
