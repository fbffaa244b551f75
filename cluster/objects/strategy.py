"""What a write drops, resets and keeps, by kind: the status on creates and updates, the spec on status updates.

Source: the strategies in upstream's `pkg/registry/*/*/strategy.go` and `rest.BeforeCreate`, `rest.BeforeUpdate`. Both
functions work in place on canonical objects (decoded and defaulted) and come before validation. `prepare_create` wants
`metadata.uid` to be set already, since a Job's selector is made of it.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from oarlock.cluster.objects import pod_strategy, service_strategy
from oarlock.cluster.objects.custom import strategy as custom_strategy
from oarlock.cluster.objects.resources import Resource

Obj = dict[str, Any]

#: What moves `metadata.generation`, by (group, kind): the fields whose change counts. Kinds not listed have none.
_GENERATION: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): ("spec",),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): ("spec",),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): ("spec",),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): ("spec",),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): ("webhooks",),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): ("spec",),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): ("spec",),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): ("webhooks",),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): ("spec",),
    ("apps", "DaemonSet"): ("spec",),
    ("apps", "Deployment"): ("spec", "metadata.annotations"),
    ("apps", "ReplicaSet"): ("spec",),
    ("apps", "StatefulSet"): ("spec",),
    ("batch", "CronJob"): ("spec",),
    ("batch", "Job"): ("spec",),
    ("discovery.k8s.io", "EndpointSlice"): ("addressType", "endpoints", "ports", "metadata.labels"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): ("spec",),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): ("spec",),
    ("networking.k8s.io", "Ingress"): ("spec",),
    ("networking.k8s.io", "IngressClass"): ("spec",),
    ("networking.k8s.io", "NetworkPolicy"): ("spec",),
    ("policy", "PodDisruptionBudget"): ("spec",),
    ("resource.k8s.io", "DeviceClass"): ("spec",),
    ("resource.k8s.io", "ResourceSlice"): ("spec",),
    ("scheduling.k8s.io", "PriorityClass"): (),
    ("storage.k8s.io", "VolumeAttributesClass"): (),
}

#: The same for kinds whose new objects have no generation.
_LATE_GENERATION: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("storage.k8s.io", "CSIDriver"): (
        *("spec.tokenRequests", "spec.requiresRepublish", "spec.seLinuxMount"),
        "spec.nodeAllocatableUpdatePeriodSeconds",
    ),
}

#: What a new object's status is; kinds not listed that have a status get what defaulting makes of an empty one.
_NEW_STATUS: Final[Mapping[tuple[str, str], Obj]] = {
    ("", "Namespace"): {"phase": "Active"},
    ("", "PersistentVolume"): {"phase": "Pending"},
    ("", "PersistentVolumeClaim"): {"phase": "Pending"},
    ("", "ReplicationController"): {"replicas": 0},
    ("", "Service"): {"loadBalancer": {}},
    ("apps", "DaemonSet"): {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    },
    ("apps", "ReplicaSet"): {"replicas": 0},
    ("apps", "StatefulSet"): {"replicas": 0, "availableReplicas": 0},
    ("networking.k8s.io", "Ingress"): {"loadBalancer": {}},
    ("storage.k8s.io", "VolumeAttachment"): {"attached": False},
    ("policy", "PodDisruptionBudget"): {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    },
    ("autoscaling", "HorizontalPodAutoscaler"): {"desiredReplicas": 0, "currentMetrics": None},
}

#: Kinds whose creator may set the status (nodes register with theirs).
_STATUS_ON_CREATE: Final = frozenset({("", "Node")})

#: Kinds that a PUT creates where there is no such object.
_CREATES_ON_UPDATE: Final = frozenset(
    {
        *(("", kind) for kind in ("Endpoints", "Event", "LimitRange", "Service")),
        ("events.k8s.io", "Event"),
        ("coordination.k8s.io", "Lease"),
        *(("rbac.authorization.k8s.io", kind) for kind in ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")),
    }
)

#: Kinds whose PUT must name the resource version it replaces.
_NEEDS_VERSION: Final = frozenset(
    {
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "APIService"),
        ("coordination.k8s.io", "Lease"),
        ("node.k8s.io", "RuntimeClass"),
        ("policy", "PodDisruptionBudget"),
        ("storage.k8s.io", "CSIDriver"),
        ("storage.k8s.io", "CSINode"),
        ("storage.k8s.io", "CSIStorageCapacity"),
        ("storage.k8s.io", "VolumeAttachment"),
    }
)


def creates_on_update(resource: Resource) -> bool:
    """Whether a PUT of a name that is free creates the object."""
    return (resource.group, resource.kind) in _CREATES_ON_UPDATE


def needs_version(resource: Resource) -> bool:
    """Whether a PUT without a resourceVersion is refused."""
    return (resource.group, resource.kind) in _NEEDS_VERSION


def prepare_create(resource: Resource, obj: Obj) -> None:
    """Bring a decoded, defaulted object into the form in which it may be created."""
    key = (resource.group, resource.kind)
    metadata = obj["metadata"]
    for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
        metadata.pop(name, None)
    if resource.custom is not None:
        custom_strategy.prepare_create(resource.custom, obj)
        return
    if key in _GENERATION:
        metadata["generation"] = 1
    if "status" in resource.subresources and key not in _STATUS_ON_CREATE:
        _reset_status(key, resource, obj)
    rule = _ON_CREATE.get(key)
    if rule is not None:
        rule(obj)


def _reset_status(key: tuple[str, str], resource: Resource, obj: Obj) -> None:
    """Give the object the status of a new one; upstream writes most of them even when they are empty."""
    fresh = copy.deepcopy(_NEW_STATUS.get(key, {}))
    if resource.version == "v1" and resource.group == "autoscaling":
        fresh = {"currentReplicas": 0, "desiredReplicas": 0}
    if "status" in obj or fresh:
        obj["status"] = fresh


def prepare_update(resource: Resource, new: Obj, old: Obj, subresource: str = "") -> None:
    """Bring an update's object into the form in which it may replace `old`.

    System metadata is kept; an update keeps the status, an update of a subresource keeps everything else; a changed
    spec moves the generation on.
    """
    key = (resource.group, resource.kind)
    if resource.custom is not None:
        _keep_metadata(new["metadata"], old["metadata"])
        custom_strategy.prepare_update(resource.custom, new, old, subresource)
        return
    if subresource:
        _keep_but(_SUBRESOURCE_FIELDS.get(subresource, (subresource,)), key, new, old)
    elif "status" in resource.subresources:
        _keep(("status",), new, old)
    _keep_metadata(new["metadata"], old["metadata"])
    if subresource in _PARTIAL:
        _PARTIAL[subresource](new, old)
        return
    if subresource == "status" and key == ("", "Pod"):
        pod_strategy.same_addresses(new["status"], old.get("status", {}))
    rule = _ON_UPDATE.get(key)
    if rule is not None and not subresource:
        rule(new, old)
    counted = (*_GENERATION.get(key, ()), *_LATE_GENERATION.get(key, ()))
    if not subresource and any(_at(new, path) != _at(old, path) for path in counted):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


#: The top-level fields that an update of a subresource may change.
_SUBRESOURCE_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "status": ("status",),
    "binding": ("spec", "status"),
    "approval": ("status",),
    "finalize": ("spec",),
    "ephemeralcontainers": ("spec",),
    "resize": ("spec",),
}

#: What a client may say of itself in metadata, where a status update may say none of it.
_OWN_METADATA: Final = ("labels", "annotations", "finalizers", "ownerReferences")
#: Kinds whose status updates leave labels or owners alone.
_STATUS_KEEPS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): ("ownerReferences", "deletionTimestamp"),
    ("apps", "Deployment"): ("labels",),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): _OWN_METADATA,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _OWN_METADATA,
    ("apiregistration.k8s.io", "APIService"): _OWN_METADATA,
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): _OWN_METADATA,
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): _OWN_METADATA,
}


def _keep_but(changeable: tuple[str, ...], key: tuple[str, str], new: Obj, old: Obj) -> None:
    names = {*new, *old} - {*changeable, "metadata", "kind", "apiVersion"}
    _keep(tuple(names), new, old)
    _keep(_STATUS_KEEPS.get(key, ()), new["metadata"], old["metadata"])


def _keep(names: tuple[str, ...], new: Obj, old: Obj) -> None:
    for name in names:
        if name in old:
            new[name] = old[name]
        else:
            new.pop(name, None)


def _keep_metadata(new: Obj, old: Obj) -> None:
    """System metadata that a client may leave out but not change; validation compares what it did send."""
    _keep(("generation", "deletionTimestamp", "deletionGracePeriodSeconds"), new, old)
    for name in ("uid", "creationTimestamp"):
        if name in old:
            new.setdefault(name, old[name])
    new.pop("selfLink", None)


def _at(obj: Mapping[str, Any], path: str) -> Any:
    node: Any = obj
    for step in path.split("."):
        node = node.get(step) if isinstance(node, Mapping) else None
    return node


def _new_namespace(obj: Obj) -> None:
    finalizers = obj["spec"].setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")


def _updated_namespace(new: Obj, old: Obj) -> None:
    """Finalizers of a namespace change through its own subresource."""
    _keep(("finalizers",), new["spec"], old["spec"])


def _new_job(obj: Obj) -> None:
    """A Job selects its pods by its own uid, unless the client manages the selector."""
    spec, metadata = obj["spec"], obj["metadata"]
    if spec.get("manualSelector") or not metadata.get("uid"):
        return
    labels = spec["template"]["metadata"].setdefault("labels", {})
    own = {
        "controller-uid": metadata["uid"],
        "batch.kubernetes.io/controller-uid": metadata["uid"],
        "job-name": metadata.get("name", ""),
        "batch.kubernetes.io/job-name": metadata.get("name", ""),
    }
    for name, value in own.items():
        labels.setdefault(name, value)
    selector = spec.setdefault("selector", {}).setdefault("matchLabels", {})
    selector.setdefault("batch.kubernetes.io/controller-uid", metadata["uid"])
    spec.setdefault("manualSelector", False)
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)


#: A DaemonSet's count of templates, which later groups keep in an annotation only.
_TEMPLATE_GENERATION: Final = "deprecated.daemonset.template.generation"


def _template_generation(obj: Obj) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION, "")
    return int(text) if text.isascii() and text.isdecimal() else 0


def _new_daemon_set(obj: Obj) -> None:
    _count_template(obj, max(1, _template_generation(obj)))


def _updated_daemon_set(new: Obj, old: Obj) -> None:
    changed = new["spec"]["template"] != old["spec"]["template"]
    _count_template(new, _template_generation(old) + changed)


def _count_template(obj: Obj, count: int) -> None:
    annotations = dict(obj["metadata"].get("annotations") or {})
    obj["metadata"]["annotations"] = {**annotations, _TEMPLATE_GENERATION: str(count)}


def _new_stateful_set(obj: Obj) -> None:
    """`maxUnavailable` needs a feature that is off by default."""
    obj["spec"]["updateStrategy"].get("rollingUpdate", {}).pop("maxUnavailable", None)


def _updated_stateful_set(new: Obj, old: Obj) -> None:
    if "maxUnavailable" not in old["spec"]["updateStrategy"].get("rollingUpdate", {}):
        _new_stateful_set(new)


def _new_limit_range(obj: Obj) -> None:
    """A LimitRange without a name gets one that nobody else has."""
    metadata = obj["metadata"]
    if not metadata.get("name") and metadata.get("uid"):
        metadata["name"] = str(uuid.uuid5(uuid.UUID(metadata["uid"]), "name"))


def _new_claim(obj: Obj) -> None:
    spec = obj["spec"]
    if not _is_known_source(spec.get("dataSource") or {}):
        spec.pop("dataSource", None)
    _mirror_sources(spec)


def _is_known_source(source: Obj) -> bool:
    """The older field takes claims and snapshots only, and drops everything else."""
    group, kind = source.get("apiGroup", ""), source.get("kind")
    return (group, kind) in {("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")}


def _mirror_sources(spec: Obj) -> None:
    """`dataSource` and `dataSourceRef` mirror each other unless the reference leaves the namespace."""
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    if source and not ref:
        spec["dataSourceRef"] = dict(source)
    elif ref and not source and not ref.get("namespace"):
        spec["dataSource"] = {name: value for name, value in ref.items() if name != "namespace"}


def _updated_claim(new: Obj, old: Obj) -> None:
    spec, present = new["spec"], old["spec"]
    had = present.get("dataSource") or present.get("dataSourceRef")
    if not had and not _is_known_source(spec.get("dataSource") or {}):
        spec.pop("dataSource", None)
    _mirror_sources(spec)


def _new_volume(obj: Obj) -> None:
    if "creationTimestamp" in obj["metadata"]:
        obj["status"]["lastPhaseTransitionTime"] = obj["metadata"]["creationTimestamp"]


def _new_definition(obj: Obj) -> None:
    """A CustomResourceDefinition has no names yet, and keeps its objects in the version that it names for storage."""
    stored = _storage_version(obj)
    obj["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}


def _storage_version(obj: Obj) -> list[str]:
    """The first version that a definition names for storage, if any."""
    versions = obj.get("spec", {}).get("versions") or ()
    return [version.get("name", "") for version in versions if version.get("storage")][:1]


def _updated_definition(new: Obj, _: Obj) -> None:
    """A definition that names another version for storage will have objects in it."""
    state = dict(new.get("status") or {})
    stored = list(state.get("storedVersions") or ())
    added = [name for name in _storage_version(new) if name not in stored]
    if added:
        new["status"] = {**state, "storedVersions": stored + added}


def _new_api_service(obj: Obj) -> None:
    """What this server serves itself is available from the start."""
    obj["status"] = {}
    if "service" not in obj.get("spec", {}):
        told = {"reason": "Local", "message": "Local APIServices are always available"}
        since = obj["metadata"].get("creationTimestamp")
        obj["status"]["conditions"] = [{"type": "Available", "status": "True", "lastTransitionTime": since, **told}]


def _uncoordinated(lease: Obj, *_: Obj) -> None:
    """Coordinated leader election is a feature that is off by default."""
    for name in ("strategy", "preferredHolder"):
        lease["spec"].pop(name, None)


def _new_slice(obj: Obj) -> None:
    """Topology by labels is a field of an older version of the API."""
    for endpoint in obj.get("endpoints") or ():
        endpoint.pop("deprecatedTopology", None)


def _updated_slice(new: Obj, old: Obj) -> None:
    if new.get("endpoints") != old.get("endpoints"):
        _new_slice(new)


def _updated_signing_request(new: Obj, old: Obj) -> None:
    """What is asked for can't change; approval and certificate come through subresources."""
    _keep(("spec",), new, old)


