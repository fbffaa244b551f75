"""What a pod's or a template's author is told although the object is accepted.

Source: upstream's `pkg/api/pod/warnings.go`, `pkg/api/node/util.go`, `pkg/api/persistentvolumeclaim/util.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from oarlock.cluster.objects import quantity
from oarlock.cluster.objects.address_warnings import of_address
from oarlock.cluster.objects.gotext import quote

Obj = dict[str, Any]
_NO_SELECTOR: Final = "a null labelSelector results in matching no pod"
_LABELS: Final[Mapping[str, str]] = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
_ANNOTATIONS: Final[Mapping[str, str]] = {
    "scheduler.alpha.kubernetes.io/critical-pod": (
        'non-functional in v1.16+; use the "priorityClassName" field instead'
    ),
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
VOLUMES: Final[Mapping[str, str]] = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_SHOWN: Final = {"storageos": "storageOS"}
_SECCOMP: Final = "seccomp.security.alpha.kubernetes.io/pod"
_CONTAINER_SECCOMP: Final = "container.seccomp.security.alpha.kubernetes.io/"
_APPARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_FIELD: Final = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_BYTES: Final = ("memory", "ephemeral-storage")


def of_template(path: str, template: Obj) -> Iterator[str]:
    """What is to be said of a template at `path`; of a pod where that is empty."""
    spec, metadata = template.get("spec") or {}, template.get("metadata") or {}
    root = f"{path}." if path else ""
    yield from _labels(f"{root}spec", spec)
    yield from _annotations(root, metadata)
    yield from _volumes(f"{root}spec.volumes", spec.get("volumes") or ())
    yield from _names(f"{root}spec", spec)
    yield from _fractions(f"{root}spec.overhead", spec.get("overhead") or {})
    annotations = metadata.get("annotations") or {}
    security = spec.get("securityContext") or {}
    if "seccompProfile" not in security and _SECCOMP in annotations:
        yield f"{root}metadata.annotations[{_SECCOMP}]: {_SECCOMP_FIELD}"
    for where, container in _containers(f"{root}spec", spec):
        own = container.get("securityContext") or {}
        key = _CONTAINER_SECCOMP + container["name"]
        if "seccompProfile" not in own and key in annotations:
            yield f"{root}metadata.annotations[{key}]: {_SECCOMP_FIELD}"
        key = _APPARMOR + container["name"]
        if path and "appArmorProfile" not in own and "appArmorProfile" not in security and key in annotations:
            yield f'{root}metadata.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead'
        for kind in ("limits", "requests"):
            yield from _fractions(f"{where}.resources.{kind}", (container.get("resources") or {}).get(kind) or {})
        yield from _hidden(f"{where}.env", container.get("env") or ())
    yield from _ports(_containers(f"{root}spec", spec))
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        where = f"{root}spec.terminationGracePeriodSeconds"
        yield f"{where}: must be >= 0; negative values are invalid and will be treated as 1"
    yield from _affinities(f"{root}spec.affinity", spec.get("affinity") or {})


def of_node_label(key: str) -> str | None:
    """Why a label of nodes should not be used, if it should not."""
    return _LABELS.get(key)


def of_claim(path: str, spec: Obj) -> Iterator[str]:
    """What is to be said of a claim's specification."""
    for kind in ("requests", "limits"):
        held = (spec.get("resources") or {}).get(kind) or {}
        yield from _fractions(f"{path}.resources.{kind}", held, ("storage",))


def of_term(path: str, term: Obj) -> Iterator[str]:
    """What is to be said of a node selector term."""
    for index, expression in enumerate(term.get("matchExpressions") or ()):
        if message := _LABELS.get(expression["key"]):
            yield f"{path}.matchExpressions[{index}].key: {expression['key']} is {message}"


def _labels(path: str, spec: Obj) -> Iterator[str]:
    for key in spec.get("nodeSelector") or ():
        if message := _LABELS.get(key):
            yield f"{path}.nodeSelector[{key}]: {message}"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    where = f"{path}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    for index, term in enumerate(required.get("nodeSelectorTerms") or ()):
        yield from of_term(f"{where}[{index}]", term)
    where = f"{path}.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"
    for index, term in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        yield from of_term(f"{where}[{index}].preference", term.get("preference") or {})
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        where = f"{path}.topologySpreadConstraints[{index}]"
        key = constraint.get("topologyKey", "")
        if message := _LABELS.get(key):
            yield f"{where}.topologyKey: {key} is {message}"
        if constraint.get("labelSelector") is None:
            yield f"{where}.labelSelector: {_NO_SELECTOR}"


def _annotations(root: str, metadata: Obj) -> Iterator[str]:
    held = metadata.get("annotations") or {}
    for key, message in _ANNOTATIONS.items():
        if key in held:
            yield f"{root}metadata.annotations[{key}]: {message}"


def _volumes(path: str, volumes: Sequence[Obj]) -> Iterator[str]:
    for index, volume in enumerate(volumes):
        for kind, message in VOLUMES.items():
            if kind in volume:
                yield f"{path}[{index}].{_SHOWN.get(kind, kind)}: {message}"
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template:
            yield from of_claim(f"{path}[{index}].ephemeral.volumeClaimTemplate.spec", template.get("spec") or {})
    for volume in volumes:
        yield from _overlaps(volume)


_FILES: Final = (
    ("configMap", "ConfigMap", "name"),
    ("secret", "Secret", "secretName"),
    ("downwardAPI", "DownwardAPI", ""),
)
"""Volumes of files: their fields, what messages call them, and the field with the name of what they are made of."""


