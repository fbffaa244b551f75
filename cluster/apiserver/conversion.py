"""Objects that are served in two forms: Events of two groups, autoscalers of two versions.

Source: upstream's pkg/apis/core/v1/conversion.go, pkg/apis/events/v1/conversion.go.
"""

from __future__ import annotations

from typing import Any

from oarlock.cluster.objects import autoscaler_forms, status
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


def of_custom(resource: Resource, obj: Obj, api_version: str) -> Obj:
    """Return a custom object in the form of another version.

    Raises ApiError 500 where that needs a webhook.
    """
    custom = resource.custom
    assert custom is not None
    if obj["apiVersion"] != api_version:
        if custom.conversion != "None":
            raise status.internal(
                f"conversion webhook for {obj['apiVersion']}, Kind={resource.kind} failed: webhooks can't be called yet"
            )
        obj = {**obj, "apiVersion": api_version}
    return obj


def _newer_event(obj: Obj) -> Obj:
    return _renamed({k: v for k, v in obj.items() if v or k not in _SHOWN_EMPTY}, dict(EVENT_FIELDS))


def _older_event(obj: Obj) -> Obj:
    older = _renamed(obj, {other: core for core, other in EVENT_FIELDS})
    return {**dict.fromkeys(_SHOWN_EMPTY, ""), **older}


def _renamed(obj: Obj, names: dict[str, str]) -> Obj:
    return {names.get(key, key): value for key, value in obj.items()}
