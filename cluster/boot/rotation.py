"""`oarlock token --rotate`: a new secret for one of the join tokens, on every server."""

from __future__ import annotations

from typing import TextIO

from oarlock.cluster.boot import hoststate
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hosts import HostRecord
from oarlock.cluster.boot.joining import client as joining
from oarlock.cluster.boot.joining.client import NotReached
from oarlock.cluster.boot.joining.paths import TOKENS
from oarlock.cluster.boot.jointokens import Purpose, ca_hash
from oarlock.cluster.boot.state import StateFolder


def rotate(record: HostRecord, folder: StateFolder, purpose: Purpose, out: TextIO) -> None:
    """Make the secret here, hand it to the other servers, and name those that go by the old one for now.

    Hosts that have joined need no token any more and notice nothing.
    """
    fresh = hoststate.load_secrets(folder).rotated(purpose)
    hoststate.save_secrets(folder, fresh)
    digest = ca_hash((folder.pki / "ca.crt").read_text())
    pair = (folder.pki / "join.crt", folder.pki / "join.key")
    for name, address in record.cluster.members.items():
        if name == record.host:
            continue
        try:
            met = joining.meet(address, record.cluster.ports["join"], digest)
            joining.ask_as_host(met, "PUT", TOKENS, pair, fresh.document())
        except (NotReached, BootError) as error:
            print(f"{name} has the old {purpose} token until it is back: {error}", file=out)
