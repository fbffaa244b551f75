"""Every kind that objects can be made of: a valid one, a change that it may have, and a status where it has one."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from harness.rest import Object

SELECTOR = {"matchLabels": {"app": "a"}}
TEMPLATE = {
    "metadata": {"labels": {"app": "a"}},
    # Nothing schedules it: what is looked at here is the API, and no pod shall run.
    "spec": {"containers": [{"name": "c", "image": "host/sleep"}], "schedulerName": "nobody"},
}
RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
WEBHOOK = {
    "name": "w.example.com",
    "clientConfig": {"url": "https://127.0.0.1:1/none"},
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
    "rules": [{"apiGroups": ["none.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"]}],
}
MATCHED = {"resourceRules": [{**WEBHOOK["rules"][0]}]}  # type: ignore[index]
CONDITION = {
    "type": "Tested",
    "status": "True",
    "reason": "Tested",
    "message": "by hand",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
LABELLED: Object = {"metadata": {"labels": {"changed": "yes"}}}
DEFINITION = {
    "group": "NAME.example.com",
    "scope": "Namespaced",
    "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
    "versions": [
        {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}},
    ],
}


@dataclass(frozen=True)
class Kind:
    """`path` is where the kind is served; words in capitals in `name` and `fields` are filled in by `made`."""

    path: str
    kind: str
    fields: Object = field(default_factory=dict)
    change: Object = field(default_factory=lambda: LABELLED)
    status: Object | None = None
    namespaced: bool = True
    name: str = "NAME"
    #: Whether `deletecollection` is served.
    sweepable: bool = True

    @property
    def plural(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def api_version(self) -> str:
        return self.path.rpartition("/")[0].removeprefix("/apis/").removeprefix("/api/")

    def at(self, namespace: str) -> str:
        """The path of the collection."""
        version = self.path.rpartition("/")[0]
        return f"{version}/namespaces/{namespace}/{self.plural}" if self.namespaced else self.path

    def made(self, number: int, namespace: str, labels: Object) -> Object:
        """Return an object of the kind; its number makes its name its own."""
        words = {"NAMESPACE": namespace, "NAME": f"tested-{number}", "NUMBER": str(number), "REQUEST": request()}
        name = _filled(self.name, words)
        body = {"apiVersion": self.api_version, "kind": self.kind, "metadata": {"name": name, "labels": labels}}
        return {**body, **_filled(self.fields, words)}


def _filled(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, words) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, words) for inner in value]
    for word, instead in words.items() if isinstance(value, str) else ():
        value = value.replace(word, instead)
    return value


@cache
def request() -> str:
    """Return a certificate request as the API takes it: PEM in base64."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    key = ec.generate_private_key(ec.SECP256R1())
    signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


def cluster(path: str, kind: str, fields: Object | None = None, change: Object = LABELLED, **more: Any) -> Kind:
    return Kind(path, kind, fields or {}, change, namespaced=False, **more)


ADMISSION, APPS, BATCH = "/apis/admissionregistration.k8s.io/v1", "/apis/apps/v1", "/apis/batch/v1"
CORE, FLOW, NETWORK = "/api/v1", "/apis/flowcontrol.apiserver.k8s.io/v1", "/apis/networking.k8s.io/v1"
RBAC, RESOURCE, STORAGE = "/apis/rbac.authorization.k8s.io/v1", "/apis/resource.k8s.io/v1", "/apis/storage.k8s.io/v1"
CONDITIONS = {"conditions": [CONDITION]}
REPLICATED = {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}
BACKEND = {"service": {"name": "s", "port": {"number": 80}}}

