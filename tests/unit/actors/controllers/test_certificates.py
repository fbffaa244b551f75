"""Certificate signing requests: who may have what, what the certificate says, and when the request is forgotten."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from oarlock.actors.controllers import certificate_requests, certificates
from oarlock.actors.controllers.certificate_requests import CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY, Refused

Object = dict[str, Any]

NODE = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes")]
BOTH = ["key encipherment", "digital signature"]


def request(name: str = "system:node:n1", groups: Any = NODE, *names: x509.GeneralName) -> bytes:
    subject = x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path, world: Any) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(world.now).not_valid_after(world.now + timedelta(days=3650))
    file = tmp_path / "ca.key"
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(key.private_bytes(*plain))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode(), str(file)


def put(world: Any, pem: bytes, signer: str, usages: list[str], *said: str, **spec: Any) -> Object:
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "r"}}
    body = {"request": base64.b64encode(pem).decode(), "signerName": signer, "usages": usages, **spec}
    conditions = [{"type": one, "status": "True", "lastUpdateTime": world.stamp} for one in said]
    status = {"conditions": conditions} if said else {}
    made: Object = world.put({**kind, "spec": body, "status": status})
    return made


@pytest.mark.parametrize(
    ("seconds", "valid"), [(None, timedelta(days=365)), (60, timedelta(minutes=10)), (3600, timedelta(hours=1))]
)
def test_an_approved_request_is_signed_as_asked(
    world: Any, authority: tuple[str, str], seconds: int | None, valid: timedelta
) -> None:
    pem = request("jane", [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "devs")], x509.DNSName("j"))
    spec = {"expirationSeconds": seconds} if seconds else {}
    put(world, pem, CLIENT, [*BOTH, "client auth"], "Approved", **spec)
    world.act(certificates.signing(*authority).reconcile("r", world.view))
    held = world.view.get("certificatesigningrequests", "r")
    made = x509.load_pem_x509_certificate(base64.b64decode(held["status"]["certificate"]))
    assert made.subject.rfc4514_string() == "CN=jane,O=devs"
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority[0].encode()))
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, True, False)
    extended = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(extended) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    end = world.now + valid
    assert abs(made.not_valid_after_utc - end) <= timedelta(minutes=5)
    assert certificates.signing(*authority).reconcile("r", world.view) == []


@pytest.mark.parametrize("said", [(), ("Denied",), ("Approved", "Denied"), ("Approved", "Failed")])
def test_nothing_else_is_signed(world: Any, authority: tuple[str, str], said: tuple[str, ...]) -> None:
    put(world, request(), LEGACY, ["client auth"], *said)
    assert certificates.signing(*authority).reconcile("r", world.view) == []


def test_the_signers_of_others_are_left_alone(world: Any, authority: tuple[str, str]) -> None:
    put(world, request(), "example.com/mine", ["client auth"], "Approved")
    assert certificates.signing(*authority).reconcile("r", world.view) == []


REFUSED = [
    (CLIENT, request("x", []), ["server auth"], "invalid usage for client certificate: server auth"),
    (CLIENT, request("x", []), BOTH, "missing required usage for client certificate: client auth"),
    (KUBELET_CLIENT, request("system:node:n", []), [*BOTH, "client auth"], "subject organization is not system:nodes"),
    (KUBELET_CLIENT, request("n"), [*BOTH, "client auth"], "subject common name does not begin with system:node:"),
    (
        KUBELET_CLIENT,
        request("system:node:n", NODE, x509.DNSName("n")),
        [*BOTH, "client auth"],
        "DNS, IP, email and URI subjectAltNames are not allowed",
    ),
    (KUBELET_SERVING, request(), [*BOTH, "server auth"], "DNS or IP subjectAltName is required"),
]


@pytest.mark.parametrize(("signer", "pem", "usages", "message"), REFUSED)
def test_what_a_signer_doesnt_sign_fails_and_says_why(
    world: Any, authority: tuple[str, str], signer: str, pem: bytes, usages: list[str], message: str
) -> None:
    with pytest.raises(Refused, match=message):
        certificate_requests.check(x509.load_pem_x509_csr(pem), signer, usages)
    put(world, pem, signer, usages, "Approved")
    world.act(certificates.signing(*authority).reconcile("r", world.view))
    failed = world.view.get("certificatesigningrequests", "r")["status"]["conditions"][-1]
    assert (failed["type"], failed["reason"], failed["message"]) == ("Failed", "SignerValidationFailure", message)


def test_a_nodes_own_request_is_recognised(world: Any) -> None:
    usages = [*BOTH, "client auth"]
    mine = put(world, request(), KUBELET_CLIENT, usages, username="system:node:n1")
    assert [one for one, _ in certificate_requests.nodes_permission(mine)] == ["selfnodeclient", "nodeclient"]
    others = put(world, request(), KUBELET_CLIENT, usages, username="bootstrap")
    assert [one for one, _ in certificate_requests.nodes_permission(others)] == ["nodeclient"]
    assert certificate_requests.nodes_permission(put(world, request(), CLIENT, usages)) == []


@pytest.mark.parametrize(("said", "hours"), [((), 24), (("Denied",), 1)])
def test_old_requests_are_forgotten(world: Any, said: tuple[str, ...], hours: int) -> None:
    put(world, request(), CLIENT, ["client auth"], *said)
    world.pass_time(hours * 3600 - 1)
    assert world.act(certificates.CLEANER.reconcile("r", world.view)) == 0
    world.pass_time(2)
    assert world.act(certificates.CLEANER.reconcile("r", world.view)) == 1
