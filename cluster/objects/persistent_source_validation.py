"""Validate the sources of PersistentVolumes: what each needs to be found and mounted.

Source: upstream's `validate…PersistentVolumeSource` functions in pkg/apis/core/validation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from oarlock.cluster.objects import names
from oarlock.cluster.objects.causes import invalid, not_supported, required
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_validation import HOST_PATH_TYPES, driver_name

Obj = Mapping[str, Any]
Rule = Callable[[Obj, str], list[Cause]]
_BYTE_RANGE: Final = names.INCLUSIVE.format(0, 255)
_QUALIFIED_TARGET: Final = re.compile(r"iqn\.\d{4}-\d{2}\.([a-z0-9-_]+\.)+[a-z]+(:[^,;*&$|\s]+)\Z")
_TARGET_FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    "iqn": _QUALIFIED_TARGET,
    "eui": re.compile(r"eui\.[0-9A-Fa-f]{16}\Z"),
    "naa": re.compile(r"naa\.[0-9A-Fa-f]{32}\Z"),
}
_CACHING: Final = ("None", "ReadOnly", "ReadWrite")
_DISK_KINDS: Final = ("Dedicated", "Managed", "Shared")
_MANAGED_DISK: Final = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
_BLOB_DISK: Final = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"


def source(name: str, given: Obj, path: str) -> list[Cause]:
    """What is wrong with a volume's source of the kind `name`, which stands at `path`."""
    causes = [required(f"{path}.{field}") for field in _REQUIRED.get(name, ()) if not given.get(field)]
    rule = _RULES.get(name)
    return causes + rule(given, path) if rule is not None else causes


def _no_backsteps(text: str, path: str) -> list[Cause]:
    return [invalid(path, text, "must not contain '..'")] if ".." in text.split("/") else []


def _host_path(given: Obj, path: str) -> list[Cause]:
    if not given.get("path"):
        return []
    causes = _no_backsteps(given["path"], f"{path}.path")
    if given.get("type", "") not in HOST_PATH_TYPES:
        causes.append(not_supported(f"{path}.type", given["type"], HOST_PATH_TYPES))
    return causes


def _local(given: Obj, path: str) -> list[Cause]:
    return _no_backsteps(given.get("path", ""), f"{path}.path")


def _partitioned(given: Obj, path: str) -> list[Cause]:
    number = given.get("partition", 0)
    return [] if 0 <= number <= 255 else [invalid(f"{path}.partition", number, _BYTE_RANGE)]


def _glusterfs(given: Obj, path: str) -> list[Cause]:
    namespace, place = given.get("endpointsNamespace"), f"{path}.endpointsNamespace"
    if namespace is None:
        return []
    if not namespace:
        return [invalid(place, namespace, "if the endpointnamespace is set, it must be a valid namespace name")]
    return [invalid(place, namespace, why) for why in names.dns_label(namespace)]


