"""What plugins make of claims, volumes, nodes, Ingresses, namespaces and signing requests."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from oarlock.cluster.apiserver.admission import (
    certificates,
    claim_resize,
    default_classes,
    lifecycle,
    node_taints,
    priority,
    storage_protection,
)
from oarlock.cluster.apiserver.authentication import User
from oarlock.cluster.objects.status import ApiError

Obj = dict[str, Any]
MARK = "storageclass.kubernetes.io/is-default-class"


def storage_class(objects: Any, name: str, created: str, default: str = "true", **parts: Any) -> Obj:
    metadata = {"creationTimestamp": created, "annotations": {MARK: default}}
    return objects.made("StorageClass", name, "storage.k8s.io/v1", metadata=metadata, provisioner="p", **parts)


def claim(objects: Any, storage: str = "1Gi", phase: str = "Bound", **spec: Any) -> Obj:
    asked = {"resources": {"requests": {"storage": storage}}, **spec}
    return objects.made("PersistentVolumeClaim", "c", spec=asked, status={"phase": phase})


@pytest.mark.parametrize(
    ("spec", "chosen"), [({}, "new"), ({"storageClassName": ""}, ""), ({"storageClassName": "old"}, "old")]
)
def test_the_newest_default_storage_class_wins(world: Any, objects: Any, spec: Obj, chosen: str) -> None:
    world.add(
        storage_class(objects, "old", "2026-01-01T00:00:00Z"),
        storage_class(objects, "new", "2026-01-02T00:00:00Z"),
        storage_class(objects, "newest", "2026-01-03T00:00:00Z", "false"),
    )
    made, _ = world.admit(default_classes.default_storage_class, "persistentvolumeclaims", claim(objects, **spec))
    assert made["spec"]["storageClassName"] == chosen


def test_an_older_annotation_names_a_class_too(world: Any, objects: Any) -> None:
    world.add(storage_class(objects, "a", "2026-01-01T00:00:00Z"))
    given = claim(objects)
    given["metadata"]["annotations"] = {"volume.beta.kubernetes.io/storage-class": "b"}
    made, _ = world.admit(default_classes.default_storage_class, "persistentvolumeclaims", given)
    assert "storageClassName" not in made["spec"]


def test_the_default_ingress_class(world: Any, objects: Any) -> None:
    mark = {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}
    world.add(objects.made("IngressClass", "nginx", "networking.k8s.io/v1", metadata=mark, spec={}))
    step, group = default_classes.default_ingress_class, "networking.k8s.io"
    ingress = objects.made("Ingress", "i", "networking.k8s.io/v1", spec={})
    assert world.admit(step, "ingresses", ingress, group=group)[0]["spec"]["ingressClassName"] == "nginx"
    named = objects.made("Ingress", "i", "networking.k8s.io/v1", spec={"ingressClassName": "other"})
    assert world.admit(step, "ingresses", named, group=group)[0]["spec"]["ingressClassName"] == "other"


@pytest.mark.parametrize(("group", "plural"), storage_protection.FINALIZERS)
def test_new_storage_is_protected_once(world: Any, objects: Any, group: str, plural: str) -> None:
    finalizer = storage_protection.FINALIZERS[(group, plural)]
    given = objects.made("X", "x", metadata={"finalizers": ["mine"]})
    made, _ = world.admit(storage_protection.protect, plural, given, group=group)
    assert made["metadata"]["finalizers"] == ["mine", finalizer]
    assert world.admit(storage_protection.protect, plural, made, group=group)[0] == made


NOT_RESIZABLE = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)
RESIZES = [
    ("2Gi", "fast", "Bound", ""),
    ("1Gi", "fixed", "Bound", ""),
    ("2Gi", "fast", "Pending", "only bound persistent volume claims can be expanded"),
    ("2Gi", "fixed", "Bound", NOT_RESIZABLE),
    ("2Gi", "missing", "Bound", NOT_RESIZABLE),
]


@pytest.mark.parametrize(("asked", "name", "phase", "why"), RESIZES)
def test_claims_grow_where_they_can(world: Any, objects: Any, asked: str, name: str, phase: str, why: str) -> None:
    world.add(
        storage_class(objects, "fast", "2026-01-01T00:00:00Z", allowVolumeExpansion=True),
        storage_class(objects, "fixed", "2026-01-01T00:00:00Z"),
    )
    old, new = claim(objects, "1Gi", phase, storageClassName=name), claim(objects, asked, storageClassName=name)
    _, refused = world.admit(claim_resize.check, "persistentvolumeclaims", new, old)
    assert refused == (f'persistentvolumeclaims "c" is forbidden: {why}' if why else "")


@pytest.mark.parametrize("given", [[], [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]])
def test_a_new_node_takes_no_pods_yet(world: Any, objects: Any, given: list[Obj]) -> None:
    node, _ = world.admit(node_taints.taint, "nodes", objects.made("Node", "n", spec={"taints": given}))
    assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


def test_nothing_begins_in_a_namespace_that_ends_or_is_missing(world: Any, objects: Any) -> None:
    gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    world.add(objects.made("Namespace", "going", metadata=gone), objects.made("Namespace", "there"))
    new = objects.made("ConfigMap", "m")
    assert world.admit(lifecycle.admit, "configmaps", new, namespace="there")[1] == ""
    assert world.admit(lifecycle.admit, "configmaps", new, namespace="x")[1] == 'namespaces "x" not found'
    _, refused = world.admit(lifecycle.admit, "configmaps", new, namespace="going")
    assert refused == (
        'configmaps "m" is forbidden: unable to create new content in namespace going because it is being terminated'
    )
    assert world.admit(lifecycle.admit, "configmaps", new, new, namespace="going")[1] == ""


@pytest.mark.parametrize(
    ("refuse", "name"), [(lifecycle.refuse_deletion, "kube-system"), (priority.refuse_deletion, "system-node-critical")]
)
def test_what_every_cluster_needs_is_not_deleted(refuse: Any, name: str) -> None:
    with pytest.raises(ApiError) as refused:
        refuse(name)
    assert refused.value.code == 403


def signing_request(objects: Any, organization: str, signer: str = "kubernetes.io/kube-apiserver-client") -> Obj:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    encoded = base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"signerName": signer, "request": encoded}
    return objects.made("CertificateSigningRequest", "r", "certificates.k8s.io/v1", spec=spec)


REQUESTS: dict[str, Any] = {"plural": "certificatesigningrequests", "group": "certificates.k8s.io"}


def test_nobody_asks_to_be_a_master(world: Any, objects: Any) -> None:
    _, refused = world.admit(certificates.restrict, obj=signing_request(objects, "system:masters"), **REQUESTS)
    assert refused.endswith(
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )
    assert world.admit(certificates.restrict, obj=signing_request(objects, "dev"), **REQUESTS)[1] == ""
    other = signing_request(objects, "system:masters", "example.com/s")
    assert world.admit(certificates.restrict, obj=other, **REQUESTS)[1] == ""


@pytest.mark.parametrize(
    ("step", "subresource", "verb"),
    [(certificates.approve, "approval", "approve"), (certificates.sign, "status", "sign")],
)
def test_approving_and_signing_need_permission(
    world: Any, objects: Any, step: Any, subresource: str, verb: str
) -> None:
    old = signing_request(objects, "dev")
    new = {**old, "status": {"certificate": "x"}}
    told: dict[str, Any] = {**REQUESTS, "subresource": subresource}
    _, refused = world.admit(step, obj=new, old=old, **told)
    signer = "kubernetes.io/kube-apiserver-client"
    assert refused.endswith(f'user not permitted to {verb} requests with signerName "{signer}"')
    assert world.admit(step, obj=new, old=old, user=User("root", ("system:masters",)), **told)[1] == ""
