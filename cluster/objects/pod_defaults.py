"""Defaults of Pods and pod templates.

Source: upstream's `pkg/apis/core/v1/defaults.go`. A tuple of (field, value) pairs is a table of plain defaults;
functions hold what depends on other fields. All work in place on canonical objects (see conforming).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Final

Obj = MutableMapping[str, Any]
Table = tuple[tuple[str, Any], ...]

POD_SPEC: Final[Table] = (
    ("restartPolicy", "Always"),
    ("terminationGracePeriodSeconds", 30),
    ("dnsPolicy", "ClusterFirst"),
    ("schedulerName", "default-scheduler"),
)
CONTAINER: Final[Table] = (
    ("terminationMessagePath", "/dev/termination-log"),
    ("terminationMessagePolicy", "File"),
)
PROBE: Final[Table] = (
    ("timeoutSeconds", 1),
    ("periodSeconds", 10),
    ("successThreshold", 1),
    ("failureThreshold", 3),
)
HTTP_GET: Final[Table] = (("path", "/"), ("scheme", "HTTP"))
#: Plain defaults inside a volume's source, by the source's name.
VOLUME_SOURCES: Final[Mapping[str, Table]] = {
    "secret": (("defaultMode", 0o644),),
    "configMap": (("defaultMode", 0o644),),
    "downwardAPI": (("defaultMode", 0o644),),
    "projected": (("defaultMode", 0o644),),
    "hostPath": (("type", ""),),
    "iscsi": (("iscsiInterface", "default"),),
    "rbd": (("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")),
    "scaleIO": (("storageMode", "ThinProvisioned"), ("fsType", "xfs")),
    "azureDisk": (("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4"), ("readOnly", False)),
}


def fill(obj: Obj, table: Table) -> None:
    """Set the table's fields that `obj` lacks."""
    for name, value in table:
        if name not in obj:
            obj[name] = value


def pod(obj: Obj) -> None:
    """Defaults of a Pod: its spec's, and those that templates do not get."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("enableServiceLinks", True)
    pod_spec(spec)
    for container in (*(spec["containers"] or ()), *spec.get("initContainers", ())):
        requests_from_limits(container["resources"])
        if spec.get("hostNetwork"):
            for port in container.get("ports", ()):
                if "hostPort" not in port and "containerPort" in port:
                    port["hostPort"] = port["containerPort"]
    if "resources" in spec:
        _pod_level_requests(spec)


def template(holder: Obj) -> None:
    """Defaults of the pod template in `holder["template"]`; upstream always writes both of its structs."""
    inner = holder.setdefault("template", {})
    inner.setdefault("metadata", {})
    pod_spec(inner.setdefault("spec", {}))


def pod_spec(spec: Obj) -> None:
    """Defaults of a pod spec, in a Pod or in a template."""
    fill(spec, POD_SPEC)
    if "securityContext" not in spec:
        spec["securityContext"] = {}
    _same_account(spec)
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            container_defaults(container)
    if "containers" not in spec:
        spec["containers"] = None
    for one in spec.get("volumes", ()):
        volume(one)


def _same_account(spec: Obj) -> None:
    """`serviceAccount` is the older name of `serviceAccountName`; upstream answers with both."""
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def container_defaults(container: Obj) -> None:
    """Defaults of one container of any sort."""
    fill(container, CONTAINER)
    if "resources" not in container:
        container["resources"] = {}
    if "imagePullPolicy" not in container:
        container["imagePullPolicy"] = pull_policy(container.get("image", ""))
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for variable in container.get("env", ()):
        field_ref(variable.get("valueFrom", {}))
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            probe(container[name])
    for handler in container.get("lifecycle", {}).values():
        if isinstance(handler, dict):
            http_get(handler)


_REFERENCE: Final = re.compile(
    r"(?:[A-Za-z0-9][-A-Za-z0-9.]*(?::\d+)?/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?P<digest>@[A-Za-z][\w+.-]*:[0-9a-fA-F]{32,})?\Z",
    re.ASCII,
)
_REFERENCE_MAX: Final = 255


@lru_cache(maxsize=1024)
def pull_policy(image: str) -> str:
    """Always for the tag `latest`, named or implied; IfNotPresent for every other image, unreadable ones too."""
    match = _REFERENCE.match(image)
    if match is None or len(image) > _REFERENCE_MAX:
        return "IfNotPresent"
    tag = match["tag"] or ("" if match["digest"] else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def probe(obj: Obj) -> None:
    """Defaults of a probe and of its handler."""
    fill(obj, PROBE)
    http_get(obj)
    if "grpc" in obj:
        obj["grpc"].setdefault("service", "")


def http_get(handler: Obj) -> None:
    """Defaults of the HTTP action in a probe or lifecycle handler."""
    if "httpGet" in handler:
        fill(handler["httpGet"], HTTP_GET)


def field_ref(source: Mapping[str, Any]) -> None:
    """A field reference speaks of v1 unless it says otherwise."""
    if "fieldRef" in source:
        source["fieldRef"].setdefault("apiVersion", "v1")


def volume(obj: Obj) -> None:
    """Defaults of a volume: an empty directory where no source is named."""
    if len(obj) == ("name" in obj):
        obj["emptyDir"] = {}
        return
    for name, table in VOLUME_SOURCES.items():
        if name in obj:
            fill(obj[name], table)
    _volume_items(obj.get("downwardAPI", {}).get("items", ()))
    for source in obj.get("projected", {}).get("sources", ()):
        _volume_items(source.get("downwardAPI", {}).get("items", ()))
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    if "projected" in obj:
        obj["projected"].setdefault("sources", None)
    claim = obj.get("ephemeral", {}).get("volumeClaimTemplate")
    if claim is not None:
        claim.setdefault("metadata", {})
        spec = claim.setdefault("spec", {})
        spec.setdefault("volumeMode", "Filesystem")
        spec.setdefault("resources", {})


def _volume_items(items: Iterable[Mapping[str, Any]]) -> None:
    for item in items:
        field_ref(item)
        if "resourceFieldRef" in item:
            item["resourceFieldRef"].setdefault("divisor", "0")


def requests_from_limits(resources: Obj) -> None:
    """A limit without a request is also the request."""
    limits = resources.get("limits")
    if limits:
        requests = resources.setdefault("requests", {})
        for name, amount in limits.items():
            requests.setdefault(name, amount)


def _pod_level_requests(spec: Obj) -> None:
    """A pod-level limit is also the pod-level request, where no container requests the resource."""
    resources = spec["resources"]
    for name, amount in resources.get("limits", {}).items():
        if name not in resources.get("requests", {}) and not _requested(spec, name):
            resources.setdefault("requests", {})[name] = amount


def _requested(spec: Mapping[str, Any], name: str) -> bool:
    containers = (*(spec.get("containers") or ()), *spec.get("initContainers", ()))
    return any(name in container.get("resources", {}).get("requests", {}) for container in containers)
