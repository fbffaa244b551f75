"""Validate a pod's volumes, and the claims that they carry with them.

Source: upstream's `validateVolumeSource` and `ValidatePersistentVolumeClaimSpec`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import names, quantity
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_supported, required
from oarlock.cluster.objects.container_validation import local_path
from oarlock.cluster.objects.field_references import VOLUME_FIELDS, field_ref, resource_field_ref
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES: Final = ("Block", "Filesystem")
HOST_PATH_TYPES: Final = (
    *("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"),
)
_MODE_MAX: Final = 0o777
_MODE_RULE: Final = "must be a number between 0 and 0777 (octal), both inclusive"
_TOKEN_SECONDS_MIN: Final = 600
_TOKEN_SECONDS_MAX: Final = 2**32


def volumes(items: Sequence[Obj], path: str, pod_name: str | None) -> tuple[list[Cause], set[str]]:
    """What is wrong with a pod's volumes, and the names of the good ones, which mounts may use.

    `pod_name` is that of a Pod, whose ephemeral claims are named after it, and None in templates.
    """
    causes: list[Cause] = []
    good: set[str] = set()
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        wrong = _source(item, place)
        name = item.get("name", "")
        if not name:
            wrong.append(required(f"{place}.name"))
        elif names.dns_label(name):
            wrong += [invalid(f"{place}.name", name, why) for why in names.dns_label(name)]
        elif name in good:
            wrong.append(duplicate(f"{place}.name", name))
        if not wrong:
            good.add(name)
        causes += wrong
        if "ephemeral" in item and pod_name and name:
            claim = f"{pod_name}-{name}"
            causes += [
                invalid(f"{place}.name", name, f'PVC name "{claim}": {why}') for why in names.dns_subdomain(claim)
            ]
    return causes, good


def _source(item: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    given = [name for name in item if name != "name"]
    if not given:
        return [required(path, "must specify a volume type")]
    first, *more = sorted(given, key=_position)
    causes += _check(first, item[first], f"{path}.{first}")
    causes += [forbidden(f"{path}.{name}", "may not specify more than 1 volume type") for name in more]
    return causes


def _position(name: str) -> int:
    """Where upstream looks at a source: only the first one found is looked into."""
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _check(name: str, source: Obj, path: str) -> list[Cause]:
    rule = _SOURCES.get(name)
    if rule is not None:
        return rule(source, path)
    return [required(f"{path}.{field}") for field in _REQUIRED.get(name, ()) if not source.get(field)]


def _empty_dir(source: Obj, path: str) -> list[Cause]:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.parse(limit).nano < 0:
        return [forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def _host_path(source: Obj, path: str) -> list[Cause]:
    place = source.get("path", "")
    if not place:
        return [required(f"{path}.path")]
    causes: list[Cause] = []
    if ".." in place.split("/"):
        causes.append(invalid(f"{path}.path", place, "must not contain '..'"))
    if source.get("type", "") not in HOST_PATH_TYPES:
        causes.append(not_supported(f"{path}.type", source["type"], HOST_PATH_TYPES))
    return causes


def _named(field: str) -> Callable[[Obj, str], list[Cause]]:
    """A ConfigMap or Secret as a volume: its name, mode and items."""

    def check(source: Obj, path: str) -> list[Cause]:
        causes = [] if source.get(field) else [required(f"{path}.{field}")]
        causes += mode(source.get("defaultMode"), f"{path}.defaultMode")
        return causes + _items(source.get("items", ()), f"{path}.items")

    return check


def _items(items: Sequence[Obj], path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        if not item.get("key"):
            causes.append(required(f"{place}.key"))
        causes += _target(item, f"{place}.path")
        causes += mode(item.get("mode"), f"{place}.mode")
    return causes


def _target(item: Obj, path: str) -> list[Cause]:
    target = item.get("path", "")
    if not target:
        return [required(path)]
    causes = local_path(target, path)
    if target.startswith("..") and not causes:
        causes.append(invalid(path, target, "must not start with '..'"))
    return causes


def mode(value: int | None, path: str) -> list[Cause]:
    """What is wrong with the permission bits of a file."""
    return [] if value is None or 0 <= value <= _MODE_MAX else [invalid(path, value, _MODE_RULE)]


def _downward_api(source: Obj, path: str) -> list[Cause]:
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
            causes.append(
                invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
            )
    elif "resourceFieldRef" in item:
        causes += resource_field_ref(item["resourceFieldRef"], f"{path}.resourceFieldRef", volume=True)
    else:
        causes.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return causes + mode(item.get("mode"), f"{path}.mode")


def _projected(source: Obj, path: str) -> list[Cause]:
    causes = mode(source.get("defaultMode"), f"{path}.defaultMode")
    paths: set[str] = set()
    for index, item in enumerate(source.get("sources") or ()):
        place = f"{path}.sources[{index}]"
        for at, name in enumerate(item):
            if at:
                causes.append(forbidden(f"{place}.{name}", "may not specify more than 1 volume type"))
            else:
                causes += _projection(name, item[name], f"{place}.{name}")
        causes += _projected_paths(item, path, paths)
    return causes


def _projection(name: str, source: Obj, path: str) -> list[Cause]:
    if name in {"configMap", "secret"}:
        causes = [] if source.get("name") else [required(f"{path}.name")]
        return causes + _items(source.get("items", ()), f"{path}.items")
    if name == "downwardAPI":
        return [cause for item in source.get("items", ()) for cause in _downward_file(item, path)]
    if name == "serviceAccountToken":
        return _token(source, path)
    return []


def _token(source: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    seconds = source.get("expirationSeconds", 3600)
    if seconds < _TOKEN_SECONDS_MIN:
        causes.append(invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    elif seconds > _TOKEN_SECONDS_MAX:
        causes.append(
            invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
        )
    if not source.get("path"):
        causes.append(required(f"{path}.path"))
    else:
        causes += local_path(source["path"], f"{path}.path")
    return causes


def _projected_paths(item: Obj, path: str, seen: set[str]) -> list[Cause]:
    """Files of several sources may not fall on the same path, unless one file is a token."""
    causes: list[Cause] = []
    for name in ("configMap", "secret", "downwardAPI"):
        for file in item.get(name, {}).get("items", ()):
            target = file.get("path", "")
            if target and target in seen:
                causes.append(invalid(path, target, "conflicting duplicate paths"))
            seen.add(target)
    return causes


def _claim_source(source: Obj, path: str) -> list[Cause]:
    return [] if source.get("claimName") else [required(f"{path}.claimName")]


def _nfs(source: Obj, path: str) -> list[Cause]:
    causes = [required(f"{path}.{name}") for name in ("server", "path") if not source.get(name)]
    if not source.get("path", "").startswith("/"):
        causes.append(invalid(f"{path}.path", source.get("path", ""), "must be an absolute path"))
    return causes


def _csi(source: Obj, path: str) -> list[Cause]:
    causes = driver_name(source.get("driver", ""), f"{path}.driver")
    secret = source.get("nodePublishSecretRef")
    if secret is not None and not secret.get("name"):
        causes.append(required(f"{path}.nodePublishSecretRef.name"))
    return causes


def driver_name(text: str, path: str) -> list[Cause]:
    """What is wrong with the name of a CSI driver."""
    if not text:
        return [required(path)]
    causes = [] if len(text) <= 63 else [Cause("FieldValueTooLong", "Too long: may not be more than 63 bytes", path)]
    return causes + [invalid(path, text, why) for why in names.dns_subdomain(text.lower())]


def _ephemeral(source: Obj, path: str) -> list[Cause]:
    template = source.get("volumeClaimTemplate")
    if template is None:
        return [required(f"{path}.volumeClaimTemplate")]
    return claim_spec(template.get("spec", {}), f"{path}.volumeClaimTemplate.spec")


def claim_spec(spec: Obj, path: str) -> list[Cause]:
    """What is wrong with the spec of a PersistentVolumeClaim."""
    causes: list[Cause] = []
    modes = spec.get("accessModes", ())
    if not modes:
        causes.append(required(f"{path}.accessModes", "at least 1 access mode is required"))
    if "selector" in spec:
        causes += label_selector(spec["selector"], f"{path}.selector")
    causes += [not_supported(f"{path}.accessModes", one, ACCESS_MODES) for one in modes if one not in ACCESS_MODES]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        why = "may not use ReadWriteOncePod with other access modes"
        causes.append(forbidden(f"{path}.accessModes", why))
    storage = spec.get("resources", {}).get("requests", {}).get("storage")
    if storage is None:
        causes.append(required(f"{path}.resources[storage]"))
    else:
        causes += positive(storage, f"{path}.resources[storage]")
    name = spec.get("storageClassName")
    if name:
        causes += [invalid(f"{path}.storageClassName", name, why) for why in names.dns_subdomain(name)]
    kind = spec.get("volumeMode")
    if kind is not None and kind not in VOLUME_MODES:
        causes.append(not_supported(f"{path}.volumeMode", kind, VOLUME_MODES))
    for field in ("dataSource", "dataSourceRef"):
        if field in spec:
            causes += _data_source(spec[field], f"{path}.{field}")
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and ref is not None:
        if ref.get("namespace"):
            why = "may not be specified when dataSourceRef.namespace is specified"
            causes.append(invalid(path, f"{path}.dataSource", why))
        elif source != {name: value for name, value in ref.items() if name != "namespace"}:
            causes.append(invalid(path, f"{path}.dataSource", "must match dataSourceRef"))
    name = spec.get("volumeAttributesClassName")
    if name:
        causes += [invalid(f"{path}.volumeAttributesClassName", name, why) for why in names.dns_subdomain(name)]
    return causes


def positive(amount: str, path: str) -> list[Cause]:
    """What is wrong with an amount that must be above zero."""
    return [] if quantity.parse(amount).nano > 0 else [invalid(path, amount, "must be greater than zero")]


def _data_source(source: Obj, path: str) -> list[Cause]:
    causes = [required(f"{path}.{name}") for name in ("name", "kind") if not source.get(name)]
    group = source.get("apiGroup", "")
    if not group and source.get("kind") != "PersistentVolumeClaim":
        why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        causes.append(invalid(path, source.get("kind", ""), why))
    if group:
        causes += [invalid(f"{path}.apiGroup", group, why) for why in names.dns_subdomain(group)]
    namespace = source.get("namespace")
    if namespace:
        causes += [invalid(f"{path}.namespace", namespace, why) for why in names.dns_label(namespace)]
    return causes


#: What a source needs, where that is all there is to check.
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "gitRepo": ("repository",),
    "glusterfs": ("endpoints", "path"),
    "cephfs": ("monitors",),
    "rbd": ("monitors", "image"),
    "flexVolume": ("driver",),
    "azureFile": ("secretName", "shareName"),
    "azureDisk": ("diskName", "diskURI"),
    "awsElasticBlockStore": ("volumeID",),
    "gcePersistentDisk": ("pdName",),
    "cinder": ("volumeID",),
    "vsphereVolume": ("volumePath",),
    "portworxVolume": ("volumeID",),
    "quobyte": ("registry", "volume"),
    "iscsi": ("targetPortal", "iqn"),
    "flocker": (),
    "storageos": ("volumeName",),
    "scaleIO": ("gateway", "system", "volumeName"),
}
_SOURCES: Final[Mapping[str, Callable[[Obj, str], list[Cause]]]] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "secret": _named("secretName"),
    "configMap": _named("name"),
    "downwardAPI": _downward_api,
    "projected": _projected,
    "persistentVolumeClaim": _claim_source,
    "nfs": _nfs,
    "csi": _csi,
    "ephemeral": _ephemeral,
}
_ORDER: Final = (
    *("emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi"),
    *("glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc"),
    *("flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume"),
    *("azureDisk", "storageos", "projected", "scaleIO", "csi", "ephemeral", "image"),
)
