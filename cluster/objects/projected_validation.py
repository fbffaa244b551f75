"""Validate the files that volumes hold: those of ConfigMaps, Secrets, the downward API, tokens, trust bundles.

Source: upstream's `validateKeyToPath`, `validateDownwardAPIVolumeFile` and `validateProjectionSources`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import forbidden, invalid, required
from oarlock.cluster.objects.field_references import VOLUME_FIELDS, field_ref, resource_field_ref
from oarlock.cluster.objects.gostructs import Struct
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_paths import unreserved_path

Obj = Mapping[str, Any]
_MODE_MAX: Final = 0o777
_MODE_RULE: Final = "must be a number between 0 and 0777 (octal), both inclusive"
_TOKEN_SECONDS_MIN: Final = 600
_TOKEN_SECONDS_MAX: Final = 2**32
_CONFLICT: Final = "conflicting duplicate paths"


def files(items: Sequence[Obj], path: str) -> list[Cause]:
    """What is wrong with the files that keys of a ConfigMap or Secret become."""
    causes: list[Cause] = []
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        if not item.get("key"):
            causes.append(required(f"{place}.key"))
        causes += _target(item, f"{place}.path")
        if "mode" in item:
            causes += mode(item["mode"], f"{place}.mode")
    return causes


def _target(item: Obj, path: str) -> list[Cause]:
    target = item.get("path", "")
    return unreserved_path(target, path) if target else [required(path)]


def mode(value: int | None, path: str) -> list[Cause]:
    """What is wrong with the permission bits of a file."""
    return [] if value is None or 0 <= value <= _MODE_MAX else [invalid(path, value, _MODE_RULE)]


def downward_api(source: Obj, path: str) -> list[Cause]:
    """What is wrong with a volume of the downward API."""
    causes = mode(source.get("defaultMode"), f"{path}.defaultMode")
    for item in source.get("items", ()):
        # Upstream names the volume here, not the item.
        causes += _downward_file(item, path)
    return causes


def _downward_file(item: Obj, path: str) -> list[Cause]:
    causes = _target(item, f"{path}.path")
    if "fieldRef" in item:
        causes += field_ref(item["fieldRef"], f"{path}.fieldRef", VOLUME_FIELDS)
        if "resourceFieldRef" in item:
            why = "fieldRef and resourceFieldRef can not be specified simultaneously"
            causes.append(invalid(path, "resource", why))
    elif "resourceFieldRef" in item:
        causes += resource_field_ref(item["resourceFieldRef"], f"{path}.resourceFieldRef", volume=True)
    else:
        causes.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return causes + mode(item["mode"], f"{path}.mode") if "mode" in item else causes


def projected(source: Obj, path: str) -> list[Cause]:
    """What is wrong with a projected volume: its sources, and files of theirs on one path."""
    causes = mode(source.get("defaultMode"), f"{path}.defaultMode")
    taken: set[str] = set()
    for index, item in enumerate(source.get("sources") or ()):
        place = f"{path}.sources[{index}]"
        for name in item if len(item) == 1 else sorted(item, key=_ORDER.index):
            causes += _PROJECTIONS[name](item[name], f"{place}.{name}", path)
            if name != "serviceAccountToken":
                causes += _conflicts(name, item[name], path, taken)
        if len(item) > 1:
            causes.append(forbidden(place, "may not specify more than 1 volume type"))
    return causes


def _conflicts(name: str, source: Obj, path: str, taken: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    for target in _paths(name, source):
        if target in taken:
            shown = source.get("name", "") if name in {"configMap", "secret"} else target
            causes.append(invalid(path, shown, _CONFLICT))
        taken.add(target)
    return causes


def _paths(name: str, source: Obj) -> Iterable[str]:
    if name in {"configMap", "secret", "downwardAPI"}:
        return [item["path"] for item in source.get("items", ()) if item.get("path")]
    if name == "podCertificate":
        fields = ("credentialBundlePath", "keyPath", "certificateChainPath")
        return [source[field] for field in fields if source.get(field)]
    return [source.get("path", "")] if name == "clusterTrustBundle" else ()


def _named(source: Obj, path: str, _volume: str) -> list[Cause]:
    causes = [] if source.get("name") else [required(f"{path}.name")]
    return causes + files(source.get("items", ()), f"{path}.items")


def _downward(source: Obj, path: str, _volume: str) -> list[Cause]:
    return [cause for item in source.get("items", ()) for cause in _downward_file(item, path)]


def _token(source: Obj, path: str, volume: str) -> list[Cause]:
    causes: list[Cause] = []
    seconds = source.get("expirationSeconds", 3600)
    if seconds < _TOKEN_SECONDS_MIN:
        causes.append(invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    if seconds > _TOKEN_SECONDS_MAX:
        why = "may not specify a duration larger than 2^32 seconds"
        causes.append(invalid(f"{path}.expirationSeconds", seconds, why))
    # Upstream names the volume here, not the source.
    return causes + _target(source, f"{volume}.path")


def _trust_bundle(source: Obj, path: str, _volume: str) -> list[Cause]:
    path = path.removesuffix("clusterTrustBundle") + "clusterTrustBundlePEM"  # as upstream spells it
    name, signer = source.get("name"), source.get("signerName")
    causes: list[Cause] = []
    if name is not None and signer is not None:
        shown = Struct("core.v1.ClusterTrustBundleProjection", source)
        causes.append(invalid(path, shown, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            causes.append(required(f"{path}.name", "must be a valid object name"))
        wrong = _bundle_name(name)
        causes += [invalid(f"{path}.name", name, f"not a valid clustertrustbundlename: {why}") for why in wrong]
        if "labelSelector" in source:
            shown = Struct("meta.v1.LabelSelector", source["labelSelector"])
            causes.append(invalid(f"{path}.labelSelector", shown, "labelSelector must be unset if name is specified"))
    elif signer is not None:
        if not signer:
            causes.append(required(f"{path}.signerName", "must be a valid signer name"))
        causes += _signer_name(signer, f"{path}.signerName")
        causes += label_selector(source.get("labelSelector", {}), f"{path}.labelSelector")
    else:
        causes.append(required(path, "either name or signerName must be specified"))
    return causes + _target(source, f"{path}.path")


def _bundle_name(name: str) -> Sequence[str]:
    """A bundle of a signer is named after it: `example.com:foo:bar`."""
    *_, last = name.split(":")
    return names.dns_subdomain(last)


def _signer_name(name: str, path: str) -> list[Cause]:
    domain, slash, rest = name.partition("/")
    if not slash or not rest:
        return [invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")]
    wrong = [*names.dns_subdomain(domain)]
    if "." not in domain:
        wrong.append("should be a domain with at least two segments separated by dots")
    wrong += [why for part in rest.split(".") for why in names.dns_subdomain(part)]
    return [invalid(path, name, why) for why in wrong]


def _certificate(source: Obj, path: str, _volume: str) -> list[Cause]:
    causes = _signer_name(source.get("signerName", ""), f"{path}.signerName")
    for field in ("credentialBundlePath", "keyPath", "certificateChainPath"):
        if source.get(field):
            causes += unreserved_path(source[field], f"{path}.{field}")
    return causes


_PROJECTIONS: Final = {
    "secret": _named,
    "configMap": _named,
    "downwardAPI": _downward,
    "serviceAccountToken": _token,
    "clusterTrustBundle": _trust_bundle,
    "podCertificate": _certificate,
}
_ORDER: Final = tuple(_PROJECTIONS)
