"""What scheduling needs to know of pods and nodes, parsed once when an object arrives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from oarlock.actors.scheduler.devices.extended import Needs, needs_of
from oarlock.actors.scheduler.devices.wanting import PodClaim, pod_claims
from oarlock.actors.scheduler.pod_volumes import Disk, claims, disk_of
from oarlock.actors.scheduler.resizing import resized
from oarlock.actors.scheduler.selection import (
    NodeTerm,
    PodTerm,
    Taint,
    Toleration,
    narrowed,
    node_term,
    pod_term,
    taints,
    tolerations,
)
from oarlock.cluster.objects import quantity
from oarlock.cluster.objects.selectors import LabelSelector, from_object

Object = Mapping[str, Any]
Amounts = dict[str, int]
"""Amounts by resource name: cpu in thousandths, everything else in units (bytes, pieces)."""
HostPort = tuple[str, str, int]
"""(protocol, host address, port)."""

CPU, MEMORY, PODS = "cpu", "memory", "pods"
DEFAULT_CPU, DEFAULT_MEMORY = 100, 200 * 1024 * 1024
"""What scores assume of a container that requests nothing. Source: upstream's scheduler util `non_zero.go`."""
_ANY_ADDRESS = "0.0.0.0"  # noqa: S104
PREEMPTION_REASON = "PreemptionByScheduler"
_RESTART_ALWAYS = "Always"
_QUANTITIES_MAX = 4096


@dataclass(frozen=True, slots=True)
class SpreadConstraint:
    """One topologySpreadConstraint; `required` is DoNotSchedule."""

    max_skew: int
    topology_key: str
    required: bool
    selector: LabelSelector
    min_domains: int
    honor_affinity: bool
    honor_taints: bool


class Group(NamedTuple):
    """What pods have in common that no selector tells apart: most pods of a workload are one group."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    terminating: bool


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod. `requests` are the pod's effective ones; `scored` has the assumed amounts in place of missing ones.

    `created` and `started` are time stamps, empty if not set; `preempted` says that it ends to make room.
    """

    key: str
    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    node_name: str
    scheduler_name: str
    priority: int
    preempts: bool
    created: str
    started: str
    nominated_node: str
    preempted: bool
    gates: tuple[str, ...]
    requests: Amounts
    scored: tuple[int, int]
    host_ports: tuple[HostPort, ...]
    images: tuple[str, ...]
    node_selector: Mapping[str, str]
    node_required: tuple[NodeTerm, ...] | None
    node_preferred: tuple[tuple[int, NodeTerm], ...]
    tolerations: tuple[Toleration, ...]
    spread: tuple[SpreadConstraint, ...]
    affinity: tuple[PodTerm, ...]
    anti_affinity: tuple[PodTerm, ...]
    preferred_affinity: tuple[PodTerm, ...]
    preferred_anti_affinity: tuple[PodTerm, ...]
    terminating: bool
    group: Group
    owner: tuple[str, str]
    """(Kind, name) of the controller it belongs to."""
    claims: tuple[tuple[str, bool], ...]
    """(Name, whether it is made along with the pod) of each PersistentVolumeClaim it uses."""
    disks: tuple[Disk, ...]
    device_claims: tuple[PodClaim, ...]
    needs: tuple[Needs, ...]
    """What its containers ask for, if any of it may be devices."""

    @property
    def requests_nothing(self) -> bool:
        return not any(self.requests.values())

    def tolerates(self, taint: Taint) -> bool:
        return any(one.tolerates(taint) for one in self.tolerations)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node. `images` maps every known name of an image to its bytes."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    unschedulable: bool
    allocatable: Amounts
    images: Mapping[str, int]


def node_facts(node: Object) -> NodeFacts:
    """Read a Node object."""
    spec, status, metadata = node.get("spec") or {}, node.get("status") or {}, node["metadata"]
    images = {name: image.get("sizeBytes") or 0 for image in status.get("images") or () for name in image["names"]}
    return NodeFacts(
        metadata["name"],
        metadata.get("labels") or {},
        taints(spec.get("taints") or ()),
        bool(spec.get("unschedulable")),
        amounts(status.get("allocatable") or {}),
        images,
    )


