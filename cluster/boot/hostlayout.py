"""Which processes one host of a cluster on several hosts has, and with what settings: a pure function of its record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from oarlock.cluster.boot.components import components, parse_groups
from oarlock.cluster.boot.drafts import Drafts, RayPlace, StorePlace, files
from oarlock.cluster.boot.hosts import HostRecord
from oarlock.cluster.boot.network import LOOPBACK
from oarlock.cluster.boot.parts import Part
from oarlock.cluster.boot.pki import MASTERS, CertificateFiles, Issuer
from oarlock.cluster.boot.state import StateFolder

POSITIONS = "abcde"
"""Of the servers' Ray nodes, in the order of the members: copies are at home on the first two."""
NODE_FILE = "node"
"""The name of the certificate with which a host is a node, whatever the host is called."""
JOIN_GROUP = "system:oarlock:servers"
POD_PREFIX = "127.64.1"


@dataclass(frozen=True, slots=True)
class HostLayout:
    """The parts of one host. `ray_token` is the same on all servers and as old as the cluster.

    So is the generation of Ray's state, which is derived from it: a host that starts again joins what is there.
    """

    record: HostRecord
    folder: StateFolder
    issuer: Issuer
    ray_token: str = ""

    @property
    def server(self) -> str:
        """Where this host's own parts and people reach the API: its own balancer."""
        return f"https://{self._inner}:{self.record.cluster.ports['api']}"

    @property
    def _inner(self) -> str:
        return self.record.address if self.record.is_trial else LOOPBACK

    @property
    def outer_server(self) -> str:
        """Where people elsewhere reach the API."""
        return f"https://{self.record.address}:{self.record.cluster.ports['api']}"

    def parts(self) -> list[Part]:
        drafts = self._drafts()
        if self.record.role == "node":
            return [
                drafts.balancer(
                    self._balancer_name, self._port("api"), files(self._node_certificate(drafts)), [self._inner]
                ),
                self._agent(drafts),
            ]
        return list(self._server_parts(drafts))

    def admin(self) -> CertificateFiles:
        """Return the certificate that speaks for this host: on a server an administrator's, on a node its own."""
        if self.record.role == "node":
            return self._node_certificate(self._drafts())
        return self.issuer.issue("admin", "oarlock-admin", [MASTERS])

    def _node_certificate(self, drafts: Drafts) -> CertificateFiles:
        return drafts.node_certificate(self.record.host, self.record.address, file=NODE_FILE)

    @property
    def _balancer_name(self) -> str:
        return f"balancer-{self.record.host}"

    def _drafts(self) -> Drafts:
        record, cluster = self.record, self.record.cluster
        ports = cluster.ports
        return Drafts(
            cluster.cluster_id,
            self.folder,
            self.issuer,
            self.server,
            {
                f"store-{name}": StorePlace(address, ports["store-peer"], ports["store-client"])
                for name, address in cluster.members.items()
            },
            {f"apiserver-{name}": (address, ports["apiserver"]) for name, address in cluster.members.items()},
            self.ray_token,
            here=record.address,
            names=cluster.certificate_names,
            several=True,
            lease_ttl_ms=cluster.lease_ttl_ms,
            controllers={"node_timings": cluster.node_timings, "cluster_cidr": cluster.cluster_cidr},
            scheduler={
                "plugin_files": list(record.scheduler_plugins),
                **({"config": record.scheduler_config} if record.scheduler_config else {}),
            },
        )

    def _server_parts(self, drafts: Drafts) -> Iterator[Part]:
        record, cluster = self.record, self.record.cluster
        host, api = record.host, f"apiserver-{record.host}"
        yield drafts.store(f"store-{host}")
        yield self._join(drafts)
        yield drafts.balancer(
            self._balancer_name, self._port("api"), drafts.balancer_tls(), sorted({self._inner, record.address})
        )
        network = {
            "service_cidr": cluster.service_cidr,
            "token_file": record.token_file or None,
            "advertise": [record.address, self._port("api")],
            "loopback_network": self.record.is_trial,
        }
        yield drafts.api_server(api, network, cluster.first_service_ip)
        hosted = components(parse_groups(cluster.controllers))
        if cluster.ray_address:
            yield replace(
                drafts.ray_guests(cluster.ray_address, self.outer_server, hosted, after=api), name=f"guests-{host}"
            )
        else:
            place = self._ray_place()
            yield drafts.ray_state(place)
            yield drafts.ray_node(place, hosted, after=api)
        if record.runs_pods:
            yield self._agent(drafts)

    def _join(self, drafts: Drafts) -> Part:
        """Answers hosts that want to join, also while the store has no majority."""
        record = self.record
        identity = self.issuer.issue(
            "join", f"system:oarlock:server:{record.host}", [JOIN_GROUP, MASTERS], record.cluster.certificate_names
        )
        tls = files(identity)
        settings = {
            "state": str(self.folder.path),
            "host": record.address,
            "port": self._port("join"),
            "tls": tls,
            "client": drafts.client(tls),
            "metrics": {**tls, "host": record.address},
        }
        return Part(f"join-{record.host}", "join", "join", settings)

    def _agent(self, drafts: Drafts) -> Part:
        record = self.record
        network = {
            "ip": record.address,
            "network": "loopback" if self.record.is_trial else "routed",
            "pod_ip_prefix": POD_PREFIX,
            "port": self._port("kubelet"),
        }
        tls = files(self._node_certificate(drafts))
        return drafts.agent(f"agent-{record.host}", record.host, tls, network, after=self._balancer_name)

    def _ray_place(self) -> RayPlace:
        host, ports = self.record.host, self.record.cluster.ports
        return RayPlace(
            f"ray-{host}",
            POSITIONS[list(self.record.cluster.members).index(host)],
            f"state-{host}",
            ports["ray-forwarder"],
            ports["ray-gcs"],
            0 if self.record.is_trial else ports["ray-node-manager"],
            0 if self.record.is_trial else ports["ray-object-manager"],
            ports["ray-state"],
        )

    def _port(self, name: str) -> int:
        return self.record.cluster.ports[name]
