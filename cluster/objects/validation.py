"""Validate objects of every built-in kind: what is wrong with a new one, and with one that replaces another.

Source: upstream's `pkg/apis/*/validation`. Objects are canonical: decoded, defaulted and prepared by the strategy. The
causes come in upstream's order; an empty list means that the object may be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from oarlock.cluster.objects import (
    admission_policy_validation,
    apiservice_validation,
    autoscaling_validation,
    batch_validation,
    certificate_validation,
    claim_validation,
    core_validation,
    device_claim_validation,
    device_status_validation,
    event_validation,
    flowcontrol,
    flowcontrol_validation,
    limit_range_validation,
    metadata_validation,
    network_validation,
    persistent_volume_validation,
    pod_part_validation,
    pod_update_validation,
    pod_validation,
    policy_validation,
    quota_validation,
    resource_slice_validation,
    runtime_class_validation,
    service_range_validation,
    service_validation,
    status_validation,
    storage_validation,
    webhook_validation,
    workload_validation,
)
from oarlock.cluster.objects.custom import validation as custom_validation
from oarlock.cluster.objects.extensions import definition_rules
from oarlock.cluster.objects.policy_validation import RBAC_GROUP
from oarlock.cluster.objects.resources import Resource
from oarlock.cluster.objects.status import Cause

Obj = Mapping[str, Any]
ADMISSION: Final = "admissionregistration.k8s.io"


def validate_create(resource: Resource, obj: Obj) -> list[Cause]:
    """What is wrong with a new object."""
    if resource.verbs == frozenset({"create"}):  # a review is answered, not stored: it needs no name
        return []
    key = (resource.group, resource.kind)
    causes = [] if key in OWN_METADATA else metadata_validation.validate(resource, obj)
    if resource.custom is not None:
        return causes + custom_validation.create(resource, obj)
    rule = CREATE_RULES.get(key)
    return causes + rule(obj) if rule is not None else causes


def validate_update(resource: Resource, new: Obj, old: Obj, subresource: str = "") -> list[Cause]:
    """What is wrong with `new` as a replacement of `old`."""
    causes = metadata_validation.validate_update(resource, new, old)
    if resource.custom is not None:
        return causes + custom_validation.update(resource, new, old)
    if subresource:
        rule = SUBRESOURCE_RULES.get((resource.group, resource.kind, subresource))
    else:
        rule = UPDATE_RULES.get((resource.group, resource.kind))
    if rule is not None:
        return causes + rule(new, old)
    create = CREATE_RULES.get((resource.group, resource.kind))
    return causes + create(new) if create is not None and not subresource else causes


CreateRule = Callable[[Obj], list[Cause]]
UpdateRule = Callable[[Obj, Obj], list[Cause]]
#: Kinds whose rules look at a new object's metadata in a place of their own.
OWN_METADATA: Final = frozenset({("", "Event"), ("events.k8s.io", "Event"), ("policy", "PodDisruptionBudget")})
CREATE_RULES: Final[Mapping[tuple[str, str], CreateRule]] = {
    ("", "ConfigMap"): core_validation.config_map,
    ("", "Endpoints"): service_validation.endpoints,
    ("", "Event"): event_validation.core_event,
    ("", "LimitRange"): limit_range_validation.limit_range,
    ("", "Namespace"): core_validation.namespace,
    ("", "Node"): core_validation.node,
    ("", "PersistentVolume"): persistent_volume_validation.persistent_volume,
    ("", "PersistentVolumeClaim"): claim_validation.claim,
    ("", "Pod"): pod_validation.pod,
    ("", "PodTemplate"): workload_validation.pod_template,
    ("", "ReplicationController"): workload_validation.replication_controller,
    ("", "ResourceQuota"): quota_validation.quota,
    ("", "Secret"): core_validation.secret,
    ("", "Service"): service_validation.service,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): definition_rules.definition,
    (ADMISSION, "MutatingAdmissionPolicy"): admission_policy_validation.mutating_policy,
    (ADMISSION, "MutatingAdmissionPolicyBinding"): admission_policy_validation.mutating_binding,
    (ADMISSION, "MutatingWebhookConfiguration"): webhook_validation.configuration,
    (ADMISSION, "ValidatingAdmissionPolicy"): admission_policy_validation.validating_policy,
    (ADMISSION, "ValidatingAdmissionPolicyBinding"): admission_policy_validation.validating_binding,
    (ADMISSION, "ValidatingWebhookConfiguration"): webhook_validation.configuration,
    (apiservice_validation.GROUP, "APIService"): apiservice_validation.api_service,
    ("apps", "ControllerRevision"): workload_validation.controller_revision,
    ("apps", "DaemonSet"): workload_validation.daemon_set,
    ("apps", "Deployment"): workload_validation.deployment,
    ("apps", "ReplicaSet"): workload_validation.replica_set,
    ("apps", "StatefulSet"): workload_validation.stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaling_validation.autoscaler,
    ("batch", "CronJob"): batch_validation.cron_job,
    ("batch", "Job"): batch_validation.job,
    ("certificates.k8s.io", "CertificateSigningRequest"): certificate_validation.request,
    ("coordination.k8s.io", "Lease"): policy_validation.lease,
    ("discovery.k8s.io", "EndpointSlice"): service_validation.endpoint_slice,
    ("events.k8s.io", "Event"): event_validation.event,
    (flowcontrol.GROUP, "FlowSchema"): flowcontrol_validation.flow_schema,
    (flowcontrol.GROUP, "PriorityLevelConfiguration"): flowcontrol_validation.priority_level,
    ("networking.k8s.io", "IPAddress"): service_range_validation.address,
    ("networking.k8s.io", "Ingress"): network_validation.ingress,
    ("networking.k8s.io", "IngressClass"): network_validation.ingress_class,
    ("networking.k8s.io", "NetworkPolicy"): network_validation.network_policy,
    ("networking.k8s.io", "ServiceCIDR"): service_range_validation.service_range,
    ("node.k8s.io", "RuntimeClass"): runtime_class_validation.runtime_class,
    ("policy", "PodDisruptionBudget"): policy_validation.disruption_budget,
    (RBAC_GROUP, "ClusterRole"): policy_validation.cluster_role,
    (RBAC_GROUP, "ClusterRoleBinding"): policy_validation.cluster_role_binding,
    (RBAC_GROUP, "Role"): policy_validation.role,
    (RBAC_GROUP, "RoleBinding"): policy_validation.role_binding,
    ("resource.k8s.io", "DeviceClass"): device_claim_validation.device_class,
    ("resource.k8s.io", "ResourceClaim"): device_claim_validation.claim,
    ("resource.k8s.io", "ResourceClaimTemplate"): device_claim_validation.template,
    ("resource.k8s.io", "ResourceSlice"): resource_slice_validation.resource_slice,
    ("scheduling.k8s.io", "PriorityClass"): policy_validation.priority_class,
    ("storage.k8s.io", "CSIDriver"): storage_validation.csi_driver,
    ("storage.k8s.io", "CSINode"): storage_validation.csi_node,
    ("storage.k8s.io", "CSIStorageCapacity"): storage_validation.storage_capacity,
    ("storage.k8s.io", "StorageClass"): storage_validation.storage_class,
    ("storage.k8s.io", "VolumeAttachment"): storage_validation.volume_attachment,
    ("storage.k8s.io", "VolumeAttributesClass"): storage_validation.attributes_class,
}
#: Kinds with rules about what may change; the others' new form is checked as a new object's is.
UPDATE_RULES: Final[Mapping[tuple[str, str], UpdateRule]] = {
    ("", "ConfigMap"): core_validation.config_map_update,
    ("", "Event"): event_validation.core_event_update,
    ("", "Namespace"): core_validation.namespace_update,
    ("", "Node"): core_validation.node_update,
    ("", "PersistentVolume"): persistent_volume_validation.persistent_volume_update,
    ("", "PersistentVolumeClaim"): claim_validation.claim_update,
    ("", "Pod"): pod_update_validation.pod_update,
    ("", "ResourceQuota"): quota_validation.quota_update,
    ("", "Secret"): core_validation.secret_update,
    ("", "Service"): service_validation.service_update,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): definition_rules.definition_update,
    (ADMISSION, "MutatingAdmissionPolicy"): admission_policy_validation.mutating_policy_update,
    (ADMISSION, "MutatingWebhookConfiguration"): webhook_validation.configuration_update,
    (ADMISSION, "ValidatingAdmissionPolicy"): admission_policy_validation.validating_policy_update,
    (ADMISSION, "ValidatingWebhookConfiguration"): webhook_validation.configuration_update,
    ("apps", "ControllerRevision"): workload_validation.controller_revision_update,
    ("apps", "DaemonSet"): workload_validation.daemon_set_update,
    ("apps", "Deployment"): workload_validation.deployment_update,
    ("apps", "ReplicaSet"): workload_validation.replica_set_update,
    ("apps", "StatefulSet"): workload_validation.stateful_set_update,
    ("autoscaling", "HorizontalPodAutoscaler"): autoscaling_validation.autoscaler_update,
    ("batch", "Job"): batch_validation.job_update,
    ("certificates.k8s.io", "CertificateSigningRequest"): certificate_validation.request_update,
    ("discovery.k8s.io", "EndpointSlice"): service_validation.endpoint_slice_update,
    ("events.k8s.io", "Event"): event_validation.event_update,
    ("networking.k8s.io", "IPAddress"): service_range_validation.address_update,
    ("networking.k8s.io", "Ingress"): network_validation.ingress_update,
    ("networking.k8s.io", "IngressClass"): network_validation.ingress_class_update,
    ("networking.k8s.io", "NetworkPolicy"): network_validation.network_policy_update,
    ("networking.k8s.io", "ServiceCIDR"): service_range_validation.service_range_update,
    ("node.k8s.io", "RuntimeClass"): runtime_class_validation.runtime_class_update,
    ("policy", "PodDisruptionBudget"): policy_validation.disruption_budget_update,
    (RBAC_GROUP, "ClusterRoleBinding"): policy_validation.role_binding_update,
    (RBAC_GROUP, "RoleBinding"): policy_validation.role_binding_update,
    ("resource.k8s.io", "DeviceClass"): device_claim_validation.device_class_update,
    ("resource.k8s.io", "ResourceClaim"): device_claim_validation.claim_update,
    ("resource.k8s.io", "ResourceClaimTemplate"): device_claim_validation.template_update,
    ("resource.k8s.io", "ResourceSlice"): resource_slice_validation.resource_slice_update,
    ("scheduling.k8s.io", "PriorityClass"): policy_validation.priority_class_update,
    ("storage.k8s.io", "CSIDriver"): storage_validation.csi_driver_update,
    ("storage.k8s.io", "CSINode"): storage_validation.csi_node_update,
    ("storage.k8s.io", "CSIStorageCapacity"): storage_validation.storage_capacity_update,
    ("storage.k8s.io", "StorageClass"): storage_validation.storage_class_update,
    ("storage.k8s.io", "VolumeAttachment"): storage_validation.volume_attachment_update,
    ("storage.k8s.io", "VolumeAttributesClass"): storage_validation.attributes_class_update,
}
SUBRESOURCE_RULES: Final[Mapping[tuple[str, str, str], UpdateRule]] = {
    ("", "Namespace", "finalize"): status_validation.finalize,
    ("", "Namespace", "status"): status_validation.namespace,
    ("", "Node", "status"): status_validation.node,
    ("", "PersistentVolumeClaim", "status"): claim_validation.claim_status,
    ("", "Pod", "ephemeralcontainers"): pod_part_validation.ephemeral_containers,
    ("", "Pod", "resize"): pod_part_validation.resize,
    ("", "Pod", "status"): status_validation.pod,
    ("", "ReplicationController", "status"): status_validation.replica_set,
    ("apiextensions.k8s.io", "CustomResourceDefinition", "status"): definition_rules.definition_status,
    (ADMISSION, "ValidatingAdmissionPolicy", "status"): admission_policy_validation.validating_status,
    (apiservice_validation.GROUP, "APIService", "status"): apiservice_validation.status,
    ("apps", "DaemonSet", "status"): status_validation.daemon_set,
    ("apps", "Deployment", "status"): status_validation.deployment,
    ("apps", "ReplicaSet", "status"): status_validation.replica_set,
    ("apps", "StatefulSet", "status"): status_validation.stateful_set,
    ("autoscaling", "HorizontalPodAutoscaler", "status"): status_validation.autoscaler,
    ("batch", "Job", "status"): status_validation.job,
    ("certificates.k8s.io", "CertificateSigningRequest", "approval"): certificate_validation.approval,
    ("certificates.k8s.io", "CertificateSigningRequest", "status"): certificate_validation.status,
    (flowcontrol.GROUP, "FlowSchema", "status"): flowcontrol_validation.status,
    (flowcontrol.GROUP, "PriorityLevelConfiguration", "status"): flowcontrol_validation.status,
    ("networking.k8s.io", "Ingress", "status"): network_validation.ingress_status,
    ("policy", "PodDisruptionBudget", "status"): status_validation.disruption_budget,
    ("resource.k8s.io", "ResourceClaim", "status"): device_status_validation.claim_status,
    ("storage.k8s.io", "VolumeAttachment", "status"): storage_validation.volume_attachment_update,
}
