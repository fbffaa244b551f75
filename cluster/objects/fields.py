"""Which fields of a kind a field selector may name, and what values an object has for them.

Every kind has metadata.name and, if namespaced, metadata.namespace; the others are upstream's, with its wording for a
field that isn't one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.selectors import FieldSelector
from oarlock.cluster.objects.status import bad_request

Object = Mapping[str, Any]
Read = Callable[[Object], str]
Path = tuple[str, ...]

NAME: Final = "metadata.name"
NAMESPACE: Final = "metadata.namespace"

_PLAIN: Final = "field label not supported: {}"


@dataclass(frozen=True, slots=True)
class Field:
    """How a field that selectors may name is read, "" where an object doesn't have it, and from which members."""

    read: Read
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Selectable:
    """The fields of a kind beside its name and namespace, and how an unknown one is refused (`{}`: its name)."""

    fields: Mapping[str, Field]
    refusal: str = _PLAIN


def check(resource: Resource, selector: FieldSelector) -> None:
    """Raise ApiError 400 if the selector names a field that this kind can't be selected by."""
    known = _known(resource)
    for requirement in selector.requirements:
        name = requirement.field
        if name in (NAME, NAMESPACE) or (known is not None and name in known.fields):
            continue
        if known is None:
            raise bad_request(f'{quote(name)} is not a known field selector: only "{NAME}", "{NAMESPACE}"')
        raise bad_request(known.refusal.format(name))


def field(resource: Resource, name: str) -> Field:
    """Return a field that selectors may name; of one that they may not, nothing is ever there."""
    known = _known(resource)
    if known is not None and name in known.fields:
        return known.fields[name]
    return _text(*name.split(".")) if name in (NAME, NAMESPACE) else Field(lambda _: "", ())


def _known(resource: Resource) -> Selectable | None:
    if resource.custom is not None:
        return Selectable({path: _text(*path.split(".")) for path in resource.custom.selectable})
    return _KINDS.get((resource.group, resource.kind))


def _value(obj: Object, path: tuple[str, ...]) -> Any:
    here: Any = obj
    for step in path:
        here = here.get(step) if isinstance(here, dict) else None
    return here


def _text(*path: str, default: str = "") -> Field:
    """Read a string (or a number as its text)."""

    def read(obj: Object) -> str:
        found = _value(obj, path)
        if isinstance(found, bool):
            return "true" if found else "false"
        return default if found is None or found == "" else str(found)

    return Field(read, (path,))


def _flag(*path: str) -> Field:
    return Field(lambda obj: "true" if _value(obj, path) else "false", (path,))


def _first(*fields: Field) -> Field:
    """The first text that isn't empty."""
    return Field(
        lambda obj: next((text for text in (one.read(obj) for one in fields) if text), ""),
        tuple(path for one in fields for path in one.paths),
    )


def _about(name: str) -> Field:
    return _first(_text("involvedObject", name), _text("regarding", name))


_POD_IP: Final = _first(
    Field(
        lambda obj: next((one.get("ip", "") for one in _value(obj, ("status", "podIPs")) or ()), ""),
        (("status", "podIPs"),),
    ),
    _text("status", "podIP"),
)
_POD: Final[Mapping[str, Field]] = {
    "spec.nodeName": _text("spec", "nodeName"),
    "spec.restartPolicy": _text("spec", "restartPolicy"),
    "spec.schedulerName": _text("spec", "schedulerName"),
    "spec.serviceAccountName": _text("spec", "serviceAccountName"),
    "spec.hostNetwork": _flag("spec", "hostNetwork"),
    "status.phase": _text("status", "phase"),
    "status.podIP": _POD_IP,
    "status.podIPs": _POD_IP,
    "status.nominatedNodeName": _text("status", "nominatedNodeName"),
}

_REFERENCE: Final = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_SOURCE: Final = _first(
    _text("source", "component"),
    _text("deprecatedSource", "component"),
    _text("reportingComponent"),
    _text("reportingController"),
)
_EVENT: Final[Mapping[str, Field]] = {
    **{f"involvedObject.{name}": _about(name) for name in _REFERENCE},
    "reason": _text("reason"),
    "reportingComponent": _first(_text("reportingComponent"), _text("reportingController")),
    "source": _SOURCE,
    "type": _text("type"),
}
_NEW_EVENT: Final[Mapping[str, Field]] = {
    **{f"regarding.{name}": _about(name) for name in _REFERENCE},
    "reason": _text("reason"),
    "reportingController": _first(_text("reportingController"), _text("reportingComponent")),
    "type": _text("type"),
}

_KINDS: Final[Mapping[tuple[str, str], Selectable]] = {
    ("", "Pod"): Selectable(_POD),
    ("", "Node"): Selectable({"spec.unschedulable": _flag("spec", "unschedulable")}),
    ("", "Namespace"): Selectable({"status.phase": _text("status", "phase")}),
    ("", "Secret"): Selectable({"type": _text("type")}),
    ("", "Service"): Selectable({"spec.clusterIP": _text("spec", "clusterIP"), "spec.type": _text("spec", "type")}),
    ("", "ReplicationController"): Selectable({"status.replicas": _text("status", "replicas", default="0")}),
    ("", "Event"): Selectable(_EVENT),
    ("events.k8s.io", "Event"): Selectable(_NEW_EVENT),
    ("apps", "ReplicaSet"): Selectable({"status.replicas": _text("status", "replicas", default="0")}),
    ("batch", "Job"): Selectable(
        {"status.successful": _text("status", "succeeded", default="0")},
        'field label "{}" not supported for batchv1.Job',
    ),
    ("certificates.k8s.io", "CertificateSigningRequest"): Selectable({"spec.signerName": _text("spec", "signerName")}),
    ("certificates.k8s.io", "ClusterTrustBundle"): Selectable({"spec.signerName": _text("spec", "signerName")}),
    ("resource.k8s.io", "ResourceSlice"): Selectable(
        {"spec.nodeName": _text("spec", "nodeName"), "spec.driver": _text("spec", "driver")},
        "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {}",
    ),
}
