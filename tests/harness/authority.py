"""A certificate authority for tests, whose certificates may be as wrong as a test needs."""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from oarlock.consensus.certificates import Tls

DAY = datetime.timedelta(days=1)


class Authority:
    """Issues certificates as PEM files in `folder`; `pem` is its own certificate."""

    def __init__(self, folder: Path, name: str = "test-ca") -> None:
        folder.mkdir(exist_ok=True, parents=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = _pem(self._signed(self._name, self._key, DAY, authority=True))
        (folder / "ca.crt").write_bytes(self.pem)

    def issue(
        self,
        name: str,
        organizations: Sequence[str] = (),
        *,
        file: str = "",
        lasts: datetime.timedelta = DAY,
        hosts: Sequence[str] = (),
    ) -> Tls:
        """Return the files of a new certificate, of a server on `hosts`, if any; a negative `lasts`: expired."""
        base = self._folder / (file or name.replace(":", "-"))
        tls = Tls(self._folder / "ca.crt", base.with_suffix(".crt"), base.with_suffix(".key"))
        certificate, key = self.sign(name, organizations, lasts=lasts, hosts=hosts)
        tls.cert_file.write_bytes(certificate)
        tls.key_file.write_bytes(key)
        return tls

    def sign(
        self,
        name: str,
        organizations: Sequence[str] = (),
        *,
        lasts: datetime.timedelta = DAY,
        hosts: Sequence[str] = (),
    ) -> tuple[bytes, bytes]:
        """Return a new certificate and its key in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations]
        if name:
            subject.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem(self._signed(x509.Name(subject), key, lasts, authority=False, hosts=hosts)), private

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        lasts: datetime.timedelta,
        *,
        authority: bool,
        hosts: Sequence[str] = (),
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + lasts)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(one) for one in hosts]), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def signing_request(common_name: str = "u") -> str:
    """A request for a certificate as a CertificateSigningRequest's spec holds it: PEM in base64."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
