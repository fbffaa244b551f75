"""The one certificate of a host without servers: every part shows it, and join servers renew it by itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from cryptography import x509

from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hosts import HostRecord
from oarlock.cluster.boot.joining import client as joining
from oarlock.cluster.boot.joining.client import NotReached
from oarlock.cluster.boot.joining.paths import RENEW
from oarlock.cluster.boot.joining.requests import new_request
from oarlock.cluster.boot.jointokens import ca_hash
from oarlock.cluster.boot.pki import RENEW_BEFORE_DAYS, CertificateFiles
from oarlock.cluster.boot.state import StateFolder, write_private


class HeldCertificate:
    """An issuer that has nothing to issue: whatever is asked for, the node's own certificate is the answer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def issue(self, name: str, user: str, groups: Sequence[str] = (), hosts: Sequence[str] = ()) -> CertificateFiles:  # noqa: ARG002
        return CertificateFiles(self._folder / "ca.crt", self._folder / "node.crt", self._folder / "node.key")

    def service_account_key(self) -> Path:
        raise AssertionError("nodes sign nothing")


def renew_if_due(record: HostRecord, folder: StateFolder, out: TextIO) -> None:
    """Renew the node's certificate if it ends soon; a node whose servers don't answer starts with the one it has."""
    cert = x509.load_pem_x509_certificate((folder.pki / "node.crt").read_bytes())
    if cert.not_valid_after_utc - datetime.now(UTC) > timedelta(days=RENEW_BEFORE_DAYS):
        return
    try:
        renew(record, folder)
    except BootError as error:
        print(f"the node's certificate ends {cert.not_valid_after_utc:%Y-%m-%d} and isn't renewed: {error}", file=out)


def renew(record: HostRecord, folder: StateFolder) -> None:
    """Get a new certificate, for a new key, from any join server. Raises BootError; the present one stays then."""
    pki = folder.pki
    fresh = pki / "node-next.key"
    request = {"request": new_request(record.host, fresh)}
    pair = (pki / "node.crt", pki / "node.key")
    try:
        _, given = joining.first_that_answers(
            record.cluster.join_urls(),
            ca_hash((pki / "ca.crt").read_text()),
            lambda met: joining.ask_as_host(met, "POST", RENEW, pair, request),
        )
    except NotReached as trouble:
        fresh.unlink(missing_ok=True)
        way_out = "Look at the servers; a node whose certificate has ended joins again: oarlock node --fresh --join …."
        raise BootError(f"no server renews the certificate: {trouble}", way_out) from None
    write_private(pki / "node.crt", str(given["certificate"]).encode())
    fresh.replace(pki / "node.key")
