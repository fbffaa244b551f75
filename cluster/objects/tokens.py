"""JSON Web Tokens signed with the cluster's service account key, and the documents by which others check them.

Source: RFC 7515, 7517, 7519; upstream's pkg/serviceaccount; OpenID Connect Discovery 1.0.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

Claims = Mapping[str, Any]
_COORDINATE_BYTES = 32
TOKEN_CHARS_MAX = 16 * 1024
LEGACY_ISSUER = "kubernetes/serviceaccount"
LEGACY_CLAIMS = tuple(
    f"kubernetes.io/serviceaccount/{name}"
    for name in ("namespace", "secret.name", "service-account.name", "service-account.uid")
)
"""What a token that stands in a Secret says of itself: where, in which Secret, and of which account it is."""
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
"""Labels of such a Secret, with a day."""
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
"""The config map in kube-system that tells since when last uses are noted."""
JWKS_PATH = "/openid/v1/jwks"
CONFIGURATION_PATH = "/.well-known/openid-configuration"


class KeyFileError(Exception):
    """The service account key can't be used; the text names the file and the cause."""


def new_key() -> bytes:
    """Return a new key as PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class TokenKey:
    """Signs and checks tokens with ECDSA on P-256 (ES256)."""

    def __init__(self, pem: bytes) -> None:
        """Raises ValueError for anything but an unencrypted private key on P-256."""
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("a service account key must be an ECDSA key on P-256")
        self._key = key
        self._public = key.public_key()
        described = self._public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._id = _text(hashlib.sha256(described).digest())
        self._checked = lru_cache(maxsize=4096)(self._check)

    def sign(self, claims: Claims) -> str:
        """Return the token that carries `claims`."""
        head = _text(orjson.dumps({"alg": "ES256", "kid": self._id}))
        signed = f"{head}.{_text(orjson.dumps(claims))}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        raw = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return f"{signed}.{_text(raw)}"

    def claims(self, token: str) -> Claims | None:
        """Return what a token of this key says, None for any other text. Times are the caller's to check."""
        return self._checked(token) if len(token) <= TOKEN_CHARS_MAX else None

    def _check(self, token: str) -> Claims | None:
        try:
            head, body, signature = token.split(".")
            raw = _bytes(signature)
            if orjson.loads(_bytes(head)).get("alg") != "ES256" or len(raw) != 2 * _COORDINATE_BYTES:
                return None
            r, s = raw[:_COORDINATE_BYTES], raw[_COORDINATE_BYTES:]
            encoded = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
            self._public.verify(encoded, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
            claims = orjson.loads(_bytes(body))
        except (ValueError, AttributeError, InvalidSignature):
            return None
        return claims if isinstance(claims, dict) else None

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set."""
        numbers = self._public.public_numbers()
        coordinates = {
            name: _text(value.to_bytes(_COORDINATE_BYTES, "big"))
            for name, value in (("x", numbers.x), ("y", numbers.y))
        }
        return {"keys": [{"use": "sig", "kty": "EC", "kid": self._id, "crv": "P-256", "alg": "ES256", **coordinates}]}


def configuration(issuer: str, server: str) -> dict[str, Any]:
    """Return the OpenID provider's configuration; `server` is the base URL at which the keys are served."""
    return {
        "issuer": issuer,
        "jwks_uri": f"{server}{JWKS_PATH}",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }


def audiences_of(claims: Claims) -> Sequence[str]:
    """Return whom a token is meant for."""
    named = claims.get("aud") or ()
    return (named,) if isinstance(named, str) else tuple(map(str, named))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