def pod_facts(pod: Object, priority_of: Mapping[str, int] | None = None) -> PodFacts:
    """Read a Pod object. `priority_of` resolves a class name where admission has not filled in `spec.priority`."""
    spec, metadata, status = pod["spec"], pod["metadata"], pod.get("status") or {}
    namespace, labels = metadata.get("namespace") or "default", metadata.get("labels") or {}
    terminating = bool(metadata.get("deletionTimestamp"))
    volumes = spec.get("volumes") or ()
    requests, scored = _needed(resized(spec, status))
    priority = spec.get("priority")
    if priority is None:
        priority = (priority_of or {}).get(spec.get("priorityClassName") or "", 0)
    affinity = spec.get("affinity")
    terms = _terms(affinity, namespace, labels) if affinity else _NO_TERMS
    return PodFacts(
        key=f"{namespace}/{metadata['name']}",
        namespace=namespace,
        name=metadata["name"],
        uid=metadata.get("uid") or "",
        labels=labels,
        node_name=spec.get("nodeName") or "",
        scheduler_name=spec.get("schedulerName") or "default-scheduler",
        priority=priority,
        preempts=spec.get("preemptionPolicy") != "Never",
        created=metadata.get("creationTimestamp") or "",
        started=status.get("startTime") or "",
        nominated_node=status.get("nominatedNodeName") or "",
        preempted=terminating and any(map(_is_preemption, status.get("conditions") or ())),
        gates=tuple(gate["name"] for gate in gates) if (gates := spec.get("schedulingGates")) else (),
        requests=requests,
        scored=scored,
        host_ports=tuple(_host_ports(spec)),
        images=_images(spec),
        node_selector=spec.get("nodeSelector") or {},
        node_required=terms.node_required,
        node_preferred=terms.node_preferred,
        tolerations=tolerations(spec.get("tolerations") or ()),
        spread=tuple(_spread(one, labels) for one in some) if (some := spec.get("topologySpreadConstraints")) else (),
        affinity=terms.near,
        anti_affinity=terms.apart,
        preferred_affinity=terms.rather_near,
        preferred_anti_affinity=terms.rather_apart,
        terminating=terminating,
        group=Group(namespace, tuple(sorted(labels.items())), terminating),
        owner=_owner(metadata),
        claims=tuple(claims(metadata["name"], volumes)) if volumes else (),
        disks=tuple(disk for volume in volumes if (disk := disk_of(volume)) is not None) if volumes else (),
        device_claims=pod_claims(spec, status) if spec.get("resourceClaims") else (),
        needs=needs_of(spec),
    )


class _Terms(NamedTuple):
    """What a pod's affinity says."""

    node_required: tuple[NodeTerm, ...] | None = None
    node_preferred: tuple[tuple[int, NodeTerm], ...] = ()
    near: tuple[PodTerm, ...] = ()
    apart: tuple[PodTerm, ...] = ()
    rather_near: tuple[PodTerm, ...] = ()
    rather_apart: tuple[PodTerm, ...] = ()


_NO_TERMS = _Terms()


def _terms(affinity: Object, namespace: str, labels: Mapping[str, str]) -> _Terms:
    node = affinity.get("nodeAffinity") or {}
    near, apart = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    required = node.get(_REQUIRED)
    return _Terms(
        tuple(map(node_term, required["nodeSelectorTerms"])) if required else None,
        tuple((one["weight"], node_term(one["preference"])) for one in node.get(_PREFERRED) or ()),
        tuple(pod_term(one, namespace, labels) for one in near.get(_REQUIRED) or ()),
        tuple(pod_term(one, namespace, labels) for one in apart.get(_REQUIRED) or ()),
        _preferred_terms(near, namespace, labels),
        _preferred_terms(apart, namespace, labels),
    )


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def amounts(quantities: Mapping[str, Any]) -> Amounts:
    """Return resource quantities as whole numbers."""
    return {name: _milli(value) if name == CPU else _whole(value) for name, value in quantities.items()}


_milli, _whole = lru_cache(_QUANTITIES_MAX)(quantity.milli), lru_cache(_QUANTITIES_MAX)(quantity.whole)
"""Most pods ask for what another one has asked for."""


def _requests(container: Object) -> Amounts:
    return amounts((container.get("resources") or {}).get("requests") or {})


