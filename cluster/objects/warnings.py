"""What a client is told of an object that is accepted, and of a kind that shouldn't be used any more.

Source: WarningsOnCreate and WarningsOnUpdate of upstream's strategies (`pkg/registry/*/*/strategy.go`), which are asked
once validation has found nothing wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from oarlock.cluster.objects import names, pod_warnings
from oarlock.cluster.objects.address_warnings import of_address, of_range
from oarlock.cluster.objects.key_pairs import problem
from oarlock.cluster.objects.known import Known
from oarlock.cluster.objects.resources import Resource

Obj = dict[str, Any]
Rule = Callable[[Obj], Iterable[str]]

_DEPRECATED: Final[Mapping[tuple[str, str], str]] = {
    ("", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
    ("", "endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}
_LABEL_IS_BETTER: Final = "which can result in surprising behavior; a DNS label is recommended:"
_CLASS_ANNOTATION: Final = "volume.beta.kubernetes.io/storage-class"
_MOUNT_ANNOTATION: Final = "volume.beta.kubernetes.io/mount-options"
_INGRESS_CLASS: Final = "kubernetes.io/ingress.class"
_TOPOLOGY_HINTS: Final = "service.kubernetes.io/topology-aware-hints"
_TRACKED_COMPLETIONS: Final = 100_000
_TRACKED_PARALLELISM: Final = 10_000


def of_kind(resource: Resource) -> str:
    """What every answer about a kind says of it, or ""."""
    return _DEPRECATED.get((resource.group, resource.plural), "")


def of_create(resource: Resource, obj: Obj) -> list[str]:
    """What is to be said of a new object."""
    rule = _CREATE.get((resource.group, resource.kind))
    return list(dict.fromkeys(rule(obj))) if rule is not None else []


def of_update(resource: Resource, new: Obj, old: Obj, subresource: str) -> list[str]:
    """What is to be said of a changed object: of workloads only when the specification has changed."""
    rule = _UPDATE.get((resource.group, resource.kind))
    if rule is None or subresource:
        return []
    by_generation = (resource.group, resource.kind) in _BY_GENERATION
    if by_generation and new["metadata"].get("generation") == old["metadata"].get("generation"):
        return []
    return list(dict.fromkeys(rule(new)))


def _named(what: str, obj: Obj) -> Iterator[str]:
    problems = names.dns_label(obj["metadata"].get("name", ""))
    if problems:
        yield f"metadata.name: this is used in {what}, {_LABEL_IS_BETTER} [{' '.join(problems)}]"


def _pod(obj: Obj) -> Iterator[str]:
    yield from _named("the Pod's hostname", obj)
    said = (obj["metadata"].get("annotations"), obj.get("spec"))
    yield from _HARMLESS.checked(said, lambda: list(pod_warnings.of_template("", obj)))


_HARMLESS: Final = Known()


def _template(obj: Obj) -> Iterator[str]:
    yield from pod_warnings.of_template("template", obj.get("template") or {})


def _of_spec(obj: Obj) -> Iterator[str]:
    template = obj["spec"].get("template")
    if template:
        yield from pod_warnings.of_template("spec.template", template)


def _stateful_set(obj: Obj) -> Iterator[str]:
    yield from _of_spec(obj)
    for index, claim in enumerate(obj["spec"].get("volumeClaimTemplates") or ()):
        yield from pod_warnings.of_claim(f"spec.volumeClaimTemplates[{index}]", claim.get("spec") or {})
    if (obj["spec"].get("revisionHistoryLimit") or 0) < 0:
        yield (
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
        )


def _job_spec(path: str, spec: Obj) -> Iterator[str]:
    many = (spec.get("completions") or 0) > _TRACKED_COMPLETIONS
    if spec.get("completionMode") == "Indexed" and many and (spec.get("parallelism") or 0) > _TRACKED_PARALLELISM:
        yield (
            "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
            "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    yield from pod_warnings.of_template(f"{path}.template", spec.get("template") or {})


def _job(obj: Obj) -> Iterator[str]:
    yield from _job_spec("spec", obj["spec"])


def _cron_job(obj: Obj) -> Iterator[str]:
    yield from _job_spec("spec.jobTemplate.spec", obj["spec"]["jobTemplate"].get("spec") or {})
    if "TZ" in obj["spec"].get("schedule", ""):
        yield (
            "cannot use TZ or CRON_TZ in spec.schedule, use timeZone instead, see "
            "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )


def _named_and(rule: Rule) -> Rule:
    def both(obj: Obj) -> Iterator[str]:
        yield from _named("Pod names and hostnames", obj)
        yield from rule(obj)

    return both


def _service(obj: Obj) -> Iterator[str]:
    spec = obj["spec"]
    kind, external = spec.get("type"), spec.get("externalIPs") or ()
    headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    if _TOPOLOGY_HINTS in (obj["metadata"].get("annotations") or {}):
        yield f"annotation {_TOPOLOGY_HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
    if spec.get("clusterIP") not in (None, "", "None"):
        for index, address in enumerate(spec.get("clusterIPs") or ()):
            yield from of_address(f"spec.clusterIPs[{index}]", address)
    if headless:
        if spec.get("loadBalancerIP"):
            yield "spec.loadBalancerIP is ignored for headless services"
        if external:
            yield "spec.externalIPs is ignored for headless services"
        if spec.get("sessionAffinity") != "None":
            yield "spec.SessionAffinity is ignored for headless services"
    for index, address in enumerate(external):
        yield from of_address(f"spec.externalIPs[{index}]", address)
    if external and not headless and kind != "ExternalName":
        yield "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
    if spec.get("loadBalancerIP"):
        yield from of_address("spec.loadBalancerIP", spec["loadBalancerIP"])
    for index, block in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        yield from of_range(f"spec.loadBalancerSourceRanges[{index}]", block)
    if kind == "ExternalName" and external:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if kind != "ExternalName" and spec.get("externalName"):
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.get("trafficDistribution") == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def _annotated(obj: Obj, name: str, message: str) -> Iterator[str]:
    if name in (obj["metadata"].get("annotations") or {}):
        yield f"metadata.annotations[{name}]: {message}"


def _volume(obj: Obj) -> Iterator[str]:
    spec = obj["spec"]
    yield from _annotated(obj, _CLASS_ANNOTATION, 'deprecated since v1.8; use "storageClassName" attribute instead')
    yield from _annotated(obj, _MOUNT_ANNOTATION, 'deprecated since v1.31; use "mountOptions" attribute instead')
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        yield (
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended "
            "approach is to use dynamic provisioning."
        )
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    for index, term in enumerate(terms):
        yield from pod_warnings.of_term(f"spec.nodeAffinity.required.nodeSelectorTerms[{index}]", term)
    for kind, message in pod_warnings.VOLUMES.items():
        if kind in spec:
            yield f"spec.{'storageOS' if kind == 'storageos' else kind}: {message}"


def _claim(obj: Obj) -> Iterator[str]:
    yield from _annotated(obj, _CLASS_ANNOTATION, 'deprecated since v1.8; use "storageClassName" attribute instead')
    yield from pod_warnings.of_claim("spec", obj["spec"])


def _storage_class(obj: Obj) -> Iterator[str]:
    for index, topology in enumerate(obj.get("allowedTopologies") or ()):
        for number, expression in enumerate(topology.get("matchLabelExpressions") or ()):
            if message := pod_warnings.of_node_label(expression["key"]):
                yield f"allowedTopologies[{index}].matchLabelExpressions[{number}].key: {message}"


def _storage_capacity(obj: Obj) -> Iterator[str]:
    topology = obj.get("nodeTopology") or {}
    yield from pod_warnings.of_term("nodeTopology", topology)
    for key in topology.get("matchLabels") or ():
        if message := pod_warnings.of_node_label(key):
            yield f"nodeTopology.matchLabels.{key}: {message}"


def _runtime_class(obj: Obj) -> Iterator[str]:
    for key in (obj.get("scheduling") or {}).get("nodeSelector") or ():
        if message := pod_warnings.of_node_label(key):
            yield f"scheduling.nodeSelector: {message}"


def _secret(obj: Obj) -> Iterator[str]:
    if obj.get("type") == "kubernetes.io/tls":
        data = obj.get("data") or {}
        if found := problem(data.get("tls.crt", ""), data.get("tls.key", "")):
            yield found


def _driver(obj: Obj) -> Iterator[str]:
    spec = obj["spec"]
    if spec.get("tokenRequests") and spec.get("serviceAccountTokenInSecrets") is None:
        yield (
            "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent "
            "possible logging of tokens in volume attributes"
        )


def _ingress(obj: Obj) -> Iterator[str]:
    if _INGRESS_CLASS in (obj["metadata"].get("annotations") or {}) and "ingressClassName" not in obj["spec"]:
        yield f"annotation \"{_INGRESS_CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"


def _network_policy(obj: Obj) -> Iterator[str]:
    for side, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(obj["spec"].get(side) or ()):
            for number, peer in enumerate(rule.get(peers) or ()):
                where, block = f"spec.{side}[{index}].{peers}[{number}].ipBlock", peer.get("ipBlock") or {}
                yield from of_range(f"{where}.cidr", block.get("cidr", ""))
                for place, excepted in enumerate(block.get("except") or ()):
                    yield from of_range(f"{where}.except[{place}]", excepted)


def _endpoints(obj: Obj) -> Iterator[str]:
    for index, subset in enumerate(obj.get("subsets") or ()):
        for kind in ("addresses", "notReadyAddresses"):
            for number, address in enumerate(subset.get(kind) or ()):
                yield from of_address(f"subsets[{index}].{kind}[{number}].ip", address.get("ip", ""))


def _endpoint_slice(obj: Obj) -> Iterator[str]:
    if obj.get("addressType") == "FQDN":
        yield "addressType: FQDN endpoints are deprecated"
        return
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        for number, address in enumerate(endpoint.get("addresses") or ()):
            yield from of_address(f"endpoints[{index}].addresses[{number}]", address)


def _node(obj: Obj) -> Iterator[str]:
    spec = obj.get("spec") or {}
    if spec.get("externalID"):
        yield "spec.externalID: this field is deprecated, and is unused by Kubernetes"
    for index, block in enumerate(spec.get("podCIDRs") or ()):
        yield from of_range(f"spec.podCIDRs[{index}]", block)


_WORKLOADS: Final[Mapping[tuple[str, str], Rule]] = {
    ("", "ReplicationController"): _of_spec,
    ("apps", "Deployment"): _of_spec,
    ("apps", "ReplicaSet"): _of_spec,
    ("apps", "StatefulSet"): _stateful_set,
    ("batch", "CronJob"): _cron_job,
    ("batch", "Job"): _job,
}
_UNNAMED: Final[Mapping[tuple[str, str], Rule]] = {("", "PodTemplate"): _template, ("apps", "DaemonSet"): _of_spec}
_ALWAYS: Final[Mapping[tuple[str, str], Rule]] = {
    ("", "Endpoints"): _endpoints,
    ("", "Node"): _node,
    ("", "PersistentVolume"): _volume,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Secret"): _secret,
    ("", "Service"): _service,
    ("discovery.k8s.io", "EndpointSlice"): _endpoint_slice,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("node.k8s.io", "RuntimeClass"): _runtime_class,
    ("storage.k8s.io", "CSIStorageCapacity"): _storage_capacity,
    ("storage.k8s.io", "StorageClass"): _storage_class,
}
_BY_GENERATION: Final = frozenset({*_WORKLOADS, *_UNNAMED})
_CREATE: Final[Mapping[tuple[str, str], Rule]] = {
    **{kind: _named_and(rule) for kind, rule in _WORKLOADS.items()},
    **_UNNAMED,
    **_ALWAYS,
    ("", "Pod"): _pod,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("storage.k8s.io", "CSIDriver"): _driver,
}
_UPDATE: Final[Mapping[tuple[str, str], Rule]] = {**_WORKLOADS, **_UNNAMED, **_ALWAYS}
"""Pods are left out: people seldom change them, and others do all the time."""
