"""Objects that are served in several forms: Events of two groups, autoscalers of two versions, custom objects.

Source: upstream's pkg/apis/core/v1/conversion.go, pkg/apis/events/v1/conversion.go.
"""

from __future__ import annotations

from typing import Any

from oarlock.cluster.objects import autoscaler_forms, status
from oarlock.cluster.objects.custom import forms
from oarlock.cluster.objects.custom.kind import CustomKind
from oarlock.cluster.objects.event_validation import EVENT_FIELDS
from oarlock.cluster.objects.resources import Resource, storage_of

Obj = dict[str, Any]

#: What core's Event always shows and events.k8s.io's leaves out when it is empty.
_SHOWN_EMPTY = ("reportingComponent", "reportingInstance")


def from_storage(resource: Resource, obj: Obj) -> Obj:
    """Return a stored object in `resource`'s form."""
    shown = _newer_event(obj) if resource.kind == "Event" else autoscaler_forms.lowered(obj)
    return {**shown, "kind": resource.kind, "apiVersion": resource.api_version}


def to_storage(resource: Resource, obj: Obj) -> Obj:
    """Return an object given in `resource`'s form as it is stored."""
    kept = _older_event(obj) if resource.kind == "Event" else autoscaler_forms.lifted(obj)
    return {**kept, "kind": resource.kind, "apiVersion": storage_of(resource).api_version}


def of_custom(resource: Resource, obj: Obj) -> Obj:
    """Return a custom object, as it was read, in the form of `resource`'s version. No webhook may be needed for it.

    Raises ApiError 500 for an object of a version that its definition doesn't have any more.
    """
    custom = resource.custom
    assert custom is not None
    found = forms.read(origin(custom, obj), obj)
    if found["apiVersion"] == resource.api_version:
        return found
    if custom.conversion.webhook is not None:
        raise status.internal(f"{found['apiVersion']}, Kind={resource.kind} has not been converted")
    return forms.relabelled(custom, found, resource.api_version)


def origin(custom: CustomKind, obj: Obj) -> CustomKind:
    """Return the version that an object is of. Raises ApiError 500."""
    found = forms.of_object(custom, obj)
    if found is None:
        raise status.unreasoned(f"request to convert CR from an invalid group/version: {obj['apiVersion']}")
    return found


def _newer_event(obj: Obj) -> Obj:
    return _renamed({k: v for k, v in obj.items() if v or k not in _SHOWN_EMPTY}, dict(EVENT_FIELDS))


def _older_event(obj: Obj) -> Obj:
    older = _renamed(obj, {other: core for core, other in EVENT_FIELDS})
    return {**dict.fromkeys(_SHOWN_EMPTY, ""), **older}


def _renamed(obj: Obj, names: dict[str, str]) -> Obj:
    return {names.get(key, key): value for key, value in obj.items()}
