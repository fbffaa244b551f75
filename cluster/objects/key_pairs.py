"""Whether a certificate and a key belong together, and what Go says when they don't.

Source: Go's crypto/tls X509KeyPair.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)
_KINDS: Final = (
    (rsa.RSAPublicKey, rsa.RSAPrivateKey),
    (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey),
    (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey),
)


def problem(certificate: str, key: str) -> str:
    """What is wrong with a pair of base64 texts of PEM, or "" if nothing is."""
    blocks, key_blocks = list(_blocks(certificate)), list(_blocks(key))
    certificates = [body for kind, body in blocks if kind == "CERTIFICATE"]
    if not certificates:
        return _no_certificate([kind for kind, _ in blocks])
    keys = [body for kind, body in key_blocks if kind == "PRIVATE KEY" or kind.endswith(" PRIVATE KEY")]
    if not keys:
        return _no_key([kind for kind, _ in key_blocks])
    return _mismatch(certificates[0], keys[0])


def _blocks(text: str) -> Iterator[tuple[str, bytes]]:
    try:
        raw = base64.b64decode(text)
    except (ValueError, binascii.Error):
        return
    for match in _BLOCK.finditer(raw):
        try:
            yield match[1].decode(), base64.b64decode(match[2])
        except (ValueError, binascii.Error):
            continue


def _no_certificate(kinds: list[str]) -> str:
    if not kinds:
        return "tls: failed to find any PEM data in certificate input"
    if len(kinds) == 1 and kinds[0].endswith("PRIVATE KEY"):
        return (
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; "
            "PEM inputs may have been switched"
        )
    return (
        'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the following '
        f"types: [{' '.join(kinds)}]"
    )


def _no_key(kinds: list[str]) -> str:
    if not kinds:
        return "tls: failed to find any PEM data in key input"
    if kinds == ["CERTIFICATE"]:
        return "tls: found a certificate rather than a key in the PEM for the private key"
    return (
        'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of the '
        f"following types: [{' '.join(kinds)}]"
    )


def _mismatch(certificate: bytes, key: bytes) -> str:
    try:
        public = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "x509: malformed certificate"
    try:
        private = load_der_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "tls: failed to parse private key"
    wanted = next((kind for shown, kind in _KINDS if isinstance(public, shown)), None)
    if wanted is None:
        return "tls: unknown public key algorithm"
    if not isinstance(private, wanted):
        return "tls: private key type does not match public key type"
    own = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    same = own == public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "" if same else "tls: private key does not match public key"