def _overlaps(volume: Obj) -> Iterator[str]:
    """Files of one volume that would stand in each other's place."""
    name = quote(volume["name"])
    for field, title, named in _FILES:
        held = volume.get(field) or {}
        if paths := [(item["path"], "") for item in held.get("items") or ()]:
            source = f"{title} {quote(held.get(named, ''))}" if named else title
            yield from _collisions(f"volume {name} ({source}): overlapping paths:", paths)
    if "projected" not in volume:
        return
    paths = []
    for one in volume["projected"].get("sources") or ():
        if not one:
            yield f"volume {name} (Projected) has no sources provided"
        paths += _projected(one)
    yield from _collisions(f"volume {name} (Projected): overlapping paths:", paths)


def _projected(source: Obj) -> list[tuple[str, str]]:
    for field, title in (("configMap", "ConfigMap"), ("secret", "Secret"), ("downwardAPI", "DownwardAPI")):
        if held := source.get(field):
            named = title if field == "downwardAPI" else f"{title} {quote(held.get('name', ''))}"
            return [(item["path"], named) for item in held.get("items") or ()]
    if token := source.get("serviceAccountToken"):
        return [(token["path"], "ServiceAccountToken")]
    if bundle := source.get("clusterTrustBundle"):
        named = bundle.get("name") or bundle.get("signerName") or ""
        return [(bundle["path"], f"ClusterTrustBundle {quote(named)}")]
    return []


def _collisions(head: str, paths: Iterable[tuple[str, str]]) -> Iterator[str]:
    before: list[tuple[str, str]] = []
    for raw, source in paths:
        path = raw.rstrip("/")
        for other, other_source in before:
            if path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/"):
                yield f"{head} {_place(path, source)} with {_place(other, other_source)}"
        before.append((path, source))


def _place(path: str, source: str) -> str:
    return f"{quote(path)} ({source})" if source else quote(path)


def _names(path: str, spec: Obj) -> Iterator[str]:
    seen: set[str] = set()
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        address = alias.get("ip", "")
        yield from of_address(f"{path}.hostAliases[{index}].ip", address)
        if address in seen:
            yield f"{path}.hostAliases[{index}].ip: duplicate ip {quote(address)}"
        seen.add(address)
    names = [secret.get("name", "") for secret in spec.get("imagePullSecrets") or ()]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"{path}.imagePullSecrets[{index}].name: duplicate name {quote(name)}"
    for index, name in enumerate(names):
        if not name:
            yield f'{path}.imagePullSecrets[{index}].name: invalid empty name ""'


def _fractions(path: str, amounts: Mapping[str, Any], names: Sequence[str] = _BYTES) -> Iterator[str]:
    for name in names:
        if name in amounts and quantity.milli(amounts[name]) % 1000:
            shown = quote(quantity.canonical(amounts[name]))
            yield f"{path}[{name}]: fractional byte value {shown} is invalid, must be an integer"


def _containers(path: str, spec: Obj) -> Iterator[tuple[str, Obj]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(kind) or ()):
            yield f"{path}.{kind}[{index}]", container


def _hidden(path: str, variables: Sequence[Obj]) -> Iterator[str]:
    seen: set[str] = set()
    for index, one in enumerate(variables):
        name, value = one["name"], one.get("value", "")
        if name in seen and (one.get("valueFrom") or value == f"$({name})" or f"$({name})" not in value):
            yield f"{path}[{index}]: hides previous definition of {quote(name)}, which may be dropped when using apply"
        seen.add(name)


def _ports(containers: Iterable[tuple[str, Obj]]) -> Iterator[str]:
    before: dict[tuple[int, str], list[tuple[str, str, int]]] = {}
    for path, container in containers:
        for index, port in enumerate(container.get("ports") or ()):
            where, address, host = f"{path}.ports[{index}]", port.get("hostIP", ""), port.get("hostPort", 0)
            if address and not host:
                shown = f"Name:{port.get('name', '')} HostPort:0 ContainerPort:{port['containerPort']}"
                shown += f" Protocol:{port.get('protocol', '')} HostIP:{address}"
                yield f"{where}: hostIP set without hostPort: {{{shown}}}"
            others = before.setdefault((port["containerPort"], port.get("protocol", "")), [])
            for other, other_address, other_host in others:
                if (address, host) == (other_address, other_host):
                    yield f"{where}: duplicate port definition with {other}"
                elif not host or not other_host:
                    yield f"{where}: overlapping port definition with {other}"
                elif host == other_host and bool(address) != bool(other_address):
                    yield f"{where}: dangerously ambiguous port definition with {other}"
            others.append((where, address, host))


def _affinities(path: str, affinity: Obj) -> Iterator[str]:
    for kind in ("podAffinity", "podAntiAffinity"):
        held = affinity.get(kind) or {}
        where = f"{path}.{kind}.requiredDuringSchedulingIgnoredDuringExecution"
        for index, term in enumerate(held.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            if term.get("labelSelector") is None:
                yield f"{where}[{index}].labelSelector: {_NO_SELECTOR}"
        where = f"{path}.{kind}.preferredDuringSchedulingIgnoredDuringExecution"
        for index, weighted in enumerate(held.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            if (weighted.get("podAffinityTerm") or {}).get("labelSelector") is None:
                yield f"{where}[{index}].podAffinityTerm.labelSelector: {_NO_SELECTOR}"