def _needed(spec: Object) -> tuple[Amounts, tuple[int, int]]:
    """Return the effective requests and what is scored; most pods have nothing but containers that run together."""
    if spec.get("initContainers") or spec.get("resources") or spec.get("overhead"):
        return _effective(spec, _requests), _scored(spec)
    total: Amounts = {}
    cpu = memory = 0
    for container in spec.get("containers") or ():
        requests = _requests(container)
        cpu += requests.get(CPU, DEFAULT_CPU)
        memory += requests.get(MEMORY, DEFAULT_MEMORY)
        for name, amount in requests.items():
            if amount:
                total[name] = total.get(name, 0) + amount
    return total, (cpu, memory)


def _scored(spec: Object) -> tuple[int, int]:
    """Return (cpu, memory) with the assumed amounts for containers that request none."""

    def assumed(container: Object) -> Amounts:
        requests = _requests(container)
        return {CPU: requests.get(CPU, DEFAULT_CPU), MEMORY: requests.get(MEMORY, DEFAULT_MEMORY)}

    total = _effective(spec, assumed)
    return total.get(CPU, 0), total.get(MEMORY, 0)


def _effective(spec: Object, requests_of: Any) -> Amounts:
    """Return the larger of what runs together and what any init container needs, sidecars and overhead added.

    Requests of the pod as a whole replace those of its containers. Source: KEP-753 (sidecars), KEP-2837.
    """
    together: Counter[str] = Counter()
    for container in spec.get("containers") or ():
        together.update(requests_of(container))
    sidecars: Counter[str] = Counter()
    peak: Counter[str] = Counter()
    for container in spec.get("initContainers") or ():
        needs = Counter(requests_of(container))
        if container.get("restartPolicy") == _RESTART_ALWAYS:
            sidecars.update(needs)
            peak |= sidecars
        else:
            peak |= needs + sidecars
    together.update(sidecars)
    total = Amounts(together | peak)
    total.update(amounts((spec.get("resources") or {}).get("requests") or {}))
    for name, amount in amounts(spec.get("overhead") or {}).items():
        total[name] = total.get(name, 0) + amount
    return total


def _host_ports(spec: Object) -> Iterable[HostPort]:
    containers = spec.get("containers") or ()
    for container in (*_sidecars(spec), *containers) if spec.get("initContainers") else containers:
        for port in container.get("ports") or ():
            if number := port.get("hostPort") or 0:
                yield port.get("protocol") or "TCP", port.get("hostIP") or _ANY_ADDRESS, number


def _images(spec: Object) -> tuple[str, ...]:
    containers = spec.get("containers") or ()
    if spec.get("initContainers"):
        containers = (*spec["initContainers"], *containers)
    return tuple([one.get("image") or "" for one in containers])


def _owner(metadata: Object) -> tuple[str, str]:
    for one in metadata.get("ownerReferences") or ():
        if one.get("controller"):
            return one["kind"], one["name"]
    return "", ""


def _is_preemption(condition: Object) -> bool:
    return (condition.get("type"), condition.get("status"), condition.get("reason")) == (
        "DisruptionTarget",
        "True",
        PREEMPTION_REASON,
    )


def _sidecars(spec: Object) -> Iterable[Object]:
    return (one for one in spec.get("initContainers") or () if one.get("restartPolicy") == _RESTART_ALWAYS)


def _spread(entry: Object, labels: Mapping[str, str]) -> SpreadConstraint:
    return SpreadConstraint(
        entry["maxSkew"],
        entry["topologyKey"],
        entry["whenUnsatisfiable"] == "DoNotSchedule",
        from_object(narrowed(entry.get("labelSelector"), entry.get("matchLabelKeys") or (), labels)),
        entry.get("minDomains") or 1,
        entry.get("nodeAffinityPolicy") != "Ignore",
        entry.get("nodeTaintsPolicy") == "Honor",
    )


def _preferred_terms(entry: Object, namespace: str, labels: Mapping[str, str]) -> tuple[PodTerm, ...]:
    return tuple(
        pod_term(one["podAffinityTerm"], namespace, labels, one["weight"]) for one in entry.get(_PREFERRED) or ()
    )
