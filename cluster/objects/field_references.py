"""Validate references from a pod to its own fields, its containers' resources, and keys of ConfigMaps and Secrets.

Source: upstream's `validateEnvVarValueFrom`, `validateObjectFieldSelector`, `validateContainerResourceFieldSelector`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from oarlock.cluster.objects import names, quantity
from oarlock.cluster.objects.causes import invalid, not_supported, required
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
ENV_FIELDS: Final = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
VOLUME_FIELDS: Final = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
RESOURCES: Final = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_SUBSCRIPT: Final = re.compile(r"(metadata\.(?:annotations|labels))\['(.+)'\]\Z")
_CPU_DIVISORS: Final = frozenset({"1", "1m"})
_BYTE_DIVISORS: Final = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
#: Fields of a pod that the conversion of field labels knows, beyond those an env variable may show.
_KNOWN_LABELS: Final = frozenset(
    {
        *ENV_FIELDS,
        *VOLUME_FIELDS,
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.hostNetwork",
        "status.phase",
        "status.nominatedNodeName",
        "spec.host",
    }
)
_SOURCES: Final = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def env_source(item: Obj, path: str, volumes: Collection[str]) -> list[Cause]:
    """What is wrong with the `valueFrom` (at `path`) of an environment variable."""
    source = item["valueFrom"]
    causes: list[Cause] = []
    given = [name for name in _SOURCES if name in source]
    for name in given:
        place = f"{path}.{name}"
        if name == "fieldRef":
            causes += field_ref(source[name], place, ENV_FIELDS)
        elif name == "resourceFieldRef":
            causes += resource_field_ref(source[name], place, volume=False)
        elif name == "fileKeyRef":
            causes += _file_key(source[name], place, volumes)
        else:
            causes += key_ref(source[name], place)
    if not given:
        listed = ", ".join(f"`{name}`" for name in _SOURCES[:-1])
        causes.append(invalid(path, "", f"must specify one of: {listed} or `fileKeyRef`"))
    elif item.get("value"):
        causes.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        causes.append(invalid(path, "", "may not have more than one field specified at a time"))
    return causes


def _file_key(source: Obj, path: str, volumes: Collection[str]) -> list[Cause]:
    causes = [] if source.get("key") else [required(f"{path}.key")]
    name = source.get("volumeName", "")
    if not name:
        causes.append(required(f"{path}.volumeName"))
    elif name not in volumes:
        causes.append(invalid(f"{path}.volumeName", name, "volume not found"))
    if not source.get("path"):
        causes.append(required(f"{path}.path"))
    return causes


def key_ref(source: Obj, path: str) -> list[Cause]:
    """What is wrong with a reference to a key of a ConfigMap or Secret."""
    name, key = source.get("name", ""), source.get("key", "")
    causes = [invalid(f"{path}.name", name, why) for why in names.dns_subdomain(name)]
    if not key:
        return [*causes, required(f"{path}.key")]
    return causes + [invalid(f"{path}.key", key, why) for why in names.config_key(key)]


def field_ref(source: Obj, path: str, allowed: Collection[str]) -> list[Cause]:
    """What is wrong with a reference to a field of the pod."""
    if not source.get("apiVersion"):
        return [required(f"{path}.apiVersion")]
    field = source.get("fieldPath", "")
    if not field:
        return [required(f"{path}.fieldPath")]
    match = _SUBSCRIPT.match(field)
    if match is not None:
        key = match[2].lower() if match[1].endswith("annotations") else match[2]
        return [invalid(path, match[2], why) for why in names.qualified_name(key)]
    if field not in _KNOWN_LABELS:
        why = f"error converting fieldPath: field label not supported: {field}"
        return [invalid(f"{path}.fieldPath", field, why)]
    return [] if field in allowed else [not_supported(f"{path}.fieldPath", field, sorted(allowed))]


def resource_field_ref(source: Obj, path: str, *, volume: bool) -> list[Cause]:
    """What is wrong with a reference to a container's resource."""
    if volume and not source.get("containerName"):
        return [required(f"{path}.containerName")]
    resource = source.get("resource", "")
    if not resource:
        return [required(f"{path}.resource")]
    if resource not in RESOURCES and not re.match(r"(limits|requests)\.hugepages-", resource):
        return [not_supported(f"{path}.resource", resource, RESOURCES)]
    return _divisor(resource, source.get("divisor", "0"), f"{path}.divisor")


def _divisor(resource: str, divisor: str, path: str) -> list[Cause]:
    text = str(quantity.parse(divisor))
    if text == "0":
        return []
    kind = resource.partition(".")[2]
    if kind == "cpu":
        if text in _CPU_DIVISORS:
            return []
        return [invalid(path, resource, "only divisor's values 1m and 1 are supported with the cpu resource")]
    if text in _BYTE_DIVISORS:
        return []
    word = "hugepages" if kind.startswith("hugepages-") else kind.replace("ephemeral-", "local ephemeral ")
    why = f"only divisor's values {', '.join(_BYTE_DIVISORS)} are supported with the {word} resource"
    return [invalid(path, resource, why)]
