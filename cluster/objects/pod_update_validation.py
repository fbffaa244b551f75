"""Validate updates of Pods: which of their fields may change, and how.

Source: upstream's `ValidatePodUpdate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names, pod_annotations, pod_validation
from oarlock.cluster.objects.causes import forbidden, invalid, required
from oarlock.cluster.objects.gated_pod_validation import frozen_affinity, narrowing
from oarlock.cluster.objects.gostructs import difference, same
from oarlock.cluster.objects.pod_strategy import qos_class
from oarlock.cluster.objects.pod_validation import SECONDS_MAX
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_CHANGEABLE: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_GROUPS: Final = ("containers", "initContainers")
_COUNT: Final = "pod updates may not add or remove containers"


def pod_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a Pod that replaces `old`."""
    wanted, present = new["spec"], old["spec"]
    annotations = _annotations(new["metadata"].get("annotations", {}), old["metadata"].get("annotations", {}))
    if wanted == present:
        # What was found right when it was written isn't looked at again.
        return pod_validation.pod_metadata(new) + annotations
    causes = pod_validation.pod_metadata_and_spec(new) + annotations
    for group in _GROUPS:
        if len(wanted.get(group) or ()) != len(present.get(group) or ()):
            return [*causes, forbidden(f"spec.{group}", _COUNT)]
        causes += _images(wanted.get(group) or (), f"spec.{group}")
    wrong = _deadline(wanted, present)
    causes += wrong
    if wrong and wanted.get("activeDeadlineSeconds") is not None:
        return causes
    causes += _tolerations(wanted, present)
    causes += _gates(wanted, present)
    if qos_class(wanted) != old.get("status", {}).get("qosClass", qos_class(present)):
        causes.append(invalid("metadata", new.get("status", {}).get("qosClass", ""), "Pod QoS is immutable"))
    if present.get("schedulingGates"):
        causes += narrowing(wanted, present)
    frozen = _frozen(wanted, present)
    if not same("core.v1.PodSpec", frozen, present):
        causes.append(forbidden("spec", f"{_CHANGEABLE}\n{difference('core.v1.PodSpec', present, frozen)}"))
    return causes


def _annotations(wanted: Mapping[str, str], present: Mapping[str, str]) -> list[Cause]:
    """The annotations that a Pod keeps as it was created with them."""
    causes: list[Cause] = []
    for key in (*present, *(key for key in wanted if key not in present)):
        if wanted.get(key) == present.get(key):
            continue
        verb = "remove or update" if key in present else "add"
        if key.startswith(pod_annotations.APP_ARMOR):
            causes.append(forbidden(f"metadata.annotations[{key}]", f"may not {verb} AppArmor annotations"))
        if key == pod_annotations.MIRROR:
            causes.append(forbidden(f"metadata.annotations[{key}]", f"may not {verb} mirror pod annotation"))
    return causes


def _images(containers: Sequence[Obj], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, container in enumerate(containers):
        image, place = container.get("image", ""), f"{path}[{index}].image"
        if not image:
            causes.append(required(place))
        if image != image.strip():
            causes.append(invalid(place, image, "must not have leading or trailing whitespace"))
    return causes


def _deadline(wanted: Obj, present: Obj) -> list[Cause]:
    """A deadline may be set and shortened, never lengthened or lifted."""
    place = "spec.activeDeadlineSeconds"
    asked, had = wanted.get("activeDeadlineSeconds"), present.get("activeDeadlineSeconds")
    if asked is None:
        why = "must not update from a positive integer to nil value"
        return [] if had is None else [invalid(place, None, why)]
    if not 0 <= asked <= SECONDS_MAX:
        return [invalid(place, asked, names.INCLUSIVE.format(0, SECONDS_MAX))]
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
    asked = [gate.get("name", "") for gate in wanted.get("schedulingGates", ())]
    had = [gate.get("name", "") for gate in present.get("schedulingGates", ())]
    return [
        forbidden(
            f"spec.schedulingGates[{index}].name", f"only deletion is allowed, but found new scheduling gate '{name}'"
        )
        for index, name in enumerate(asked)
        if name not in had
    ]


def _frozen(wanted: Obj, present: Obj) -> dict[str, Any]:
    """The spec with what may change taken from the present one: it must then be the present one."""
    spec = dict(wanted)
    for group in _GROUPS:
        if wanted.get(group):
            pairs = zip(wanted[group], present[group], strict=True)
            spec[group] = [{**one, "image": had.get("image")} for one, had in pairs]
    if present.get("terminationGracePeriodSeconds", 0) < 0 and wanted.get("terminationGracePeriodSeconds") == 1:
        spec["terminationGracePeriodSeconds"] = present["terminationGracePeriodSeconds"]
    kept = [*_FREE, "nodeSelector"] if present.get("schedulingGates") else _FREE
    for name in kept:
        spec[name] = present.get(name)
    if present.get("schedulingGates"):
        spec["affinity"] = frozen_affinity(wanted.get("affinity"), present.get("affinity"))
    return {name: value for name, value in spec.items() if value is not None}


_FREE: Final = ("activeDeadlineSeconds", "tolerations", "schedulingGates")
