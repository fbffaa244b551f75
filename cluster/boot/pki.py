"""The cluster's own certificate authority and the certificates that it issues.

A client's common name is its user and its organizations are its groups, as Kubernetes reads them.
Source: Kubernetes "PKI certificates and requirements".
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from oarlock.cluster.boot.state import write_private

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 365
RENEW_BEFORE_DAYS = 60
CLOCK_SKEW = timedelta(minutes=5)
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Paths of PEM files; the key's has mode 0600."""

    ca: Path
    cert: Path
    key: Path


class Issuer(Protocol):
    """What a layout asks for the certificates of its parts."""

    def issue(self, name: str, user: str, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> CertificateFiles:
        """Return the files of certificate `name`, fit for clients and, where `hosts` are given, servers."""
        ...

    def service_account_key(self) -> Path:
        """Return the file of the key that signs service accounts' tokens."""
        ...


class Authority:
    """Issues certificates into one folder; a present one that is still good for a while is kept."""

    def __init__(self, folder: Path, *, renewing: bool = False) -> None:
        """`renewing` keeps none: each certificate that is asked for is made anew."""
        self._folder = folder
        self._renewing = renewing
        self._cert_file, self._key_file = folder / "ca.crt", folder / "ca.key"
        if not self._key_file.exists():
            self._found()
        self._cert = x509.load_pem_x509_certificate(self._cert_file.read_bytes())
        key = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    def issue(self, name: str, user: str, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> CertificateFiles:
        """Return the files of certificate `name`, fit for clients and, where `hosts` are given, servers."""
        files = CertificateFiles(self._cert_file, self._folder / f"{name}.crt", self._folder / f"{name}.key")
        subject, names = _subject(user, groups), _alternative_names(hosts)
        if self._renewing or not self._is_good(files, subject, names):
            self._write(files, subject, names)
        return files

    def sign(
        self, key: CertificatePublicKeyTypes, user: str, groups: Sequence[str], hosts: Sequence[str]
    ) -> x509.Certificate:
        """Return a certificate for a key that was made elsewhere and stays there."""
        return self._signed(key, _subject(user, groups), _alternative_names(hosts))

    def service_account_key(self) -> Path:
        """Return the file of the key that signs service accounts' tokens, the same for every API server."""
        path = self._folder / "service-accounts.key"
        if not path.exists():
            write_private(path, private_bytes(ec.generate_private_key(ec.SECP256R1())))
        return path

    def _found(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "oarlock-ca")])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        cert = (
            _builder(subject, subject, key.public_key(), AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(self._cert_file, cert.public_bytes(serialization.Encoding.PEM))
        write_private(self._key_file, private_bytes(key))

    def _is_good(self, files: CertificateFiles, subject: x509.Name, names: list[x509.GeneralName]) -> bool:
        try:
            cert = x509.load_pem_x509_certificate(files.cert.read_bytes())
        except (OSError, ValueError):
            return False
        try:
            present = list(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            present = []
        fresh = cert.not_valid_after_utc - datetime.now(UTC) > timedelta(days=RENEW_BEFORE_DAYS)
        return fresh and files.key.exists() and cert.subject == subject and present == names

    def _write(self, files: CertificateFiles, subject: x509.Name, names: list[x509.GeneralName]) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        signed = self._signed(key.public_key(), subject, names)
        write_private(files.cert, signed.public_bytes(serialization.Encoding.PEM))
        write_private(files.key, private_bytes(key))

    def _signed(
        self, key: CertificatePublicKeyTypes, subject: x509.Name, names: list[x509.GeneralName]
    ) -> x509.Certificate:
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if names else [])
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(subject, self._cert.subject, key, CERTIFICATE_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(issuer_key, critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _subject(user: str, groups: Sequence[str]) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        + [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the key as PEM, without a password: the file's mode protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _alternative_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names
