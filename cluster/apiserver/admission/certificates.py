"""CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may do what with signing requests.

Source: upstream's plugin/pkg/admission/certificates.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from oarlock.cluster.apiserver import authorization
from oarlock.cluster.apiserver.admission.attributes import UPDATE, Attributes
from oarlock.cluster.apiserver.admission.view import View
from oarlock.cluster.apiserver.authentication import MASTERS
from oarlock.cluster.apiserver.requests import RequestInfo

Obj = dict[str, Any]
_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


def approve(attributes: Attributes, _: View) -> None:
    """Refuse an approval by somebody who may not approve for the request's signer."""
    if attributes.operation == UPDATE and attributes.subresource == "approval":
        _require(attributes, "approve")


def sign(attributes: Attributes, _: View) -> None:
    """Refuse a certificate, or a condition of failure, from somebody who may not sign as the request's signer."""
    if attributes.operation != UPDATE or attributes.subresource != "status":
        return
    if _issued(attributes.obj) != _issued(attributes.old or {}):
        _require(attributes, "sign")


def restrict(attributes: Attributes, _: View) -> None:
    """Refuse a new request for a client certificate of the cluster's masters."""
    spec = attributes.obj.get("spec") or {}
    if not attributes.is_create or spec.get("signerName") != _CLIENT_SIGNER:
        return
    if MASTERS in _organizations(spec.get("request") or ""):
        raise attributes.forbidden(f"use of {_CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


def _require(attributes: Attributes, verb: str) -> None:
    name = (attributes.old or attributes.obj).get("spec", {}).get("signerName", "")
    wildcard = name.partition("/")[0] + "/*"
    if not any(authorization.allowed(attributes.user, _signer(verb, one)) for one in (name, wildcard)):
        doing = "approve" if verb == "approve" else "sign"
        raise attributes.forbidden(f'user not permitted to {doing} requests with signerName "{name}"')


def _signer(verb: str, name: str) -> RequestInfo:
    return RequestInfo(
        verb=verb,
        path="",
        is_resource=True,
        group="certificates.k8s.io",
        version="*",
        namespace="",
        resource="signers",
        name=name,
    )


def _issued(request: Obj) -> tuple[Any, list[Any]]:
    state = request.get("status") or {}
    failed = [one for one in state.get("conditions") or () if one.get("type") == "Failed"]
    return state.get("certificate"), failed


def _organizations(encoded: str) -> set[str]:
    """Return the groups that a PEM request in base64 asks for; one that can't be read asks for none."""
    try:
        request = x509.load_pem_x509_csr(base64.b64decode(encoded))
        return {str(one.value) for one in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)}
    except (ValueError, TypeError, binascii.Error):
        return set()
