"""Fill in what a client may leave out: the defaults of every built-in kind, applied in place.

Source: upstream's `pkg/apis/*/v1/defaults.go`. What depends on other objects (cluster IPs, storage classes) is not
here: the API server adds it. Defaulting twice changes nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

from oarlock.cluster.objects import (
    autoscaling_defaults,
    device_defaults,
    pod_defaults,
    policy_defaults,
    workload_defaults,
)
from oarlock.cluster.objects.custom import defaulting as custom_defaulting
from oarlock.cluster.objects.extensions import definition_defaults
from oarlock.cluster.objects.pod_defaults import Obj, Table, fill
from oarlock.cluster.objects.resources import Resource

RBAC_GROUP: Final = "rbac.authorization.k8s.io"

#: Whole objects' plain defaults at the top level, by (group, kind).
_TOP: Final[Mapping[tuple[str, str], Table]] = {
    ("", "Secret"): (("type", "Opaque"),),
    ("", "Event"): (
        *((name, None) for name in ("eventTime", "firstTimestamp", "lastTimestamp")),
        ("reportingComponent", ""),
        ("reportingInstance", ""),
    ),
    ("events.k8s.io", "Event"): (
        *((name, None) for name in ("eventTime", "deprecatedFirstTimestamp", "deprecatedLastTimestamp")),
    ),
    ("storage.k8s.io", "StorageClass"): (("reclaimPolicy", "Delete"), ("volumeBindingMode", "Immediate")),
    ("scheduling.k8s.io", "PriorityClass"): (("preemptionPolicy", "PreemptLowerPriority"), ("value", 0)),
    (RBAC_GROUP, "Role"): (("rules", None),),
    (RBAC_GROUP, "ClusterRole"): (("rules", None),),
    ("apps", "ControllerRevision"): (("revision", 0),),
    ("discovery.k8s.io", "EndpointSlice"): (("ports", None), ("endpoints", None)),
}

#: Structs that upstream writes even when they are empty, by (group, kind): dotted paths, outer ones first.
_STRUCTS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("", "Event"): ("source",),
    ("", "Namespace"): ("spec", "status"),
    ("", "Node"): ("spec", "status"),
    ("", "PersistentVolume"): ("spec", "status"),
    ("", "PersistentVolumeClaim"): ("spec", "spec.resources", "status"),
    ("", "Pod"): ("spec", "status"),
    ("", "ReplicationController"): ("spec", "status"),
    ("", "ResourceQuota"): ("spec", "status"),
    ("", "LimitRange"): ("spec",),
    ("", "Service"): ("spec", "status", "status.loadBalancer"),
    ("apps", "DaemonSet"): ("spec", "status"),
    ("apps", "Deployment"): ("spec", "spec.strategy", "status"),
    ("apps", "ReplicaSet"): ("spec", "status"),
    ("apps", "StatefulSet"): ("spec", "status"),
    ("batch", "CronJob"): ("spec", "spec.jobTemplate", "spec.jobTemplate.metadata", "spec.jobTemplate.spec", "status"),
    ("batch", "Job"): ("spec", "status"),
    ("networking.k8s.io", "Ingress"): ("spec", "status", "status.loadBalancer"),
    ("networking.k8s.io", "NetworkPolicy"): ("spec",),
    ("networking.k8s.io", "IngressClass"): ("spec",),
    ("networking.k8s.io", "ServiceCIDR"): ("spec", "status"),
    ("policy", "PodDisruptionBudget"): ("spec", "status"),
    ("coordination.k8s.io", "Lease"): ("spec",),
    ("events.k8s.io", "Event"): ("regarding", "deprecatedSource"),
    ("storage.k8s.io", "VolumeAttachment"): ("spec", "spec.source", "status"),
    ("certificates.k8s.io", "CertificateSigningRequest"): ("spec", "status"),
    ("autoscaling", "HorizontalPodAutoscaler"): ("spec", "status"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): ("spec", "status"),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): ("spec", "status"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): ("spec", "status"),
    ("resource.k8s.io", "ResourceClaim"): ("spec", "spec.devices", "status"),
}


#: Times that upstream writes in every condition of a status, as null when they aren't known.
_MOVED: Final[Table] = (("lastTransitionTime", None),)
_PROBED: Final[Table] = (("lastProbeTime", None), *_MOVED)
_UPDATED: Final[Table] = (("lastUpdateTime", None), *_MOVED)
_CONDITION_TIMES: Final[Mapping[tuple[str, str], Table]] = {
    ("", "Namespace"): _MOVED,
    ("", "Node"): (("lastHeartbeatTime", None), *_MOVED),
    ("", "PersistentVolumeClaim"): _PROBED,
    ("", "Pod"): _PROBED,
    ("", "ReplicationController"): _MOVED,
    ("apps", "DaemonSet"): _MOVED,
    ("apps", "Deployment"): _UPDATED,
    ("apps", "ReplicaSet"): _MOVED,
    ("apps", "StatefulSet"): _MOVED,
    ("autoscaling", "HorizontalPodAutoscaler"): _MOVED,
    ("batch", "Job"): _PROBED,
    ("certificates.k8s.io", "CertificateSigningRequest"): _UPDATED,
}


def always_written(resource: Resource) -> tuple[str, ...]:
    """The dotted paths of the structs that are written even when they are empty, outer ones first."""
    return _STRUCTS.get((resource.group, resource.kind), ())


def default(resource: Resource, obj: dict[str, Any]) -> None:
    """Fill in the defaults of an object of `resource`, in place."""
    if resource.custom is not None:
        custom_defaulting.apply(resource.custom.schema, obj)
        return
    key = (resource.group, resource.kind)
    for path in _STRUCTS.get(key, ()):
        holder = obj
        for step in path.split("."):
            holder = holder.setdefault(step, {})
    if key in _TOP:
        fill(obj, _TOP[key])
    rule = _RULES.get(key)
    if rule is not None:
        rule(obj)
    if key in _CONDITION_TIMES:
        for condition in obj.get("status", {}).get("conditions") or ():
            fill(condition, _CONDITION_TIMES[key])


def _secret(obj: Obj) -> None:
    """`stringData` is a way to write `data`: it wins over it and is never kept."""
    written = obj.pop("stringData", None)
    if written:
        data = obj.setdefault("data", {})
        data.update({name: base64.b64encode(text.encode()).decode() for name, text in written.items()})


def _namespace(obj: Obj) -> None:
    name = obj["metadata"].get("name")
    if name:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def _node(obj: Obj) -> None:
    spec, status = obj["spec"], obj["status"]
    if spec.get("podCIDR"):  # the older name of the first range
        spec["podCIDRs"] = [spec["podCIDR"], *spec.get("podCIDRs", ())[1:]]
    elif spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    if "allocatable" not in status and "capacity" in status:
        status["allocatable"] = dict(status["capacity"])
    status.setdefault("daemonEndpoints", {}).setdefault("kubeletEndpoint", {"Port": 0})
    fill(status.setdefault("nodeInfo", {}), _NODE_INFO)


_NODE_INFO: Final[Table] = tuple(
    (name, "")
    for name in (
        *("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion"),
        *("kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture"),
    )
)


def _service(obj: Obj) -> None:
    spec = obj["spec"]
    fill(spec, (("type", "ClusterIP"), ("sessionAffinity", "None")))
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        if port.get("targetPort", 0) in (0, ""):
            port["targetPort"] = port.get("port", 0)
    kind = spec["type"]
    if spec["sessionAffinity"] == "ClientIP":
        affinity = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        affinity.setdefault("timeoutSeconds", 10800)
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    if kind in {"NodePort", "LoadBalancer"} or (spec.get("externalIPs") and kind != "ExternalName"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind in {"ClusterIP", "NodePort", "LoadBalancer"}:
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in obj["status"]["loadBalancer"].get("ingress", ()):
            if "ip" in ingress:
                ingress.setdefault("ipMode", "VIP")


def _endpoints(obj: Obj) -> None:
    for subset in obj.get("subsets", ()):
        for port in subset.get("ports", ()):
            port["protocol"] = port.get("protocol") or "TCP"


def _endpoint_slice(obj: Obj) -> None:
    for port in obj.get("ports") or ():
        fill(port, (("name", ""), ("protocol", "TCP")))
    for endpoint in obj.get("endpoints") or ():
        endpoint.setdefault("conditions", {})
        endpoint.setdefault("addresses", None)


def _persistent_volume(obj: Obj) -> None:
    spec = obj["spec"]
    fill(spec, (("persistentVolumeReclaimPolicy", "Retain"), ("volumeMode", "Filesystem")))
    for name, table in pod_defaults.VOLUME_SOURCES.items():
        if name in spec:
            fill(spec[name], table)
    obj["status"].setdefault("phase", "Pending")


def _persistent_volume_claim(obj: Obj) -> None:
    obj["spec"].setdefault("volumeMode", "Filesystem")
    obj["status"].setdefault("phase", "Pending")


def _network_policy(obj: Obj) -> None:
    spec = obj["spec"]
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
        for port in rule.get("ports", ()):
            port.setdefault("protocol", "TCP")


def _binding(obj: Obj) -> None:
    reference = obj.setdefault("roleRef", {})
    if not reference.get("apiGroup"):
        reference["apiGroup"] = RBAC_GROUP
    for subject in obj.get("subjects", ()):
        if not subject.get("apiGroup") and subject.get("kind") in {"User", "Group"}:
            subject["apiGroup"] = RBAC_GROUP


def _ingress(obj: Obj) -> None:
    spec = obj["spec"]
    backends = [spec.get("defaultBackend", {})]
    for rule in spec.get("rules", ()):
        backends += [path.setdefault("backend", {}) for path in rule.get("http", {}).get("paths") or ()]
    for backend in backends:
        if "resource" in backend:
            backend["resource"].setdefault("apiGroup", None)


def _ingress_class(obj: Obj) -> None:
    if "parameters" in obj["spec"]:
        obj["spec"]["parameters"].setdefault("scope", "Cluster")


def _api_service(obj: Obj) -> None:
    service = obj.setdefault("spec", {}).get("service")
    if service is not None:
        service.setdefault("port", 443)


_RULES: Final[Mapping[tuple[str, str], Callable[[Obj], None]]] = {
    ("", "Endpoints"): _endpoints,
    ("", "LimitRange"): policy_defaults.limit_range,
    ("", "Namespace"): _namespace,
    ("", "Node"): _node,
    ("", "PersistentVolume"): _persistent_volume,
    ("", "PersistentVolumeClaim"): _persistent_volume_claim,
    ("", "Pod"): pod_defaults.pod,
    ("", "PodTemplate"): pod_defaults.template,
    ("", "ReplicationController"): workload_defaults.replication_controller,
    ("", "Secret"): _secret,
    ("", "Service"): _service,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): policy_defaults.admission_policy,
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): policy_defaults.admission_binding,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): policy_defaults.webhooks,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): policy_defaults.webhooks,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): policy_defaults.admission_policy,
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): policy_defaults.admission_binding,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): definition_defaults.definition,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("apps", "DaemonSet"): workload_defaults.daemon_set,
    ("apps", "Deployment"): workload_defaults.deployment,
    ("apps", "ReplicaSet"): workload_defaults.replica_set,
    ("apps", "StatefulSet"): workload_defaults.stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaling_defaults.autoscaler,
    ("batch", "CronJob"): workload_defaults.cron_job,
    ("batch", "Job"): workload_defaults.job,
    ("discovery.k8s.io", "EndpointSlice"): _endpoint_slice,
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): policy_defaults.flow_schema,
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): policy_defaults.priority_level,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("networking.k8s.io", "IngressClass"): _ingress_class,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("policy", "PodDisruptionBudget"): policy_defaults.disruption_budget,
    (RBAC_GROUP, "ClusterRoleBinding"): _binding,
    (RBAC_GROUP, "RoleBinding"): _binding,
    ("resource.k8s.io", "ResourceClaim"): device_defaults.claim,
    ("resource.k8s.io", "ResourceClaimTemplate"): device_defaults.template,
    ("resource.k8s.io", "ResourceSlice"): device_defaults.resource_slice,
    ("storage.k8s.io", "CSIDriver"): policy_defaults.csi_driver,
    ("storage.k8s.io", "CSINode"): policy_defaults.csi_node,
}
