"""Requests for certificates: a key is made where it is used and never leaves; what it is certified for, we say."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from oarlock.cluster.boot.drafts import NODE_GROUPS, node_names, node_user
from oarlock.cluster.boot.joining.judging import Refused
from oarlock.cluster.boot.pki import Authority, private_bytes
from oarlock.cluster.boot.state import write_private


def new_request(name: str, key_file: Path) -> str:
    """Make a key in `key_file` and return the PEM of a request for a certificate of it."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(key_file, private_bytes(key))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_user(name))])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def signed(authority: Authority, pem: object, name: str, address: str) -> str:
    """Return the certificate of a node in PEM. Of the request nothing but its key counts. Raises Refused."""
    try:
        request = x509.load_pem_x509_csr(str(pem).encode())
    except ValueError:
        request = None
    if request is None or not request.is_signature_valid:
        raise Refused(400, "the request for a certificate can't be read", "Install the same version on all hosts.")
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Refused(400, "the key is none of the kind that certificates are given for", "Use ECDSA.")
    cert = authority.sign(key, node_user(name), NODE_GROUPS, node_names(name, address))
    return cert.public_bytes(serialization.Encoding.PEM).decode()
