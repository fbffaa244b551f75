"""Signing requests, limit ranges, service ranges, addresses, runtime classes: what is refused, and why."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from oarlock.cluster.objects import (
    certificate_validation,
    defaulting,
    limit_range_validation,
    runtime_class_validation,
    service_range_validation,
    strategy,
    validation,
)
from oarlock.cluster.objects.resources import Resource, lookup
from oarlock.cluster.objects.status import Cause


def told(causes: list[Cause]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in causes]


def served(group: str, plural: str) -> Resource:
    resource = lookup(group, "v1", plural)
    assert resource is not None
    return resource


def signing_request() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    asked = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return asked.public_bytes(serialization.Encoding.PEM)


ASKED = base64.b64encode(signing_request()).decode()


def csr(*conditions: dict[str, Any], certificate: str = "", **spec: Any) -> dict[str, Any]:
    given = {"request": ASKED, "signerName": "example.com/s", "usages": ["client auth"], **spec}
    status: dict[str, Any] = {"conditions": list(conditions)} if conditions else {}
    if certificate:
        status["certificate"] = base64.b64encode(certificate.encode()).decode()
    return {"metadata": {"name": "c"}, "spec": given, "status": status}


APPROVED = {"type": "Approved", "status": "True"}
DENIED = {"type": "Denied", "status": "True"}


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (csr(), []),
        (csr(request=""), ["spec.request: Invalid value: null: PEM block type must be CERTIFICATE REQUEST"]),
        (csr(usages=[]), ["spec.usages: Required value"]),
        (csr(usages=["signing", "signing"]), ['spec.usages[1]: Duplicate value: "signing"']),
        (csr(signerName=""), ["spec.signerName: Required value"]),
        (
            csr(signerName="signer"),
            [
                (
                    'spec.signerName: Invalid value: "signer": must be a fully qualified domain and path '
                    "of the form 'example.com/signer-name'"
                )
            ],
        ),
        (
            csr(signerName="example/s"),
            [
                (
                    'spec.signerName: Invalid value: "example": should be a domain with at least two '
                    "segments separated by dots"
                )
            ],
        ),
        (
            csr(signerName="kubernetes.io/legacy-unknown"),
            [
                (
                    'spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy '
                    "signerName is not allowed via this API version"
                )
            ],
        ),
        (
            csr(expirationSeconds=599),
            [
                (
                    "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than "
                    "600 seconds (10 minutes)"
                )
            ],
        ),
    ],
)
def test_what_may_be_asked_of_a_signer(obj: dict[str, Any], said: list[str]) -> None:
    assert told(certificate_validation.request(obj)) == said


def test_a_request_must_be_signed_by_its_own_key() -> None:
    raw = bytearray(base64.b64decode(b"".join(signing_request().splitlines()[1:-1])))
    raw[-1] ^= 1
    body = base64.b64encode(bytes(raw))
    forged = b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"\n-----END CERTIFICATE REQUEST-----\n"
    causes = certificate_validation.request(csr(request=base64.b64encode(forged).decode()))
    assert [cause.field for cause in causes] == ["spec.request"]


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        (csr(APPROVED), csr(), []),
        (csr(), csr(APPROVED), ['status.conditions: Forbidden: updates may not remove a condition of type "Approved"']),
        (
            csr(APPROVED, DENIED),
            csr(APPROVED),
            [
                'status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive',
            ],
        ),
        (
            csr({"type": "Approved", "status": "False"}),
            csr(),
            ['status.conditions[0].status: Unsupported value: "False": supported values: "True"'],
        ),
        (
            csr(certificate="x"),
            csr(),
            [
                (
                    'status.certificate: Invalid value: "<certificate data>": '
                    "must contain at least one CERTIFICATE PEM block"
                ),
                "status.certificate: Forbidden: updates may not set certificate content",
            ],
        ),
    ],
)
def test_decisions_are_made_once(new: dict[str, Any], old: dict[str, Any], said: list[str]) -> None:
    assert told(certificate_validation.approval(new, old)) == said


def test_signers_issue_and_do_not_decide() -> None:
    adding = 'status.conditions: Forbidden: updates may not add a condition of type "Approved"'
    assert told(certificate_validation.status(csr(APPROVED), csr())) == [adding]
    failed = {"type": "Failed", "status": "True"}
    assert told(certificate_validation.status(csr(APPROVED, failed), csr(APPROVED))) == []


def limits(kind: str = "Container", **amounts: Any) -> dict[str, Any]:
    return {"metadata": {"name": "l", "namespace": "n"}, "spec": {"limits": [{"type": kind, **amounts}]}}


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (limits(max={"cpu": "2"}, min={"cpu": "1"}, maxLimitRequestRatio={"cpu": "2"}), []),
        (limits("PersistentVolumeClaim", min={"storage": "1Gi"}), []),
        (limits("example.com/thing", max={"services": "1"}), []),
        (
            limits("Thing"),
            ['spec.limits[0].type: Invalid value: "Thing": must be a standard limit type or fully qualified'],
        ),
        (
            limits(max={"pods": "1"}),
            ['spec.limits[0].max[pods]: Invalid value: "pods": must be a standard resource for containers'],
        ),
        (
            limits("Pod", default={"cpu": "1"}),
            ["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
        ),
        (
            limits("PersistentVolumeClaim"),
            [
                (
                    "spec.limits[0].limits: Required value: either minimum or maximum storage value is "
                    "required, but neither was provided"
                )
            ],
        ),
        (
            limits(max={"cpu": "1"}, min={"cpu": "2"}),
            ['spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'],
        ),
        (
            limits(default={"cpu": "3"}, max={"cpu": "2"}),
            ['spec.limits[0].default[cpu]: Invalid value: "2": default value 3 is greater than max value 2'],
        ),
        (
            limits(defaultRequest={"cpu": "3"}, default={"cpu": "2"}),
            [
                (
                    'spec.limits[0].defaultRequest[cpu]: Invalid value: "3": default request value 3 is '
                    "greater than default limit value 2"
                )
            ],
        ),
        (
            limits(maxLimitRequestRatio={"cpu": "500m"}),
            ['spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1'],
        ),
        (
            limits(max={"cpu": "3"}, min={"cpu": "2"}, maxLimitRequestRatio={"cpu": "2"}),
            [
                (
                    'spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "2": ratio 2 is greater '
                    "than max/min = 1.500000"
                )
            ],
        ),
        (
            limits(default={"example.com/gpu": "2"}, defaultRequest={"example.com/gpu": "1"}),
            [
                (
                    'spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: "1": default value 2 '
                    "must equal to defaultRequest value 1 in example.com/gpu"
                )
            ],
        ),
    ],
)
def test_limits_must_agree(obj: dict[str, Any], said: list[str]) -> None:
    assert told(limit_range_validation.limit_range(obj)) == said


def test_a_limit_range_without_a_name_gets_one_of_its_own() -> None:
    resource = served("", "limitranges")
    obj: dict[str, Any] = {"metadata": {"uid": "5d2b3f0e-3f6e-4a7e-9d0a-0d6d0a1b2c3d", "namespace": "n"}}
    defaulting.default(resource, obj)
    strategy.prepare_create(resource, obj)
    assert validation.validate_create(resource, obj) == []
    assert obj["metadata"]["name"] not in ("", obj["metadata"]["uid"])


def ranges(*texts: str) -> dict[str, Any]:
    return {"metadata": {"name": "r"}, "spec": {"cidrs": list(texts)}}


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (ranges("10.0.0.0/24", "2001:db8::/64"), []),
        (ranges(), ["spec.cidrs: Required value: at least one CIDR required"]),
        (
            ranges("10.0.0.0"),
            [
                (
                    'spec.cidrs[0]: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. '
                    "10.9.8.0/24 or 2001:db8::/64)"
                )
            ],
        ),
        (
            ranges("10.0.0.1/24"),
            ['spec.cidrs[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix length'],
        ),
        (
            ranges("2001:DB8::/64"),
            ['spec.cidrs[0]: Invalid value: "2001:DB8::/64": must be in canonical form ("2001:db8::/64")'],
        ),
    ],
)
def test_service_ranges(obj: dict[str, Any], said: list[str]) -> None:
    assert told(service_range_validation.service_range(obj)) == said


def test_two_ranges_are_one_of_each_family() -> None:
    causes = service_range_validation.service_range(ranges("10.0.0.0/24", "10.0.1.0/24"))
    assert causes[0].message.startswith('Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one IP')


def address(**parent: str) -> dict[str, Any]:
    reference = {"resource": "services", "namespace": "n", "name": "s", **parent}
    return {"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": reference}}


def test_an_address_belongs_to_somebody_for_good() -> None:
    assert service_range_validation.address(address()) == []
    assert told(service_range_validation.address(address(resource=""))) == ["spec.parentRef.resource: Required value"]
    shown = '{"Group":"","Resource":"services","Namespace":"n","Name":"t"}'
    assert told(service_range_validation.address_update(address(name="t"), address())) == [
        f"spec.parentRef: Invalid value: {shown}: field is immutable"
    ]


@pytest.mark.parametrize(
    ("group", "plural", "name", "said"),
    [
        ("networking.k8s.io", "ipaddresses", "10.0.0.1", ""),
        ("networking.k8s.io", "ipaddresses", "2001:db8:0::1", 'must be in canonical form ("2001:db8::1")'),
        ("networking.k8s.io", "ipaddresses", "a", "must be a valid IP address"),
        ("policy", "poddisruptionbudgets", "Any Name", ""),
        ("policy", "poddisruptionbudgets", "a/b", "may not contain '/'"),
        ("certificates.k8s.io", "certificatesigningrequests", "x" * 300, ""),
        ("resource.k8s.io", "deviceclasses", "x" * 300, "must be no more than 253 bytes"),
    ],
)
def test_each_kinds_own_rule_for_names(group: str, plural: str, name: str, said: str) -> None:
    resource = served(group, plural)
    metadata = {"name": name, **({"namespace": "n"} if resource.namespaced else {})}
    obj: dict[str, Any] = {"metadata": {**metadata, "uid": "u"}}
    defaulting.default(resource, obj)
    messages = [cause.message for cause in validation.validate_create(resource, obj) if cause.field == "metadata.name"]
    assert len(messages) == bool(said)
    assert all(said in message for message in messages)


def runtime(**more: Any) -> dict[str, Any]:
    return {"metadata": {"name": "r"}, "handler": "runc", **more}


ONCE = {"key": "k", "operator": "Exists"}


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (runtime(overhead={"podFixed": {"cpu": "10m"}}, scheduling={"tolerations": [ONCE]}), []),
        (
            runtime(overhead={"podFixed": {"cpu": "-1"}}),
            ['overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0'],
        ),
        (
            runtime(scheduling={"tolerations": [ONCE, ONCE]}),
            [
                (
                    "scheduling.tolerations[1]: Duplicate value: "
                    '{"Key":"k","Operator":"Exists","Value":"","Effect":"","TolerationSeconds":null}'
                )
            ],
        ),
    ],
)
def test_runtime_classes(obj: dict[str, Any], said: list[str]) -> None:
    assert told(runtime_class_validation.runtime_class(obj)) == said


def test_a_runtime_class_keeps_its_handler() -> None:
    causes = runtime_class_validation.runtime_class_update(runtime(handler="kata"), runtime())
    assert told(causes) == ['handler: Invalid value: "kata": field is immutable']
