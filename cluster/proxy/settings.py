"""What a service proxy is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oarlock.cluster.client import ClientSettings


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """`claim_file` is shared by the proxies of one machine: only who holds its lock listens on ClusterIPs, the next
    one does when that process ends. None claims without asking. NodePorts are listened on at `node_ip` by each.

    Times in seconds. `flows_max` bounds UDP flows and remembered clients, each per Service port.
    """

    client: ClientSettings
    node_name: str
    node_ip: str
    claim_file: Path | None = None
    claim_interval_s: float = 0.5
    bind_retry_s: float = 2.0
    connect_timeout_s: float = 3.0
    udp_idle_s: float = 60.0
    flows_max: int = 4096