def date_conditions(resource: Resource, new: Obj, old: Obj, part: str, time: str) -> None:
    """Date what is told of a signing request without times: changed at `time`, or as long ago as it says the same.

    Source: pkg/registry/certificates/certificates/strategy.go (populateConditionTimestamps).
    """
    if (resource.group, resource.kind) != ("certificates.k8s.io", "CertificateSigningRequest"):
        return
    if part not in ("approval", "status"):
        return
    known = {
        (one.get("type"), one.get("status")): one.get("lastTransitionTime")
        for one in (old.get("status") or {}).get("conditions") or ()
    }
    for condition in (new.get("status") or {}).get("conditions") or ():
        condition["lastUpdateTime"] = condition.get("lastUpdateTime") or time
        since = known.get((condition.get("type"), condition.get("status")))
        condition["lastTransitionTime"] = condition.get("lastTransitionTime") or since or time


_ON_CREATE: Final[Mapping[tuple[str, str], Callable[[Obj], None]]] = {
    ("", "LimitRange"): _new_limit_range,
    ("", "Namespace"): _new_namespace,
    ("", "PersistentVolume"): _new_volume,
    ("", "PersistentVolumeClaim"): _new_claim,
    ("", "Pod"): pod_strategy.new_pod,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _new_definition,
    ("apiregistration.k8s.io", "APIService"): _new_api_service,
    ("apps", "DaemonSet"): _new_daemon_set,
    ("apps", "StatefulSet"): _new_stateful_set,
    ("batch", "Job"): _new_job,
    ("coordination.k8s.io", "Lease"): _uncoordinated,
    ("discovery.k8s.io", "EndpointSlice"): _new_slice,
}

_ON_UPDATE: Final[Mapping[tuple[str, str], Callable[[Obj, Obj], None]]] = {
    ("", "Namespace"): _updated_namespace,
    ("", "PersistentVolumeClaim"): _updated_claim,
    ("", "Service"): service_strategy.updated_service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _updated_definition,
    ("apps", "DaemonSet"): _updated_daemon_set,
    ("apps", "StatefulSet"): _updated_stateful_set,
    ("certificates.k8s.io", "CertificateSigningRequest"): _updated_signing_request,
    ("coordination.k8s.io", "Lease"): _uncoordinated,
    ("discovery.k8s.io", "EndpointSlice"): _updated_slice,
}

_PARTIAL: Final[Mapping[str, Callable[[Obj, Obj], None]]] = {
    "ephemeralcontainers": pod_strategy.only_ephemeral_containers,
    "resize": pod_strategy.only_resources,
}
