"""How the command line reaches the API of the cluster whose state folder it is given, whichever kind that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from oarlock.cluster.boot.hostlayout import NODE_FILE, HostLayout
from oarlock.cluster.boot.hoststate import load_host
from oarlock.cluster.boot.network import LOOPBACK
from oarlock.cluster.boot.nodecertificate import HeldCertificate
from oarlock.cluster.boot.state import StateFolder


@dataclass(frozen=True, slots=True)
class Access:
    """Where the balancer listens, and the PEM files that speak for this host; `start` is what starts it.

    `stores` are the addresses at which all replicas serve clients, `api_servers` those of all API servers.
    """

    host: str
    port: int
    files: Mapping[str, Path]
    single: bool
    start: str
    kubeconfig: str
    stores: Sequence[tuple[str, int]]
    api_servers: Sequence[tuple[str, int]]


def access_to(folder: StateFolder) -> Access | None:
    """Return how to reach the cluster, None if the folder holds none. Raises BootError if it can't be read."""
    host = load_host(folder)
    if host is not None:
        url = urlsplit(HostLayout(host, folder, HeldCertificate(folder.pki)).server)
        name = NODE_FILE if host.role == "node" else "admin"
        ports, addresses = host.cluster.ports, list(host.cluster.members.values())
        return Access(
            url.hostname or LOOPBACK,
            ports["api"],
            _files(folder, name),
            single=False,
            start=f"oarlock {host.role}",
            kubeconfig=host.kubeconfig,
            stores=[(address, ports["store-client"]) for address in addresses],
            api_servers=[(address, ports["apiserver"]) for address in addresses],
        )
    record = folder.load()
    if record is None:
        return None
    named = sorted(record.ports.items())
    api_servers = [(LOOPBACK, port) for name, port in named if name.startswith("apiserver-")]
    return Access(
        LOOPBACK,
        record.port,
        _files(folder, "admin"),
        record.single,
        start=f"oarlock up --name {record.name}",
        kubeconfig=record.kubeconfig,
        stores=[(LOOPBACK, port) for name, port in named if name.startswith("store-") and name.endswith("-client")],
        api_servers=api_servers or [(LOOPBACK, record.port)],
    )


def _files(folder: StateFolder, name: str) -> dict[str, Path]:
    pki = folder.pki
    return {"ca_file": pki / "ca.crt", "cert_file": pki / f"{name}.crt", "key_file": pki / f"{name}.key"}
