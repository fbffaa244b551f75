"""`oarlock certs`: until when this host's certificates hold, what is wrong with them, and new ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from oarlock.cluster.boot import hoststate
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hostlayout import HostLayout
from oarlock.cluster.boot.hosts import HostRecord
from oarlock.cluster.boot.nodecertificate import renew as renew_node
from oarlock.cluster.boot.pki import RENEW_BEFORE_DAYS, Authority, CertificateFiles
from oarlock.cluster.boot.state import StateFolder

RESTART = (
    "Store replicas and those who dial them use the new files for every new connection. API servers, agents, actors "
    "and the join server read theirs when they start: oarlock down, then start this host again, one host at a time."
)


@dataclass(slots=True)
class Wishes:
    """An issuer that issues nothing and notes which names each certificate should have."""

    folder: Path
    names: dict[str, set[str]] = field(default_factory=dict)

    def issue(self, name: str, user: str, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> CertificateFiles:  # noqa: ARG002
        self.names[name] = set(hosts)
        return CertificateFiles(self.folder / "ca.crt", self.folder / f"{name}.crt", self.folder / f"{name}.key")

    def service_account_key(self) -> Path:
        return self.folder / "service-accounts.key"


def check(folder: StateFolder, out: TextIO) -> int:
    """Print each certificate; return 1 if anything is wrong with one, else 0."""
    if not (folder.pki / "ca.crt").exists():
        raise BootError(f"{folder.path} has no certificates", "Start the host first.")
    record, now, status = hoststate.load_host(folder), datetime.now(UTC), 0
    wanted = _wanted(record, folder)
    for name in sorted(
        {file.stem for file in folder.pki.glob("*.crt")} | set(wanted), key=lambda one: (one != "ca", one)
    ):
        end, problems = judge(folder.pki, name, wanted.get(name, set()), now)
        shown = f"{end:%Y-%m-%d %H:%M} UTC" if end else "unknown"
        print(f"{name:<20} ends {shown:<22} {'; '.join(problems) or 'good'}", file=out)
        status |= bool(problems)
    return int(status)


def renew(folder: StateFolder, out: TextIO) -> int:
    """Make new certificates for this host. Raises BootError; what was there stays then."""
    record = hoststate.load_host(folder)
    if record is None:
        if folder.load() is None:
            raise BootError(f"{folder.path} has no certificates", "Start the host first.")
        raise BootError(
            "this cluster is on one machine", "`oarlock down` and `oarlock up` renew what ends within 60 days."
        )
    if record.role == "node":
        renew_node(record, folder)
    else:
        layout = HostLayout(record, folder, Authority(folder.pki, renewing=True), hoststate.ray_token(folder))
        layout.parts()
        layout.admin()
    print(f"renewed. {RESTART}", file=out)
    return 0


def judge(folder: Path, name: str, wanted: set[str], now: datetime) -> tuple[datetime | None, list[str]]:
    """Return when certificate `name` ends, None if it can't be read, and what is wrong with it."""
    try:
        cert = x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())
    except (OSError, ValueError):
        return None, ["it can't be read"]
    try:
        authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    except (OSError, ValueError):
        return cert.not_valid_after_utc, ["the CA's certificate can't be read"]
    return cert.not_valid_after_utc, list(_problems(cert, authority, folder / f"{name}.key", wanted, now))


def _problems(
    cert: x509.Certificate, authority: x509.Certificate, key_file: Path, wanted: set[str], now: datetime
) -> Iterator[str]:
    left = cert.not_valid_after_utc - now
    if left < timedelta(0):
        yield "it has ended"
    elif left < timedelta(days=RENEW_BEFORE_DAYS):
        yield f"it ends in {left.days} days: oarlock certs renew"
    if cert.not_valid_before_utc > now:
        yield f"it begins only at {cert.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: look at the clock"
    try:
        cert.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        yield "it is of another CA"
    trouble = _key_trouble(cert, key_file, is_authority=cert == authority)
    if trouble:
        yield trouble
    missing = sorted(wanted - _names(cert))
    if missing:
        yield f"it lacks the names {', '.join(missing)}"


def _key_trouble(cert: x509.Certificate, key_file: Path, *, is_authority: bool) -> str:
    if not key_file.exists():
        return "" if is_authority else f"its key {key_file.name} is missing"
    if key_file.stat().st_mode & 0o077:
        return f"its key {key_file.name} can be read by others: chmod 600"
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return f"its key {key_file.name} can't be read"
    return "" if key.public_key() == cert.public_key() else f"{key_file.name} is not its key"


def _names(cert: x509.Certificate) -> set[str]:
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names}


def _wanted(record: HostRecord | None, folder: StateFolder) -> dict[str, set[str]]:
    """Return the names that each certificate of a host of several should have."""
    if record is None:
        return {}
    wishes = Wishes(folder.pki)
    layout = HostLayout(record, folder, wishes, "-")
    layout.parts()
    layout.admin()
    return wishes.names if record.role == "server" else {"node": wishes.names["node"]}
