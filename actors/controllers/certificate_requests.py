"""Certificate signing requests: which of Kubernetes' own signers means one, whether it may be signed, and its end.

Pure but for reading X.509. Source: kubernetes.io "Certificates and Certificate Signing Requests"; upstream's
certificates/signer, approver and cleaner, and pkg/apis/certificates helpers.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from oarlock.actors.controllers import conditions
from oarlock.actors.controllers.view import parse_time

Object = dict[str, Any]

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"
SIGNERS = (CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY)

_OPTIONAL = {"digital signature", "key encipherment"}
_NODE_PREFIX, _NODES = "system:node:", "system:nodes"
_HANDLED_S, _PENDING_S = 3600.0, 24 * 3600.0


class Refused(Exception):
    """A request asks for what its signer doesn't sign; the message says what, in upstream's words."""


def request_of(obj: Mapping[str, Any]) -> x509.CertificateSigningRequest:
    """Return the X.509 request. Raises ValueError for what is none."""
    return x509.load_pem_x509_csr(base64.b64decode(obj["spec"]["request"]))


def is_approved(obj: Mapping[str, Any]) -> bool:
    """Whether a request was approved, not denied, and hasn't failed."""
    held = (obj.get("status") or {}).get("conditions")
    said = {kind: conditions.is_true(held, kind) for kind in ("Approved", "Denied", "Failed")}
    return said == {"Approved": True, "Denied": False, "Failed": False}


def is_undecided(obj: Mapping[str, Any]) -> bool:
    """Whether nobody has approved or denied a request, nor signed it."""
    status = obj.get("status") or {}
    decided = {one["type"] for one in status.get("conditions") or ()} & {"Approved", "Denied"}
    return not decided and not status.get("certificate")


def is_to_sign(obj: Mapping[str, Any]) -> bool:
    """Whether a request waits for one of Kubernetes' own signers."""
    return is_approved(obj) and not obj["status"].get("certificate") and obj["spec"].get("signerName") in SIGNERS


def check(request: x509.CertificateSigningRequest, signer: str, usages: Iterable[str]) -> None:
    """Raise Refused unless the signer signs such a request."""
    wanted = set(usages)
    if signer == CLIENT:
        _check_client_usages(usages)
    elif signer == KUBELET_CLIENT:
        _check_node(request)
        if _alternative_names(request):
            raise Refused("DNS, IP, email and URI subjectAltNames are not allowed")
        _check_usages(wanted, "client auth")
    elif signer == KUBELET_SERVING:
        _check_node(request)
        names = _alternative_names(request)
        if not any(isinstance(one, x509.DNSName | x509.IPAddress) for one in names):
            raise Refused("DNS or IP subjectAltName is required")
        if any(isinstance(one, x509.RFC822Name) for one in names):
            raise Refused("email subjectAltNames are not allowed")
        if any(isinstance(one, x509.UniformResourceIdentifier) for one in names):
            raise Refused("URI subjectAltNames are not allowed")
        _check_usages(wanted, "server auth")


def nodes_permission(obj: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the subresources whose creation lets a node's own request be approved, each with what is then said."""
    if obj["spec"].get("signerName") != KUBELET_CLIENT:
        return []
    request = request_of(obj)
    try:
        check(request, KUBELET_CLIENT, obj["spec"].get("usages") or ())
    except Refused:
        return []
    found = [("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")]
    if obj["spec"].get("username") == _name(request):
        said = "Auto approving self kubelet client certificate after SubjectAccessReview."
        found.insert(0, ("selfnodeclient", said))
    return found


def left_s(obj: Mapping[str, Any], now: datetime) -> float:
    """Return the seconds until a request may be forgotten: an hour after its decision, a day without one."""
    status = obj.get("status") or {}
    ends: list[datetime] = []
    for one in status.get("conditions") or ():
        done = (
            one["type"] == "Denied"
            or one["type"] == "Failed"
            or (one["type"] == "Approved" and status.get("certificate"))
        )
        if done and one.get("lastUpdateTime"):
            ends.append(parse_time(one["lastUpdateTime"]) + timedelta(seconds=_HANDLED_S))
    if status.get("certificate"):
        ends.append(_expiry(status["certificate"]))
    if not status.get("conditions"):
        ends.append(parse_time(obj["metadata"]["creationTimestamp"]) + timedelta(seconds=_PENDING_S))
    return (min(ends) - now).total_seconds() if ends else float("inf")


def _expiry(certificate: str) -> datetime:
    try:
        return x509.load_pem_x509_certificate(base64.b64decode(certificate)).not_valid_after_utc
    except ValueError:
        return datetime.max.replace(tzinfo=parse_time("2000-01-01T00:00:00Z").tzinfo)


def _check_client_usages(usages: Iterable[str]) -> None:
    for usage in usages:
        if usage not in {*_OPTIONAL, "client auth"}:
            raise Refused(f"invalid usage for client certificate: {usage}")
    if "client auth" not in usages:
        raise Refused("missing required usage for client certificate: client auth")


def _check_usages(usages: set[str], needed: str) -> None:
    both = ({"digital signature", needed}, {"key encipherment", "digital signature", needed})
    if usages not in both:
        raise Refused(f"usages did not match [{' '.join(sorted(both[1]))}] or [{' '.join(sorted(both[0]))}]")


def _check_node(request: x509.CertificateSigningRequest) -> None:
    groups = [one.value for one in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if groups != [_NODES]:
        raise Refused("subject organization is not system:nodes")
    if not _name(request).startswith(_NODE_PREFIX):
        raise Refused("subject common name does not begin with system:node:")


def _name(request: x509.CertificateSigningRequest) -> str:
    found = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _alternative_names(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        return list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []
