"""What an API server is told at its start: frozen values, validated by whoever composes the process."""

from __future__ import annotations

from dataclasses import dataclass

from oarlock.cluster.apiserver.admission.pod_security.plugin import PodSecurity


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of one end of a connection. `ca_file` verifies the other end."""

    ca_file: str
    cert_file: str
    key_file: str


@dataclass(frozen=True, slots=True)
class ApiServerSettings:
    """Everything an API server decides by.

    `port` 0 takes a free one. Without `tls` it speaks plain HTTP and trusts every caller as an administrator: tests
    only. `advertise_address` and `advertise_port` are what the `kubernetes` Service's endpoints name; port 0 means the
    port that is listened on. `handover` is the Unix socket at which the host's balancer gives connections away, ""
    for none. `service_account_key_file` (PEM, ECDSA on P-256) signs service accounts' tokens and must be the same for
    all API servers; without one, tokens hold for this process. `service_cidr` is one range, or one of each IP family
    with a comma between, the default family's first. `loopback_network` permits endpoints on
    127.0.0.0/8, which upstream forbids. `disabled_plugins` names admission plugins that are left out, as upstream's
    --disable-admission-plugins does.
    """

    name: str
    host: str = "127.0.0.1"
    port: int = 0
    tls: Tls | None = None
    token_file: str | None = None
    kubelet_tls: Tls | None = None
    service_account_key_file: str | None = None
    issuer: str = "https://kubernetes.default.svc.cluster.local"
    service_cidr: str = "10.96.0.0/16"
    node_port_range: tuple[int, int] = (30000, 32767)
    advertise_address: str = "127.0.0.1"
    advertise_port: int = 0
    presence_ttl_s: float = 15.0
    """How long after its end a server that dies is still an endpoint. Source: upstream's reconcilers."""
    handover: str = ""
    loopback_network: bool = False
    disabled_plugins: tuple[str, ...] = ()
    pod_security: PodSecurity = PodSecurity()
    """What namespaces without labels are held to, and who is exempt."""
    shutdown_delay_s: float = 0.0
    """How long a server that was asked to stop serves as before while /readyz says that it is leaving.

    Balancers need that time to notice. Source: kube-apiserver's --shutdown-delay-duration.
    """
    shutdown_quiet_s: float = 0.0
    """After that, connections are closed on which nothing has happened for so long; others after their next answer."""
    shutdown_grace_s: float = 5.0
    """How long after the delay requests under way may go on."""
    reads_inflight_max: int = 2000
    """Reads decided upon at one time, more are answered with 429. Upstream queues far more than it works on."""
    writes_inflight_max: int = 1000
