"""Validate the volume sources of particular storage systems, beyond the fields that they need.

Source: upstream's `validateISCSIVolumeSource`, `validateFCVolumeSource` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import invalid, not_supported, required
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
_BYTE_MAX: Final = 255
_TENANT_CHARS_MAX: Final = 64
_PAIRS: Final = "must be a host:port pair or multiple pairs separated by commas"
_QUALIFIED_NAMES: Final[Mapping[str, re.Pattern[str]]] = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9-.]+)(:[^,;*&$|\s]+)"),
    "eui": re.compile(r"eui\.[A-Za-z0-9]{16}"),
    "naa": re.compile(r"naa\.[A-Za-z0-9]{32}"),
}
_CACHING: Final = ("None", "ReadOnly", "ReadWrite")
_DISK_KINDS: Final = ("Dedicated", "Managed", "Shared")
_MANAGED_FORM: Final = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
_BLOB_FORM: Final = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"


def _partition(source: Obj, path: str) -> list[Cause]:
    number = source.get("partition", 0)
    why = names.INCLUSIVE.format(1, _BYTE_MAX)
    return [] if 0 <= number <= _BYTE_MAX else [invalid(f"{path}.partition", number, why)]


def _lun(number: int, path: str) -> list[Cause]:
    return [] if 0 <= number <= _BYTE_MAX else [invalid(path, number, names.INCLUSIVE.format(0, _BYTE_MAX))]


def _iscsi(source: Obj, path: str) -> list[Cause]:
    causes = [required(f"{path}.{name}") for name in ("targetPortal", "iqn") if not source.get(name)]
    if source.get("iqn"):
        causes += _qualified(source["iqn"], f"{path}.iqn")
    causes += _lun(source.get("lun", 0), f"{path}.lun")
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and "secretRef" not in source:
        causes.append(required(f"{path}.secretRef"))
    if "initiatorName" in source:
        causes += _qualified(source["initiatorName"], f"{path}.initiatorname")
    return causes


def _qualified(name: str, path: str) -> list[Cause]:
    form = _QUALIFIED_NAMES.get(name[:3])
    if form is None:
        return [invalid(path, name, "must be valid format starting with iqn, eui, or naa")]
    return [] if form.fullmatch(name) else [invalid(path, name, "must be valid format")]


def _fibre_channel(source: Obj, path: str) -> list[Cause]:
    targets, ids, lun = source.get("targetWWNs", []), source.get("wwids", []), source.get("lun")
    causes: list[Cause] = []
    if not targets and not ids:
        causes.append(required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both"))
    if targets and ids:
        why = "targetWWNs and wwids can not be specified simultaneously"
        causes.append(invalid(f"{path}.targetWWNs", targets, why))
    if targets and lun is None:
        causes.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
    return causes + _lun(lun, f"{path}.lun") if targets and lun is not None else causes


def _quobyte(source: Obj, path: str) -> list[Cause]:
    registry = source.get("registry", "")
    causes: list[Cause] = []
    if not registry:
        causes.append(required(f"{path}.registry", _PAIRS))
    elif len(source.get("tenant", "")) > _TENANT_CHARS_MAX:
        why = f"must be a UUID and may not exceed a length of {_TENANT_CHARS_MAX} characters"
        causes.append(required(f"{path}.tenant", why))
    else:
        unpaired = (pair for pair in registry.split(",") if not re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*):[^:]*", pair))
        causes += [invalid(f"{path}.registry", registry, _PAIRS) for _ in unpaired]
    return causes if source.get("volume") else [*causes, required(f"{path}.volume")]


def _flocker(source: Obj, path: str) -> list[Cause]:
    name, uid = source.get("datasetName", ""), source.get("datasetUUID", "")
    causes: list[Cause] = []
    if not name and not uid:
        causes.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uid:
        causes.append(invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
    if "/" in name:
        causes.append(invalid(f"{path}.datasetName", name, "must not contain '/'"))
    return causes


def _flex(source: Obj, path: str) -> list[Cause]:
    why = "kubernetes.io and k8s.io namespaces are reserved"
    spaces = {key: "." + key.partition("/")[0].lower() for key in source.get("options", {})}
    return [
        invalid(f"{path}.options[{key}]", key, why)
        for key, space in spaces.items()
        if space.endswith((".kubernetes.io", ".k8s.io"))
    ]


def _azure_disk(source: Obj, path: str) -> list[Cause]:
    caching, kind, uri = source.get("cachingMode"), source.get("kind"), source.get("diskURI", "")
    causes: list[Cause] = []
    if caching is not None and caching not in _CACHING:
        causes.append(not_supported(f"{path}.cachingMode", caching, _CACHING))
    if kind is not None and kind not in _DISK_KINDS:
        causes.append(not_supported(f"{path}.kind", kind, _DISK_KINDS))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        causes.append(not_supported(f"{path}.diskURI", uri, (_MANAGED_FORM,)))
    if kind not in {None, "Managed"} and not uri.startswith("https://"):
        causes.append(not_supported(f"{path}.diskURI", uri, (_BLOB_FORM,)))
    return causes


def _storage_os(source: Obj, path: str) -> list[Cause]:
    name, namespace = source.get("volumeName", ""), source.get("volumeNamespace", "")
    causes = [] if name else [required(f"{path}.volumeName")]
    for field, text in (("volumeName", name), ("volumeNamespace", namespace)):
        causes += [invalid(f"{path}.{field}", text, why) for why in names.dns_label(text) if text]
    return causes + _secret(source, path)


def _secret(source: Obj, path: str) -> list[Cause]:
    if "secretRef" not in source or source["secretRef"].get("name"):
        return []
    return [required(f"{path}.secretRef.name")]


PLUGIN_RULES: Final[Mapping[str, Callable[[Obj, str], list[Cause]]]] = {
    "gcePersistentDisk": _partition,
    "awsElasticBlockStore": _partition,
    "iscsi": _iscsi,
    "fc": _fibre_channel,
    "quobyte": _quobyte,
    "flocker": _flocker,
    "flexVolume": _flex,
    "azureDisk": _azure_disk,
    "storageos": _storage_os,
    "cinder": _secret,
}
