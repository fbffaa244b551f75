"""What a node agent is told: which node it is, where it listens, how it reaches the API and what it may run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from oarlock.cluster.client import ClientSettings

KUBELET_VERSION = "v1.36.0"


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of the node's own server: its certificate and key, and the CA that clients must have."""

    ca_file: str | Path
    cert_file: str | Path
    key_file: str | Path


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Times in seconds: a node that was silent for `lease_duration_s` counts as lost (decision 0019)."""

    lease_interval_s: float = 1.25
    lease_duration_s: int = 5
    status_interval_s: float = 300.0

    def shared_by(self, nodes: int) -> Heartbeat:
        """Return the heartbeat of each of many simulated nodes: about a hundred renewals a second in all.

        None is rarer than a kubelet's, 40 s renewed every 10 s.
        """
        interval_s = min(10.0, nodes / 100)
        if interval_s <= self.lease_interval_s:
            return self
        return Heartbeat(interval_s, math.ceil(interval_s * 4), self.status_interval_s)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One node, or `hollow_count` simulated ones named `<node_name>-<n>` from 1 on.

    `network` is `loopback`, for a cluster on one machine (decision 0003), or `routed`, for pods that are reached from
    other hosts (decision 0036). With the first, `pod_ip_prefix` is the first three numbers of pod addresses: a node has
    those ending in 2 to 254. With the second the Node's podCIDR says which there are.

    `port` 0 takes a free one. `root` holds all that must survive a restart of the agent.
    """

    node_name: str
    internal_ip: str
    pod_ip_prefix: str
    tls: Tls
    client: ClientSettings
    root: Path
    port: int = 10250
    runtime: Literal["process", "hollow"] = "process"
    hollow_count: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    allow_host_images: bool = False
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    pods_max: int = 110
    starts_max: int = 8
    network: Literal["loopback", "routed"] = "loopback"

    def __post_init__(self) -> None:
        if self.runtime == "hollow" and self.hollow_count < 1:
            raise ValueError("a hollow agent needs hollow_count of at least 1")
        if self.network not in ("loopback", "routed"):
            raise ValueError(f"network {self.network!r} is neither loopback nor routed")
        if self.network == "routed" and self.runtime == "hollow":
            raise ValueError("simulated nodes have no routes: their network is loopback")
        if self.network == "loopback" and self.pod_ip_prefix.count(".") != 2:
            raise ValueError(f"pod_ip_prefix {self.pod_ip_prefix!r} is not three numbers with dots between")

    @property
    def node_names(self) -> list[str]:
        if self.runtime == "process":
            return [self.node_name]
        return [f"{self.node_name}-{number}" for number in range(1, self.hollow_count + 1)]
