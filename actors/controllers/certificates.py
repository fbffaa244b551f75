"""Sign approved certificate signing requests with the cluster's CA, approve nodes' own, forget old ones.

Source: upstream's certificates/signer (authority.PermissiveSigningPolicy), approver and cleaner.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from oarlock.actors.controllers import certificate_requests
from oarlock.actors.controllers.actions import Action, Delete, Requeue, UpdateStatus
from oarlock.actors.controllers.certificate_requests import Refused
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.http import ApiClient

Object = dict[str, Any]

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_VALID_S = 365 * 24 * 3600.0
_VALID_MIN_S = 600.0
_BACKDATED_S, _SHORT_S = 300.0, 8 * 3600.0
_LOOK_S = 3600.0

_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}


class Signer:
    """Signs with a CA. The certificate's names are the request's, its usages the object's, its time at most a year."""

    def __init__(self, ca_pem: str, key_file: str) -> None:
        self._ca = x509.load_pem_x509_certificate(ca_pem.encode())
        key = serialization.load_pem_private_key(Path(key_file).read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
        self._key = key

    def reconcile(self, key: str, view: View) -> list[Action]:
        """Return the certificate of an approved request, or why there can be none."""
        obj = view.get("certificatesigningrequests", key)
        if obj is None or not certificate_requests.is_to_sign(obj):
            return []
        spec, status = obj["spec"], obj["status"]
        try:
            request = certificate_requests.request_of(obj)
            certificate_requests.check(request, spec["signerName"], spec.get("usages") or ())
        except Refused as error:
            failed = {"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": str(error)}
            told = [*status["conditions"], {**failed, "lastUpdateTime": view.stamp}]
            return [UpdateStatus({**obj, "status": {**status, "conditions": told}})]
        signed = self.sign(request, spec.get("usages") or (), spec.get("expirationSeconds"), view)
        return [UpdateStatus({**obj, "status": {**status, "certificate": base64.b64encode(signed).decode()}})]

    def sign(
        self, request: x509.CertificateSigningRequest, usages: Iterable[str], seconds: int | None, view: View
    ) -> bytes:
        """Return the certificate in PEM form."""
        valid_s = _VALID_S if seconds is None else max(_VALID_MIN_S, min(_VALID_S, seconds))
        start = view.now.replace(microsecond=0) - timedelta(seconds=_BACKDATED_S)
        end = start + timedelta(seconds=valid_s + (_BACKDATED_S if valid_s < _SHORT_S else 0))
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(self._ca.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(min(end, self._ca.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        named = {_KEY_USAGES[one] for one in usages if one in _KEY_USAGES}
        if named:
            builder = builder.add_extension(_key_usage(named), critical=True)
        extended = [_EXTENDED[one] for one in usages if one in _EXTENDED]
        if extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        for one in request.extensions:
            if isinstance(one.value, x509.SubjectAlternativeName):
                builder = builder.add_extension(one.value, critical=one.critical)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _key_usage(named: set[str]) -> x509.KeyUsage:
    agreed = "key_agreement" in named
    names = set(_KEY_USAGES.values())
    return x509.KeyUsage(
        **{one: one in named and (agreed or one not in ("encipher_only", "decipher_only")) for one in names}
    )


def reconcile_old(key: str, view: View) -> list[Action]:
    """Return the deletion of a request that nobody needs any more, or when to look again."""
    obj = view.get("certificatesigningrequests", key)
    if obj is None:
        return []
    left_s = certificate_requests.left_s(obj, view.now)
    return [Delete(obj)] if left_s <= 0 else [Requeue(min(left_s, _LOOK_S))]


async def approve(client: ApiClient, obj: Object) -> float | None:
    """Approve a node's own request if whoever made it may have such certificates. Raises ApiError, Unreachable."""
    try:
        permissions = certificate_requests.nodes_permission(obj)
    except ValueError:
        return None  # it's no request that anybody could sign
    spec = obj["spec"]
    for subresource, message in permissions:
        attributes = {"group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create"}
        asked: Object = {"user": spec.get("username", ""), "groups": spec.get("groups") or []}
        asked |= {name: spec[name] for name in ("uid", "extra") if spec.get(name)}
        asked["resourceAttributes"] = {**attributes, "subresource": subresource}
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
        answer = await client.create(_REVIEWS, {**kind, "spec": asked})
        if answer["status"].get("allowed"):
            await _approve(client, obj, message)
            return None
    return None


async def _approve(client: ApiClient, obj: Object, message: str) -> None:
    status = obj.get("status") or {}
    said = {"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message}
    changed = {**obj, "status": {**status, "conditions": [*(status.get("conditions") or []), said]}}
    await client.update(f"{REQUESTS}/{obj['metadata']['name']}/approval", changed)


def _keys(_plural: str, _old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    return [Due(new["metadata"]["name"])] if new is not None else []


SIGNING = "csrsigning"


def signing(ca_pem: str, key_file: str) -> Controller:
    """Return the controller that signs with the CA of which both files are given."""
    return Controller(
        name=SIGNING,
        source=SIGNING,
        reads=("certificatesigningrequests",),
        keys=_keys,
        reconcile=Signer(ca_pem, key_file).reconcile,
        workers=1,
    )


CLEANER = Controller(
    name="csrcleaner",
    source="csrcleaner",
    reads=("certificatesigningrequests",),
    keys=_keys,
    reconcile=reconcile_old,
    workers=1,
)
