"""Validate Events, in both groups: core's loosely, for old clients, those of events.k8s.io strictly.

Causes name the fields as upstream's own form of an Event does, whatever the group calls them.
Source: upstream's `pkg/apis/core/validation/events.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names
from oarlock.cluster.objects.causes import GoFields, invalid, required
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]

#: An Event's fields that the groups name differently: in core, in events.k8s.io.
EVENT_FIELDS: Final = (
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)
_IN_CORE: Final = {newer: core for core, newer in EVENT_FIELDS}
_TEXT_MAX: Final = 128
_MESSAGE_MAX: Final = 1024
_TYPES: Final = ("Normal", "Warning")
_STRANGER: Final = "does not match event.namespace"
_UNSET: Final = "needs to be unset"
_REFERENCE: Final = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_IN_GO: Final = {"uid": "UID", "apiVersion": "APIVersion"}
_FIXED: Final = (
    *("involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "reason", "type"),
    *("eventTime", "action", "related", "reportingController", "reportingInstance"),
)


def core_event(obj: Obj) -> list[Cause]:
    """What is wrong with an Event of the core group; its name may be anything that fits into a path."""
    return _loose(_own_form(obj)) or metadata_validation.validate_metadata(
        obj["metadata"], "metadata", names.path_segment, namespaced=True
    )


def core_event_update(new: Obj, _: Obj) -> list[Cause]:
    """What is wrong with an Event of the core group that replaces another: anything may change."""
    return _loose(_own_form(new))


def event(obj: Obj) -> list[Cause]:
    """What is wrong with a new Event of events.k8s.io."""
    made = _own_form(obj)
    causes = _loose(made)
    causes += metadata_validation.validate_metadata(obj["metadata"], "metadata", names.dns_subdomain, namespaced=True)
    causes += _series(made)
    kind, source = made.get("type", ""), made.get("source") or {}
    if not made.get("eventTime"):
        causes.append(required("eventTime"))
    if kind not in _TYPES:
        causes.append(invalid("type", "", f"has invalid value: {kind}"))
    causes += [invalid(name, "", _UNSET) for name in ("firstTimestamp", "lastTimestamp", "count") if made.get(name)]
    if source.get("component") or source.get("host"):
        causes.append(invalid("source", "", _UNSET))
    return causes


def event_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with an Event of events.k8s.io that replaces another: only its series may change."""
    made, before = _own_form(new), _own_form(old)
    causes = _loose(made)
    if made.get("series") != before.get("series"):
        causes += _series(made)
    for name in _FIXED:
        value, had = _in_go(made, name), _in_go(before, name)
        if value != had:
            causes.append(invalid(name, value, IMMUTABLE))
    return causes


def _own_form(obj: Obj) -> Obj:
    """The Event with the names that upstream's causes have."""
    made = {_IN_CORE.get(name, name): value for name, value in obj.items()}
    made["reportingController"] = made.get("reportingComponent", "")
    return made


def _loose(made: Obj) -> list[Cause]:
    """What every Event must be; a time of its own tells those that newer clients make."""
    namespace = made["metadata"].get("namespace", "")
    about = (made.get("involvedObject") or {}).get("namespace", "")
    timed = bool(made.get("eventTime"))
    if about:
        strange = not timed and about != namespace
    else:
        strange = namespace not in (("default", "kube-system") if timed else ("", "default"))
    causes = [invalid("involvedObject.namespace", about, _STRANGER)] if strange else []
    if timed:
        causes += _reported(made)
    return causes + [invalid("namespace", namespace, why) for why in names.dns_subdomain(namespace)]


def _reported(made: Obj) -> list[Cause]:
    controller = made["reportingController"]
    causes = [] if controller else [required("reportingController")]
    causes += [invalid("reportingController", controller, why) for why in names.qualified_name(controller)]
    for name in ("reportingInstance", "action", "reason"):
        if not made.get(name):
            causes.append(required(name))
        causes += _bounded(made, name, _TEXT_MAX)
    return causes + _bounded(made, "message", _MESSAGE_MAX)


def _bounded(made: Obj, name: str, most: int) -> list[Cause]:
    if len(made.get(name, "").encode()) <= most:
        return []
    return [invalid(name, "", f"can have at most {most} characters")]


def _series(made: Obj) -> list[Cause]:
    series = made.get("series")
    if series is None:
        return []
    causes: list[Cause] = []
    if series.get("count", 0) < 2:
        causes.append(invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        causes.append(required("series.lastObservedTime"))
    return causes


def _in_go(made: Obj, name: str) -> Any:
    """A field's value as Go holds it: structs whole, texts and numbers never absent."""
    value = made.get(name)
    if name == "source":
        value = value or {}
        return GoFields(Component=value.get("component", ""), Host=value.get("host", ""))
    if name == "involvedObject" or (name == "related" and value is not None):
        value = value or {}
        return GoFields({_IN_GO.get(one, one[:1].upper() + one[1:]): value.get(one, "") for one in _REFERENCE})
    if name in {"firstTimestamp", "lastTimestamp", "eventTime", "related"}:
        return value
    return value or (0 if name == "count" else "")
