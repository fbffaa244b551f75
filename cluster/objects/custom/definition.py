"""Read a CustomResourceDefinition into the resources that it has the server serve."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import webhook_client
from oarlock.cluster.objects.custom import columns, jsonpath
from oarlock.cluster.objects.custom.kind import Conversion, CustomKind, ScalePaths
from oarlock.cluster.objects.resources import Resource, Subresource

Obj = Mapping[str, Any]
_VERSION: Final = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?")
_STATUS_VERBS: Final = frozenset({"get", "patch", "update"})


def condition(definition: Obj, kind: str) -> Obj | None:
    """The condition of a type, if there is one."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return next((one for one in conditions if one.get("type") == kind), None)


def holds(definition: Obj, kind: str) -> bool:
    """Whether the condition of a type is True."""
    found = condition(definition, kind)
    return found is not None and found.get("status") == "True"


def resources(
    definition: Obj, whole: Callable[[], Obj] | None = None, before: Sequence[Resource] = ()
) -> tuple[Resource, ...]:
    """The resources of an established definition, one for each served version, preferred ones first.

    An outline of the definition will do if `whole` reads all of it where a schema is needed. `before` are those of an
    earlier state: what was stored since then is up to date if the specification is the same.
    """
    if not holds(definition, "Established"):
        return ()
    served = [one for one in definition["spec"]["versions"] if one.get("served")]
    kinds = _kinds(definition, whole or (lambda: definition), before[0].custom if before else None)
    return tuple(_resource(definition, one, kinds) for one in sorted(served, key=lambda one: _priority(one["name"])))


def stored_resource(definition: Obj) -> Resource:
    """The resource in whose form objects are stored, whether it is served or not. An outline will do."""
    names = definition["spec"]["names"]
    accepted = {**names, **((definition.get("status") or {}).get("acceptedNames") or {})}
    stored = next(one for one in definition["spec"]["versions"] if one.get("storage"))
    named = {**definition, "status": {**definition.get("status", {}), "acceptedNames": accepted}}
    return _resource(named, stored, _kinds(named, lambda: definition))


def storage_version(definition: Obj) -> str:
    """The version in whose form objects are stored."""
    found: str = next(one["name"] for one in definition["spec"]["versions"] if one.get("storage"))
    return found


def _priority(name: str) -> tuple[int, int, int, str]:
    """v10 before v2 before v1beta2 before v1alpha1 before anything else by name. Source: apimachinery pkg/version."""
    found = _VERSION.fullmatch(name)
    if found is None:
        return (3, 0, 0, name)
    level = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (level, -int(found[1]), -int(found[3] or 0), name)


def _kinds(definition: Obj, read: Callable[[], Obj], before: CustomKind | None = None) -> Mapping[str, CustomKind]:
    """What is particular to each version; each knows all of them."""
    kinds: dict[str, CustomKind] = {}
    conversion, revision = _conversion(definition), int(definition["metadata"].get("resourceVersion") or 0)
    if before is not None and before.conversion.generation == conversion.generation:
        revision = before.revision
    for version in definition["spec"]["versions"]:
        kinds[version["name"]] = _custom(definition, version, kinds, read, conversion, revision)
    return kinds


def _conversion(definition: Obj) -> Conversion:
    metadata, given = definition["metadata"], definition["spec"].get("conversion") or {}
    name = metadata["name"]
    generation = f"{metadata.get('uid', '')}/{metadata.get('generation', 0)}"
    if given.get("strategy", "None") != "Webhook":
        return Conversion(name, generation)
    webhook = given.get("webhook") or {}
    place = webhook_client.read(webhook.get("clientConfig") or {})
    return Conversion(name, generation, place, tuple(webhook.get("conversionReviewVersions") or ()))


def _resource(definition: Obj, version: Obj, kinds: Mapping[str, CustomKind]) -> Resource:
    spec = definition["spec"]
    names = definition["status"]["acceptedNames"]
    subresources = version.get("subresources") or {}
    group = spec["group"]
    parts = {}
    if "status" in subresources:
        parts["status"] = Subresource("status", names["kind"], group, version["name"], _STATUS_VERBS)
    if subresources.get("scale"):
        parts["scale"] = Subresource("scale", "Scale", "autoscaling", "v1", _STATUS_VERBS)
    return Resource(
        group=group,
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular", ""),
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=parts,
        custom=kinds[version["name"]],
    )


def _schema(definition: Obj, name: str) -> Obj:
    """The OpenAPI schema of a version."""
    version = next(one for one in definition["spec"]["versions"] if one["name"] == name)
    return (version.get("schema") or {}).get("openAPIV3Schema") or {}


def _custom(
    definition: Obj,
    version: Obj,
    kinds: Mapping[str, CustomKind],
    read: Callable[[], Obj],
    conversion: Conversion,
    revision: int,
) -> CustomKind:
    subresources = version.get("subresources") or {}
    return CustomKind(
        document=lambda: _schema(read(), version["name"]),
        storage_version=storage_version(definition),
        revision=revision,
        conversion=conversion,
        versions=kinds,
        has_status="status" in subresources,
        scale=_scale(subresources.get("scale")),
        columns=columns.read(version.get("additionalPrinterColumns") or []),
        selectable=tuple(one["jsonPath"].removeprefix(".") for one in version.get("selectableFields") or ()),
        terminating=bool(definition["metadata"].get("deletionTimestamp")),
        deprecation=_deprecation(definition, version),
        preserves_unknown=bool(definition["spec"].get("preserveUnknownFields")),
    )


def _scale(paths: Obj | None) -> ScalePaths | None:
    if not paths:
        return None
    selector = paths.get("labelSelectorPath")
    return ScalePaths(
        jsonpath.parse(paths["specReplicasPath"]),
        jsonpath.parse(paths["statusReplicasPath"]),
        jsonpath.parse(selector) if selector else (),
    )


def _deprecation(definition: Obj, version: Obj) -> str:
    """What users of a version are warned with: its own words, or the newest version that they had better use.

    Source: apiextensions `pkg/apiserver/customresource_handler.go` (defaultDeprecationWarning).
    """
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning") is not None:
        return str(version["deprecationWarning"])
    spec = definition["spec"]
    group, kind, name = spec["group"], spec["names"]["kind"], version["name"]
    good = [one["name"] for one in spec["versions"] if one.get("served") and not one.get("deprecated")]
    newer = sorted((one for one in good if _priority(one) < _priority(name)), key=_priority)
    advice = f"; use {group}/{newer[0]} {kind}" if newer else ""
    return f"{group}/{name} {kind} is deprecated{advice}"