KINDS = [
    Kind(f"{CORE}/configmaps", "ConfigMap", {"data": {"a": "1"}}, {"data": {"b": "2"}}),
    Kind(
        f"{CORE}/endpoints",
        "Endpoints",
        {"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]},
        {"subsets": [{"addresses": [{"ip": "192.0.2.2"}], "ports": [{"port": 80}]}]},
    ),
    Kind(
        f"{CORE}/events",
        "Event",
        {"involvedObject": {"namespace": "NAMESPACE"}, "reason": "Tested", "type": "Normal"},
        {"message": "changed"},
    ),
    Kind(
        f"{CORE}/limitranges",
        "LimitRange",
        {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "2"}}]}},
        {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "3"}}]}},
    ),
    Kind(
        f"{CORE}/persistentvolumeclaims",
        "PersistentVolumeClaim",
        {
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "none",
                "resources": {"requests": {"storage": "1Gi"}},
            }
        },
        status=CONDITIONS,
    ),
    cluster(
        f"{CORE}/persistentvolumes",
        "PersistentVolume",
        {
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "hostPath": {"path": "/tmp/none"},
                "storageClassName": "NAME",
            }
        },
        {"spec": {"persistentVolumeReclaimPolicy": "Delete"}},
        status={"message": "tested"},
    ),
    Kind(
        f"{CORE}/pods",
        "Pod",
        {"spec": TEMPLATE["spec"]},
        {"spec": {"activeDeadlineSeconds": 1000}},
        status=CONDITIONS,
    ),
    Kind(
        f"{CORE}/podtemplates",
        "PodTemplate",
        {"template": TEMPLATE},
        {"template": {"metadata": {"labels": {"b": "2"}}}},
    ),
    Kind(
        f"{CORE}/replicationcontrollers",
        "ReplicationController",
        {"spec": {"replicas": 0, "selector": {"app": "a"}, "template": TEMPLATE}},
        {"spec": {"minReadySeconds": 5}},
        status=CONDITIONS,
    ),
    Kind(
        f"{CORE}/resourcequotas",
        "ResourceQuota",
        {"spec": {"hard": {"pods": "500"}}},
        {"spec": {"hard": {"secrets": "500"}}},
        status={"hard": {"pods": "500"}, "used": {"pods": "1"}},
    ),
    Kind(f"{CORE}/secrets", "Secret", {"data": {"a": "MQ=="}}, {"data": {"b": "Mg=="}}),
    Kind(
        f"{CORE}/serviceaccounts",
        "ServiceAccount",
        {"automountServiceAccountToken": False},
        {"automountServiceAccountToken": True},
    ),
    Kind(
        f"{CORE}/services",
        "Service",
        {"spec": {"ports": [{"port": 80}]}},
        {"spec": {"sessionAffinity": "ClientIP"}},
        status=CONDITIONS,
    ),
    cluster(f"{CORE}/namespaces", "Namespace", status=CONDITIONS, sweepable=False),
    cluster(
        f"{CORE}/nodes",
        "Node",
        {"spec": {"unschedulable": True}},
        {"spec": {"podCIDR": "192.0.2.0/24"}},
        status={"capacity": {"example.com/tested": "1"}},
    ),
    cluster(
        f"{ADMISSION}/mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        {"webhooks": [WEBHOOK]},
        {"webhooks": [{**WEBHOOK, "timeoutSeconds": 3}]},
    ),
    cluster(
        f"{ADMISSION}/validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        {"webhooks": [WEBHOOK]},
        {"webhooks": [{**WEBHOOK, "timeoutSeconds": 3}]},
    ),
    cluster(
        f"{ADMISSION}/validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        {"spec": {"matchConstraints": MATCHED, "validations": [{"expression": "object.x < 5"}]}},
        {"spec": {"failurePolicy": "Ignore"}},
        status=CONDITIONS,
    ),
    cluster(
        f"{ADMISSION}/validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        {"spec": {"policyName": "none", "validationActions": ["Deny"]}},
        {"spec": {"validationActions": ["Warn"]}},
    ),
    cluster(
        f"{ADMISSION}/mutatingadmissionpolicies",
        "MutatingAdmissionPolicy",
        {
            "spec": {
                "matchConstraints": MATCHED,
                "reinvocationPolicy": "Never",
                "mutations": [
                    {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}},
                ],
            }
        },
        {"spec": {"failurePolicy": "Ignore"}},
    ),
    cluster(
        f"{ADMISSION}/mutatingadmissionpolicybindings",
        "MutatingAdmissionPolicyBinding",
        {"spec": {"policyName": "none"}},
        {"spec": {"policyName": "other"}},
    ),
    cluster(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "CustomResourceDefinition",
        {"spec": DEFINITION},
        {"spec": {"names": {"shortNames": ["th"]}}},
        status=CONDITIONS,
        name="things.NAME.example.com",
    ),
    cluster(
        "/apis/apiregistration.k8s.io/v1/apiservices",
        "APIService",
        {
            "spec": {
                "group": "NAME.example.com",
                "version": "v1",
                "groupPriorityMinimum": 2000,
                "versionPriority": 200,
                "insecureSkipTLSVerify": True,
                "service": {"name": "none", "namespace": "default"},
            }
        },
        {"spec": {"versionPriority": 100}},
        status=CONDITIONS,
        name="v1.NAME.example.com",
    ),
    Kind(f"{APPS}/controllerrevisions", "ControllerRevision", {"data": {"a": 1}, "revision": 1}, {"revision": 2}),
    Kind(
        f"{APPS}/daemonsets",
        "DaemonSet",
        {
            "spec": {
                "selector": SELECTOR,
                "template": {**TEMPLATE, "spec": {**TEMPLATE["spec"], "nodeSelector": {"none": "such"}}},
            }
        },
        {"spec": {"minReadySeconds": 5}},
        status=CONDITIONS,
    ),
    Kind(
        f"{APPS}/deployments", "Deployment", {"spec": REPLICATED}, {"spec": {"minReadySeconds": 5}}, status=CONDITIONS
    ),
    Kind(
        f"{APPS}/replicasets", "ReplicaSet", {"spec": REPLICATED}, {"spec": {"minReadySeconds": 5}}, status=CONDITIONS
    ),
    Kind(
        f"{APPS}/statefulsets",
        "StatefulSet",
        {"spec": {**REPLICATED, "serviceName": "none"}},
        {"spec": {"minReadySeconds": 5}},
        status=CONDITIONS,
    ),
    Kind(
        "/apis/autoscaling/v2/horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        {"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}},
        {"spec": {"maxReplicas": 4}},
        status=CONDITIONS,
    ),
    Kind(
        "/apis/autoscaling/v1/horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        {"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}},
        {"spec": {"targetCPUUtilizationPercentage": 50}},
        status={"desiredReplicas": 2},
    ),
    Kind(
        f"{BATCH}/cronjobs",
        "CronJob",
        {
            "spec": {
                "schedule": "0 0 1 1 *",
                "jobTemplate": {"spec": {"template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}},
            }
        },
        {"spec": {"suspend": True}},
        status={"lastScheduleTime": "2026-01-01T00:00:00Z"},
    ),
    Kind(
        f"{BATCH}/jobs",
        "Job",
        {"spec": {"suspend": True, "template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}},
        {"spec": {"backoffLimit": 3}},
        status=CONDITIONS,
    ),
    cluster(
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        "CertificateSigningRequest",
        {"spec": {"request": "REQUEST", "signerName": "example.com/tested", "usages": ["client auth"]}},
        status=CONDITIONS,
    ),
    Kind(
        "/apis/coordination.k8s.io/v1/leases",
        "Lease",
        {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 30}},
        {"spec": {"holderIdentity": "you"}},
    ),
    Kind(
        "/apis/discovery.k8s.io/v1/endpointslices",
        "EndpointSlice",
        {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"port": 80}]},
        {"endpoints": [{"addresses": ["192.0.2.2"]}]},
    ),
    Kind(
        "/apis/events.k8s.io/v1/events",
        "Event",
        {
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "example.com/tester",
            "reportingInstance": "tester-1",
            "action": "Test",
            "reason": "Tested",
            "type": "Normal",
            "regarding": {"namespace": "NAMESPACE"},
        },
        {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}},
    ),
    cluster(
        f"{FLOW}/flowschemas",
        "FlowSchema",
        {"spec": {"matchingPrecedence": 9000, "priorityLevelConfiguration": {"name": "none"}}},
        {"spec": {"matchingPrecedence": 8000}},
        status=CONDITIONS,
    ),
    cluster(
        f"{FLOW}/prioritylevelconfigurations",
        "PriorityLevelConfiguration",
        {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}},
        {"spec": {"limited": {"nominalConcurrencyShares": 4}}},
        status=CONDITIONS,
    ),
    cluster(
        f"{NETWORK}/ingressclasses",
        "IngressClass",
        {"spec": {"controller": "example.com/controller"}},
        {"spec": {"parameters": {"kind": "P", "name": "p", "apiGroup": "example.com", "scope": "Cluster"}}},
    ),
    Kind(
        f"{NETWORK}/ingresses",
        "Ingress",
        {"spec": {"defaultBackend": BACKEND}},
        {"spec": {"ingressClassName": "none"}},
        status={"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    ),
    cluster(
        f"{NETWORK}/ipaddresses",
        "IPAddress",
        {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "none"}}},
        name="198.51.100.NUMBER",
    ),
    Kind(
        f"{NETWORK}/networkpolicies",
        "NetworkPolicy",
        {"spec": {"podSelector": {}}},
        {"spec": {"policyTypes": ["Ingress", "Egress"]}},
    ),
    cluster(f"{NETWORK}/servicecidrs", "ServiceCIDR", {"spec": {"cidrs": ["198.51.100.0/24"]}}, status=CONDITIONS),
    cluster(
        "/apis/node.k8s.io/v1/runtimeclasses",
        "RuntimeClass",
        {"handler": "h"},
        {"overhead": {"podFixed": {"cpu": "1m"}}},
    ),
    Kind(
        "/apis/policy/v1/poddisruptionbudgets",
        "PodDisruptionBudget",
        {"spec": {"minAvailable": 1, "selector": SELECTOR}},
        {"spec": {"minAvailable": 2}},
        status=CONDITIONS,
    ),
    cluster(f"{RBAC}/clusterroles", "ClusterRole", {"rules": RULES}, {"rules": [{**RULES[0], "verbs": ["list"]}]}),
    cluster(
        f"{RBAC}/clusterrolebindings",
        "ClusterRoleBinding",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "none"}},
        {"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "u"}]},
    ),
    Kind(f"{RBAC}/roles", "Role", {"rules": RULES}, {"rules": [{**RULES[0], "verbs": ["list"]}]}),
    Kind(
        f"{RBAC}/rolebindings",
        "RoleBinding",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "none"}},
        {"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "u"}]},
    ),
    cluster(
        f"{RESOURCE}/deviceclasses",
        "DeviceClass",
        {"spec": {"selectors": [{"cel": {"expression": "device.driver == 'd.example.com'"}}]}},
        {"spec": {"selectors": [{"cel": {"expression": "false"}}]}},
    ),
    Kind(
        f"{RESOURCE}/resourceclaims",
        "ResourceClaim",
        {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "none"}}]}}},
        status={"allocation": {"devices": {}}},
    ),
    Kind(
        f"{RESOURCE}/resourceclaimtemplates",
        "ResourceClaimTemplate",
        {"spec": {"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "none"}}]}}}},
    ),
    cluster(
        f"{RESOURCE}/resourceslices",
        "ResourceSlice",
        {
            "spec": {
                "driver": "d.example.com",
                "nodeName": "none",
                "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "one"}],
            }
        },
        {"spec": {"pool": {"generation": 2}}},
    ),
    cluster("/apis/scheduling.k8s.io/v1/priorityclasses", "PriorityClass", {"value": 5}, {"description": "changed"}),
    cluster(
        f"{STORAGE}/csidrivers",
        "CSIDriver",
        {"spec": {"attachRequired": True}},
        {"spec": {"requiresRepublish": True}},
        name="NAME.example.com",
    ),
    cluster(
        f"{STORAGE}/csinodes",
        "CSINode",
        {"spec": {"drivers": [{"name": "d.example.com", "nodeID": "n"}]}},
    ),
    Kind(
        f"{STORAGE}/csistoragecapacities",
        "CSIStorageCapacity",
        {"storageClassName": "none", "capacity": "1Gi"},
        {"capacity": "2Gi"},
    ),
    cluster(f"{STORAGE}/storageclasses", "StorageClass", {"provisioner": "p"}, {"allowVolumeExpansion": True}),
    cluster(
        f"{STORAGE}/volumeattachments",
        "VolumeAttachment",
        {"spec": {"attacher": "a", "nodeName": "none", "source": {"persistentVolumeName": "none"}}},
        status={"attached": True},
    ),
    cluster(
        f"{STORAGE}/volumeattributesclasses",
        "VolumeAttributesClass",
        {"driverName": "d.example.com", "parameters": {"a": "1"}},
    ),
]
