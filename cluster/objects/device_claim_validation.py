"""Validate ResourceClaims, their templates, and DeviceClasses.

Source: upstream's pkg/apis/resource/validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oarlock.cluster.objects import device_validation as devices
from oarlock.cluster.objects import metadata_validation, names
from oarlock.cluster.objects.causes import forbidden, invalid, not_supported, required
from oarlock.cluster.objects.gostructs import Struct
from oarlock.cluster.objects.metadata_validation import IMMUTABLE
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
#: The names of a claim's requests, each with those of its alternatives.
Requests = Mapping[str, frozenset[str]]
_CONSTRAINTS_MAX: Final = 32
_ALTERNATIVES_MAX: Final = 8
_ONE_FORM: Final = "exactly one of `exactly` or `firstAvailable` is required"
_OF_CLAIM: Final = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)
_ONE_ATTRIBUTE: Final = (
    'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
)


def claim(obj: Obj) -> list[Cause]:
    """What is wrong with a ResourceClaim beyond its metadata."""
    return claim_spec(obj.get("spec") or {}, "spec")


def claim_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a ResourceClaim that replaces `old`: what it asks for stays."""
    causes = metadata_validation.validate_metadata(new["metadata"], "metadata", names.dns_subdomain, namespaced=True)
    return causes + _fixed("ResourceClaimSpec", new, old)


def template(obj: Obj) -> list[Cause]:
    """What is wrong with a ResourceClaimTemplate beyond its metadata."""
    spec = obj.get("spec") or {}
    metadata = spec.get("metadata") or {}
    causes = metadata_validation.annotations(metadata.get("annotations") or {}, "spec.metadata.annotations")
    causes += metadata_validation.labels(metadata.get("labels") or {}, "spec.metadata.labels")
    causes += [
        forbidden(f"spec.metadata.{name}", "cannot be set")
        for name in metadata
        if name not in ("annotations", "labels")
    ]
    return causes + claim_spec(spec.get("spec") or {}, "spec.spec")


def template_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a ResourceClaimTemplate that replaces `old`: it stays."""
    return _fixed("ResourceClaimTemplateSpec", new, old)


def _fixed(type_name: str, new: Obj, old: Obj) -> list[Cause]:
    if new.get("spec") == old.get("spec"):
        return []
    return [invalid("spec", Struct(f"resource.v1.{type_name}", new.get("spec") or {}), IMMUTABLE)]


def claim_spec(spec: Obj, path: str) -> list[Cause]:
    """What is wrong with what a claim asks for."""
    claimed, place = spec.get("devices") or {}, f"{path}.devices"
    known = requests(claimed)

    def constraint(one: Obj, at: str) -> list[Cause]:
        return _constraint(one, at, known)

    def configuration(one: Obj, at: str) -> list[Cause]:
        return references(one, at, known) + devices.configuration(one, at)

    causes = devices.unique(
        claimed.get("requests") or (), f"{place}.requests", _request, devices.REQUESTS_MAX, _name_of
    )
    causes += devices.items(claimed.get("constraints") or (), f"{place}.constraints", constraint, _CONSTRAINTS_MAX)
    return causes + devices.items(claimed.get("config") or (), f"{place}.config", configuration, devices.CONFIGS_MAX)


def requests(claimed: Obj) -> Requests:
    """The names of a claim's requests."""
    return {
        _name_of(one): frozenset(map(_name_of, one.get("firstAvailable") or ()))
        for one in claimed.get("requests") or ()
    }


def _name_of(one: Obj) -> str:
    return str(one.get("name", ""))


def _request(one: Obj, path: str) -> list[Cause]:
    causes = devices.label(_name_of(one), f"{path}.name")
    exactly, alternatives = one.get("exactly"), one.get("firstAvailable") or ()
    if exactly is None and not alternatives:
        return [*causes, required(path, _ONE_FORM)]
    if exactly is not None and alternatives:
        return [*causes, invalid(path, None, f"{_ONE_FORM}, but multiple fields are set")]
    if exactly is not None:
        return causes + _asked(exactly, f"{path}.exactly")
    return causes + devices.unique(alternatives, f"{path}.firstAvailable", _alternative, _ALTERNATIVES_MAX, _name_of)


def _alternative(one: Obj, path: str) -> list[Cause]:
    return devices.label(_name_of(one), f"{path}.name") + _asked(one, path)


def _asked(one: Obj, path: str) -> list[Cause]:
    name, mode, count = one.get("deviceClassName", ""), one.get("allocationMode", ""), one.get("count", 0)
    place = f"{path}.deviceClassName"
    causes = [invalid(place, name, why) for why in names.dns_subdomain(name)] if name else [required(place)]
    causes += devices.selectors(one.get("selectors") or (), f"{path}.selectors")
    if mode == "All":
        if count:
            causes.append(invalid(f"{path}.count", count, "must not be specified when allocationMode is 'All'"))
    elif mode == "ExactCount":
        if count <= 0:
            causes.append(invalid(f"{path}.count", count, "must be greater than zero"))
    else:
        causes.append(not_supported(f"{path}.allocationMode", mode, ("All", "ExactCount")))
    for index, toleration in enumerate(one.get("tolerations") or ()):
        causes += devices.toleration(toleration, f"{path}.tolerations[{index}]")
    return causes


def _constraint(one: Obj, path: str, known: Requests) -> list[Cause]:
    causes = references(one, path, known)
    if "matchAttribute" in one:
        return causes + devices.fully_qualified(one["matchAttribute"], f"{path}.matchAttribute")
    if "distinctAttribute" in one:
        return causes + devices.fully_qualified(one["distinctAttribute"], f"{path}.distinctAttribute")
    return [*causes, required(path, _ONE_ATTRIBUTE)]


def references(one: Obj, path: str, known: Requests) -> list[Cause]:
    """What is wrong with a list of requests that something is about."""

    def check(name: str, place: str) -> list[Cause]:
        return reference(name, place, known)

    return devices.unique(one.get("requests") or (), f"{path}.requests", check, devices.REQUESTS_MAX, str)


def reference(name: str, path: str, known: Requests) -> list[Cause]:
    """What is wrong with the name of a request, or of one of its alternatives."""
    steps = name.split("/")
    if len(steps) > 2:
        return [invalid(path, name, _OF_CLAIM)]
    causes = [cause for step in steps for cause in devices.label(step, path)]
    found = steps[0] in known and (len(steps) == 1 or steps[1] in known[steps[0]])
    return causes if found else [*causes, invalid(path, name, _OF_CLAIM)]


def device_class(obj: Obj, old: Obj | None = None) -> list[Cause]:
    """What is wrong with a DeviceClass beyond its metadata."""
    spec, had = obj.get("spec") or {}, (old or {}).get("spec") or {}
    known = devices.expressions(had.get("selectors") or ())
    causes = devices.selectors(spec.get("selectors") or (), "spec.selectors", known)
    causes += devices.items(spec.get("config") or (), "spec.config", devices.configuration, devices.CONFIGS_MAX)
    name = spec.get("extendedResourceName")
    if name is not None and not _is_extended(name):
        causes.append(invalid("spec.extendedResourceName", name, "must be a valid extended resource name"))
    return causes


def device_class_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with a DeviceClass that replaces `old`: all of it may change."""
    causes = metadata_validation.validate_metadata(new["metadata"], "metadata", names.dns_subdomain, namespaced=False)
    return causes + device_class(new, old)


def _is_extended(name: str) -> bool:
    """Whether a resource is somebody's own: with a domain that isn't Kubernetes', fit to be named in a quota."""
    own = "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")
    return own and not names.qualified_name(f"requests.{name}")