def _flocker(given: Obj, path: str) -> list[Cause]:
    name, identity = given.get("datasetName", ""), given.get("datasetUUID", "")
    if not name and not identity:
        return [required(path, "one of datasetName and datasetUUID is required")]
    if name and identity:
        return [invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously")]
    return [invalid(f"{path}.datasetName", name, "must not contain '/'")] if "/" in name else []


def _nfs(given: Obj, path: str) -> list[Cause]:
    text = given.get("path", "")
    return [] if text.startswith("/") else [invalid(f"{path}.path", text, "must be an absolute path")]


def _quobyte(given: Obj, path: str) -> list[Cause]:
    registry, tenant = given.get("registry", ""), given.get("tenant", "")
    causes = []
    if not registry:
        why = "must be a host:port pair or multiple pairs separated by commas"
        causes.append(required(f"{path}.registry", why))
    elif len(tenant) >= 65:
        causes.append(required(f"{path}.tenant", "must be a UUID and may not exceed a length of 64 characters"))
    else:
        why = "must be a host:port pair or multiple pairs separated by commas"
        causes += [
            invalid(f"{path}.registry", registry, why)
            for one in registry.split(",")
            if not all(one.rpartition(":")[::2]) and ":" not in one
        ]
    return causes if given.get("volume") else [*causes, required(f"{path}.volume")]


def _secret(given: Obj, path: str, *fields: str) -> list[Cause]:
    reference = given.get("secretRef")
    if reference is None:
        return []
    return [required(f"{path}.secretRef.{field}") for field in fields if not reference.get(field)]


def _cinder(given: Obj, path: str) -> list[Cause]:
    return _secret(given, path, "name", "namespace")


def _storage_os(given: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for field in ("volumeName", "volumeNamespace"):
        text = given.get(field, "")
        causes += [invalid(f"{path}.{field}", text, why) for why in names.dns_label(text) if text]
    return causes + _secret(given, path, "name", "namespace")


def _iscsi(given: Obj, path: str) -> list[Cause]:
    causes = _target(given.get("iqn", ""), f"{path}.iqn")
    if not 0 <= given.get("lun", 0) <= 255:
        causes.append(invalid(f"{path}.lun", given["lun"], _BYTE_RANGE))
    authenticated = given.get("chapAuthDiscovery") or given.get("chapAuthSession")
    if authenticated and given.get("secretRef") is None:
        causes.append(required(f"{path}.secretRef"))
    causes += _secret(given, path, "name")
    initiator = given.get("initiatorName")
    return causes if initiator is None else causes + _target(initiator, f"{path}.initiatorname")


def _target(text: str, path: str) -> list[Cause]:
    if not text:
        return []
    form = next((form for start, form in _TARGET_FORMS.items() if text.startswith(start)), None)
    if form is None:
        return [invalid(path, text, "must be valid format starting with iqn, eui, or naa")]
    return [] if form.match(text) else [invalid(path, text, "must be valid format")]


def _fibre_channel(given: Obj, path: str) -> list[Cause]:
    targets, wide, lun = given.get("targetWWNs") or (), given.get("wwids") or (), given.get("lun")
    causes: list[Cause] = []
    if not targets and not wide:
        why = "must specify either targetWWNs or wwids, but not both"
        causes.append(required(f"{path}.targetWWNs", why))
    if targets and wide:
        why = "targetWWNs and wwids can not be specified simultaneously"
        causes.append(invalid(f"{path}.targetWWNs", targets, why))
    if targets and lun is None:
        causes.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
    elif targets and not 0 <= (lun or 0) <= 255:
        causes.append(invalid(f"{path}.lun", lun, _BYTE_RANGE))
    return causes


def _flex(given: Obj, path: str) -> list[Cause]:
    why = "kubernetes.io and k8s.io namespaces are reserved"
    return [
        invalid(f"{path}.options[{key}]", key, why)
        for key in given.get("options") or {}
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io"))
    ]


def _azure_file(given: Obj, path: str) -> list[Cause]:
    return [required(f"{path}.secretNamespace")] if given.get("secretNamespace") == "" else []


def _azure_disk(given: Obj, path: str) -> list[Cause]:
    causes = []
    for field, choices in (("cachingMode", _CACHING), ("kind", _DISK_KINDS)):
        if field in given and given[field] not in choices:
            causes.append(not_supported(f"{path}.{field}", given[field], choices))
    kind, uri = given.get("kind"), given.get("diskURI", "")
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        causes.append(not_supported(f"{path}.diskURI", uri, (_MANAGED_DISK,)))
    if kind not in {None, "Managed"} and not uri.startswith("https://"):
        causes.append(not_supported(f"{path}.diskURI", uri, (_BLOB_DISK,)))
    return causes


_CSI_SECRETS: Final = (
    *("controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"),
)


def _csi(given: Obj, path: str) -> list[Cause]:
    causes = driver_name(given.get("driver", ""), f"{path}.driver")
    if not given.get("volumeHandle"):
        causes.append(required(f"{path}.volumeHandle"))
    for field in _CSI_SECRETS:
        if field in given:
            causes += _secret_reference(given[field], f"{path}.{field}")
    return causes


def _secret_reference(reference: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for field, rule in (("name", names.dns_subdomain), ("namespace", names.dns_label)):
        text = reference.get(field, "")
        if not text:
            causes.append(required(f"{path}.{field}"))
        else:
            causes += [invalid(f"{path}.{field}", text, why) for why in rule(text)]
    return causes


#: The fields that a source must have, in upstream's order.
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "awsElasticBlockStore": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "flexVolume": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "glusterfs": ("endpoints", "path"),
    "hostPath": ("path",),
    "iscsi": ("targetPortal", "iqn"),
    "local": ("path",),
    "nfs": ("server", "path"),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "rbd": ("monitors", "image"),
    "scaleIO": ("gateway", "system", "volumeName"),
    "storageos": ("volumeName",),
    "vsphereVolume": ("volumePath",),
}
_RULES: Final[Mapping[str, Rule]] = {
    "awsElasticBlockStore": _partitioned,
    "azureDisk": _azure_disk,
    "azureFile": _azure_file,
    "cinder": _cinder,
    "csi": _csi,
    "fc": _fibre_channel,
    "flexVolume": _flex,
    "flocker": _flocker,
    "gcePersistentDisk": _partitioned,
    "glusterfs": _glusterfs,
    "hostPath": _host_path,
    "iscsi": _iscsi,
    "local": _local,
    "nfs": _nfs,
    "quobyte": _quobyte,
    "storageos": _storage_os,
}
#: The order in which upstream looks for sources, and the name by which a cause calls one where that is not its own.
ORDER: Final = (
    *("hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte"),
    *("cephfs", "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk"),
    *("portworxVolume", "azureDisk", "scaleIO", "local", "storageos", "csi"),
)
CALLED: Final[Mapping[str, str]] = {"gcePersistentDisk": "persistentDisk"}
CALLED_IF_FORBIDDEN: Final[Mapping[str, str]] = {"cephfs": "cephFS"}
