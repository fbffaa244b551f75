"""Versions that upstream still knows but no longer serves: what patches may call an object, and what it gets then.

A JSON or merge patch may give an object another version of its kind; upstream then reads it in that version, with that
version's defaults, and serves the result in the one that was asked for.
Source: upstream's `pkg/apis/*/install/install.go`, `pkg/apis/apps/v1beta1/defaults.go`,
`pkg/apis/extensions/v1beta1/defaults.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Obj = dict[str, Any]

_RBAC: Final = frozenset({"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"})
_STORAGE: Final = frozenset({"CSIDriver", "CSINode", "CSIStorageCapacity", "StorageClass", "VolumeAttachment"})
_FLOW: Final = frozenset({"FlowSchema", "PriorityLevelConfiguration"})
_KINDS: Final[Mapping[str, frozenset[str]]] = {
    "admissionregistration.k8s.io/v1beta1": frozenset(
        {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy"}
    ),
    "apps/v1beta1": frozenset({"ControllerRevision", "Deployment", "StatefulSet"}),
    "apps/v1beta2": frozenset({"ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"}),
    "batch/v1beta1": frozenset({"CronJob"}),
    "certificates.k8s.io/v1beta1": frozenset({"CertificateSigningRequest"}),
    "coordination.k8s.io/v1beta1": frozenset({"Lease"}),
    "discovery.k8s.io/v1beta1": frozenset({"EndpointSlice"}),
    "extensions/v1beta1": frozenset({"DaemonSet", "Deployment", "Ingress", "NetworkPolicy", "ReplicaSet"}),
    "flowcontrol.apiserver.k8s.io/v1beta1": _FLOW,
    "flowcontrol.apiserver.k8s.io/v1beta2": _FLOW,
    "flowcontrol.apiserver.k8s.io/v1beta3": _FLOW,
    "networking.k8s.io/v1beta1": frozenset({"Ingress", "IngressClass", "IPAddress", "ServiceCIDR"}),
    "node.k8s.io/v1beta1": frozenset({"RuntimeClass"}),
    "policy/v1beta1": frozenset({"PodDisruptionBudget"}),
    "rbac.authorization.k8s.io/v1alpha1": _RBAC,
    "rbac.authorization.k8s.io/v1beta1": _RBAC,
    "scheduling.k8s.io/v1alpha1": frozenset({"PriorityClass"}),
    "scheduling.k8s.io/v1beta1": frozenset({"PriorityClass"}),
    "storage.k8s.io/v1beta1": _STORAGE,
}


def is_known(api_version: str, kind: str) -> bool:
    """Whether a version that isn't served has this kind."""
    return kind in _KINDS.get(api_version, ())


def default(obj: Obj, api_version: str) -> None:
    """Give an object what its retired version gives it beyond the present version's defaults."""
    rule = _DEFAULTS.get((api_version, obj["kind"]))
    if rule is not None:
        rule(obj)


def _labels_of_template(obj: Obj) -> None:
    spec = obj.get("spec") or {}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = {"matchLabels": dict(labels)}
        if not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)


def _deployment(revisions: int, deadline_s: int, step: str | int) -> Callable[[Obj], None]:
    def rule(obj: Obj) -> None:
        _labels_of_template(obj)
        spec = obj.setdefault("spec", {})
        spec.setdefault("revisionHistoryLimit", revisions)
        spec.setdefault("progressDeadlineSeconds", deadline_s)
        strategy = spec.setdefault("strategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", step)
            rolling.setdefault("maxSurge", step)

    return rule


def _updated_on_delete(obj: Obj) -> None:
    _labels_of_template(obj)
    obj.setdefault("spec", {}).setdefault("updateStrategy", {}).setdefault("type", "OnDelete")


_UNBOUNDED: Final = 2**31 - 1
_DEFAULTS: Final[Mapping[tuple[str, str], Callable[[Obj], None]]] = {
    ("apps/v1beta1", "Deployment"): _deployment(2, 600, "25%"),
    ("apps/v1beta1", "StatefulSet"): _updated_on_delete,
    ("extensions/v1beta1", "DaemonSet"): _updated_on_delete,
    ("extensions/v1beta1", "Deployment"): _deployment(_UNBOUNDED, _UNBOUNDED, 1),
    ("extensions/v1beta1", "ReplicaSet"): _labels_of_template,
}
