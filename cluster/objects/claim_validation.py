"""Validate PersistentVolumeClaims: what they ask for, what may change, what their status says.

Source: upstream's `ValidatePersistentVolumeClaim…` functions in pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names, quantity
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required
from oarlock.cluster.objects.gostructs import difference, same
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_validation import claim_spec

Obj = Mapping[str, Any]
_FROZEN: Final = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
_SPEC: Final = "core.v1.PersistentVolumeClaimSpec"
_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"
_RESIZE_STATES: Final = (
    *("ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible"),
    "NodeResizePending",
)


def claim(obj: Obj) -> list[Cause]:
    """What is wrong with a PersistentVolumeClaim beyond its metadata."""
    return claim_spec(obj["spec"], "spec")


def claim_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a claim that replaces `old`: only a bound claim's request may grow."""
    wanted, present = new["spec"], old["spec"]
    causes = metadata_validation.validate_metadata(
        new["metadata"], "metadata", names.dns_subdomain, namespaced=True
    ) + _tolerated(claim(new), present)
    annotated, had = ((one["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION) for one in (new, old))
    upgraded = had is not None and "storageClassName" not in present and wanted.get("storageClassName") == had
    if annotated != had and not (upgraded and annotated is None):
        causes.append(invalid(f"metadata.annotations[{_CLASS_ANNOTATION}]", annotated or "", IMMUTABLE))
    bound = (new.get("status") or {}).get("phase") == "Bound"
    kept, compared = _kept(wanted, present), _compared(wanted, present, bound=bound, had=had)
    if not same(_SPEC, compared, kept):
        causes.append(forbidden("spec", f"{_FROZEN}\n{difference(_SPEC, kept, compared)}"))
    causes += _size(wanted, present, old)
    if wanted.get("volumeMode") != present.get("volumeMode"):
        causes.append(invalid("volumeMode", wanted.get("volumeMode"), IMMUTABLE))
    return causes + _attributes_class(wanted, present)


def _tolerated(causes: list[Cause], present: Obj) -> list[Cause]:
    """What the stored claim breaks already, the new one may too: a group's name, a selector's value."""
    sources = (present.get("dataSource") or {}, present.get("dataSourceRef") or {})
    if any("apiGroup" in one for one in sources):
        causes = [one for one in causes if not one.field.endswith(".apiGroup")]
    if "selector" in present and label_selector(present["selector"], "spec.selector"):
        causes = [one for one in causes if not one.field.startswith("spec.selector")]
    return causes


def _kept(wanted: Obj, present: Obj) -> dict[str, Any]:
    """What must stay: all of the present spec, but that it may get its first volume's name."""
    return dict(present) if present.get("volumeName") else {**present, "volumeName": wanted.get("volumeName", "")}


def _compared(wanted: Obj, present: Obj, *, bound: bool, had: str | None) -> dict[str, Any]:
    """The wanted spec without what may change: a first class, what a bound claim asks for, the attributes' class."""
    compared = {name: value for name, value in wanted.items() if name != "volumeAttributesClassName"}
    if "volumeAttributesClassName" in present:
        compared["volumeAttributesClassName"] = present["volumeAttributesClassName"]
    if "storageClassName" not in present and had in {None, wanted.get("storageClassName")}:
        compared.pop("storageClassName", None)
    asked = (wanted.get("resources") or {}).get("requests")
    if bound and asked is not None:
        storage = ((present.get("resources") or {}).get("requests") or {}).get("storage")
        compared["resources"] = {**wanted["resources"], "requests": {**asked, "storage": storage}}
    return compared


def _size(wanted: Obj, present: Obj, old: Obj) -> list[Cause]:
    size, had = (_storage((one.get("resources") or {}).get("requests")) for one in (wanted, present))
    if size >= had or size > _storage((old.get("status") or {}).get("capacity")):
        return []
    return [forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")]


def _storage(amounts: Obj | None) -> quantity.Quantity:
    return quantity.parse((amounts or {}).get("storage", "0"))


def _attributes_class(wanted: Obj, present: Obj) -> list[Cause]:
    if present.get("volumeAttributesClassName") is None:
        return []
    name, place = wanted.get("volumeAttributesClassName"), "spec.volumeAttributesClassName"
    if name is None:
        return [forbidden(place, "update from non-nil value to nil is forbidden")]
    return [] if name else [forbidden(place, "update from non-nil value to an empty string is forbidden")]


def claim_status(new: Obj, _: Obj) -> list[Cause]:
    """What is wrong with a claim's new status: amounts, and how far growing has come."""
    causes = [] if new["spec"].get("accessModes") else [required("Spec.accessModes")]
    state = new.get("status") or {}
    for name, amount in (state.get("capacity") or {}).items():
        causes += _amount(amount, f"status.capacity[{name}]")
    for name, step in (state.get("allocatedResourceStatuses") or {}).items():
        causes += _resource(name, "status.allocatedResourceStatus")
        if step not in _RESIZE_STATES:
            causes.append(not_supported("status.allocatedResourceStatus", name, _RESIZE_STATES))
    for name, amount in (state.get("allocatedResources") or {}).items():
        causes += _resource(name, "status.allocatedResources") or _amount(amount, f"status.allocatedResources[{name}]")
    return causes


def _resource(name: str, path: str) -> list[Cause]:
    causes = [invalid(path, name, why) for why in names.qualified_name(name)]
    native = "/" not in name or "kubernetes.io/" in name
    return [not_supported(path, name, ("storage",))] if not causes and native and name != "storage" else causes


def _amount(amount: Any, path: str) -> list[Cause]:
    if quantity.parse(amount) >= quantity.ZERO:
        return []
    return [invalid(path, quantity.whole(amount), "must be a valid resource quantity")]
