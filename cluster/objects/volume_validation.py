"""Validate a pod's volumes, and the claims that they carry with them.

Source: upstream's `validateVolumeSource` and `ValidatePersistentVolumeClaimSpec`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import metadata_validation, names, quantity
from oarlock.cluster.objects.causes import duplicate, forbidden, invalid, not_supported, required
from oarlock.cluster.objects.gotext import quote
from oarlock.cluster.objects.projected_validation import downward_api, files, mode, projected
from oarlock.cluster.objects.scheduling_validation import label_selector
from oarlock.cluster.objects.status import Cause
from oarlock.cluster.objects.volume_paths import local_path
from oarlock.cluster.objects.volume_source_validation import PLUGIN_RULES

Obj = Mapping[str, Any]
ACCESS_MODES: Final = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
VOLUME_MODES: Final = ("Block", "Filesystem")
HOST_PATH_TYPES: Final = (
    *("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"),
)


def volumes(items: Sequence[Obj], path: str, pod_name: str | None) -> tuple[list[Cause], set[str]]:
    """What is wrong with a pod's volumes, and the names of the good ones, which mounts may use.

    `pod_name` is that of a Pod, whose ephemeral claims are named after it, and None in templates.
    """
    causes: list[Cause] = []
    good: set[str] = set()
    for index, item in enumerate(items):
        place, name = f"{path}[{index}]", item.get("name", "")
        wrong = _source(item, place)
        if pod_name and name and "ephemeral" in item:
            wrong += _claim_name(f"{pod_name}-{name}", name, f"{place}.name")
        if not name:
            wrong.append(required(f"{place}.name"))
        elif names.dns_label(name):
            wrong += [invalid(f"{place}.name", name, why) for why in names.dns_label(name)]
        elif name in good:
            wrong.append(duplicate(f"{place}.name", name))
        if not wrong:
            good.add(name)
        causes += wrong
    return causes, good


def _claim_name(claim: str, name: str, path: str) -> list[Cause]:
    return [invalid(path, name, f"PVC name {quote(claim)}: {why}") for why in names.dns_subdomain(claim)]


def _source(item: Obj, path: str) -> list[Cause]:
    causes: list[Cause] = []
    given = [name for name in item if name != "name"]
    if len(given) == 1:
        return _check(given[0], item[given[0]], f"{path}.{given[0]}")
    if not given:
        return [required(path, "must specify a volume type")]
    first, *more = sorted(given, key=_position)
    causes += _check(first, item[first], f"{path}.{first}")
    why = "may not specify more than 1 volume type"
    return causes + [forbidden(f"{path}.{_SPELLED.get(name, name)}", why) for name in more]


#: As upstream spells two of the sources when they are too many.
_SPELLED: Final = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}


def _position(name: str) -> int:
    """Where upstream looks at a source: only the first one found is looked into."""
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _check(name: str, source: Obj, path: str) -> list[Cause]:
    rule = _SOURCES.get(name)
    if name not in _REQUIRED:
        return rule(source, path) if rule is not None else PLUGIN_RULES[name](source, path)
    causes = [required(f"{path}.{field}") for field in _REQUIRED[name] if not source.get(field)]
    rule = rule or PLUGIN_RULES.get(name)
    return causes + rule(source, path) if rule is not None else causes


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
        return causes + files(source.get("items", ()), f"{path}.items")

    return check


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
    if secret is None:
        return causes
    name = secret.get("name", "")
    if not name:
        return [*causes, required(f"{path}.nodePublishSecretRef.name")]
    # Upstream names the source here, not the reference.
    return causes + [invalid(f"{path}.name", name, why) for why in names.dns_subdomain(name)]


def _image(source: Obj, path: str) -> list[Cause]:
    reference, policy = source.get("reference", ""), source.get("pullPolicy")
    causes = [] if reference else [required(f"{path}.reference")]
    if policy not in PULL_POLICIES:
        place = f"{path}.pullPolicy"
        causes.append(not_supported(place, policy, PULL_POLICIES) if policy else required(place))
    return causes


def _git_repo(source: Obj, path: str) -> list[Cause]:
    return local_path(source.get("directory", ""), f"{path}.directory")


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
    place = f"{path}.volumeClaimTemplate"
    causes = _template_metadata(template.get("metadata", {}), f"{place}.metadata")
    return causes + claim_spec(template.get("spec", {}), f"{place}.spec")


def _template_metadata(metadata: Obj, path: str) -> list[Cause]:
    """Of a claim template's metadata only labels and annotations are used, so nothing else may be set."""
    causes = metadata_validation.annotations(metadata.get("annotations", {}), f"{path}.annotations")
    causes += metadata_validation.labels(metadata.get("labels", {}), f"{path}.labels")
    others = (name for name in metadata if name not in {"annotations", "labels", "creationTimestamp"})
    return causes + [forbidden(f"{path}.{name}", "cannot be set") for name in others]


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
    "photonPersistentDisk": ("pdID",),
    "scaleIO": ("gateway", "system", "volumeName"),
}
_SOURCES: Final[Mapping[str, Callable[[Obj, str], list[Cause]]]] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "secret": _named("secretName"),
    "configMap": _named("name"),
    "downwardAPI": downward_api,
    "projected": projected,
    "persistentVolumeClaim": _claim_source,
    "nfs": _nfs,
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
    "gitRepo": _git_repo,
}
_ORDER: Final = (
    *("emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi"),
    *("glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc"),
    *("flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume"),
    *("azureDisk", "storageos", "projected", "scaleIO", "csi", "ephemeral", "image"),
)
