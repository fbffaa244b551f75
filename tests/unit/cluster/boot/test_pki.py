import ssl
from pathlib import Path

import pytest
from cryptography import x509

from oarlock.cluster.boot import pki
from oarlock.cluster.boot.pki import Authority


def test_a_certificate_names_user_groups_and_hosts(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("admin", "alice", ["system:masters", "dev"], ["127.0.0.1", "localhost"])
    cert = x509.load_pem_x509_certificate(files.cert.read_bytes())
    values = [(a.oid._name, a.value) for a in cert.subject]
    assert values == [("organizationName", "system:masters"), ("organizationName", "dev"), ("commonName", "alice")]
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(n.value) for n in names] == ["127.0.0.1", "localhost"]


def test_openssl_accepts_the_chain(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("server", "x", [], ["localhost"])
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(files.cert, files.key)
    assert context.cert_store_stats()["x509_ca"] == 1


def test_keys_are_private(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("admin", "alice")
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600


def test_a_good_certificate_is_kept_over_restarts(tmp_path: Path) -> None:
    before = Authority(tmp_path).issue("admin", "alice").cert.read_bytes()
    assert Authority(tmp_path).issue("admin", "alice").cert.read_bytes() == before


def test_other_contents_and_near_expiry_renew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    first = authority.issue("admin", "alice").cert.read_bytes()
    second = authority.issue("admin", "alice", ["dev"]).cert.read_bytes()
    monkeypatch.setattr(pki, "RENEW_BEFORE_DAYS", pki.CERTIFICATE_DAYS + 1)
    third = authority.issue("admin", "alice", ["dev"]).cert.read_bytes()
    assert len({first, second, third}) == 3
