"""Makes parts with their settings out of where things are: the same for all layouts, so that no two can differ.

A layout says what there is, where it listens and by which names it is called; `Drafts` knows what each part has to be
told. Decision 0002 tells why each part is a process of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oarlock.cluster.boot.components import CONTROLLERS, SCHEDULER, HostedComponent
from oarlock.cluster.boot.network import LOOPBACK
from oarlock.cluster.boot.parts import Part
from oarlock.cluster.boot.pki import MASTERS, CertificateFiles, Issuer
from oarlock.cluster.boot.state import StateFolder

STORES_GROUP = "system:oarlock:stores"
NODE_GROUPS = ("system:nodes", MASTERS)
RAY_STATE = "/oarlock/ray/"
"""Below this the store keeps what Ray's GCS knows."""
LEASES = "/oarlock/leases/"
"""Below this the API servers keep leases; a copy of theirs, which takes long to load."""
LATE_S = 86_400.0
"""How long a part may wait for what only other hosts can give: whoever founds a cluster may be alone for long."""
SHUTDOWN = {"shutdown_delay_s": 1.0, "shutdown_quiet_s": 2.0, "shutdown_grace_s": 20.0}
"""How an API server behind a balancer leaves. The balancer asks how it is every 0.25 s."""
LEAVES_WITHIN_S = 30.0
GUESTS_S = 240.0
"""How long it may take to place actors on a Ray cluster that may be far away."""
GUESTS_STOP_S = 40.0

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where one replica listens for its peers and for clients."""

    host: str
    peer_port: int
    client_port: int


@dataclass(frozen=True, slots=True)
class RayPlace:
    """One Ray node and the front behind which it keeps the GCS's state while it is the head. Ports are TCP."""

    name: str
    position: str
    state: str
    forwarder_port: int
    gcs_port: int
    node_manager_port: int
    object_manager_port: int
    state_port: int


@dataclass(frozen=True, slots=True)
class Drafts:
    """What is the same for all parts on one host.

    `server` is the URL at which they reach the API, `here` the address that they listen on, `names` what else the
    certificates of servers have to say. `several` is true where the cluster has other hosts: then parts wait for them,
    and Ray's wire is encrypted too.
    """

    cluster_id: str
    folder: StateFolder
    issuer: Issuer
    server: str
    stores: Mapping[str, StorePlace]
    api_servers: Mapping[str, Address]
    ray_token: str
    here: str = LOOPBACK
    names: tuple[str, ...] = (LOOPBACK, "localhost")
    several: bool = False
    lease_ttl_ms: int = 2_000
    controllers: Mapping[str, object] = field(default_factory=dict)
    """Settings of the controllers beside those that they always get; `scheduler` likewise."""
    scheduler: Mapping[str, object] = field(default_factory=dict)

    def store(self, name: str) -> Part:
        place = self.stores[name]
        tls = self._server_tls(name, f"system:oarlock:store:{name}", [STORES_GROUP])
        settings = {
            "name": name,
            "cluster_id": self.cluster_id,
            "members": {other: [one.host, one.peer_port] for other, one in self.stores.items()},
            "host": place.host,
            "port": place.client_port,
            "data_dir": str(self.folder.store / name),
            "tls": tls,
            "metrics": self._metrics(tls),
        }
        return Part(name, "store", "store", settings)

    def api_server(self, name: str, network: Mapping[str, object], first_service_ip: str) -> Part:
        settings = self.api_server_settings(name, self.api_servers[name], network, first_service_ip)
        settings["shutdown"] = SHUTDOWN
        soon = self._ready_within_s
        return Part(name, "apiserver", "apiserver", settings, ready_within_s=soon, stop_within_s=LEAVES_WITHIN_S)

    def api_server_settings(
        self, name: str, address: Address, network: Mapping[str, object], first_service_ip: str
    ) -> dict[str, Any]:
        """`network` is what the API server is told of addresses, see `roles.api_server_settings`."""
        service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
        serving = self.issuer.issue("apiserver", "kube-apiserver", hosts=[*self.names, *service, first_service_ip])
        client = self.issuer.issue("apiserver-client", "system:oarlock:apiserver", [MASTERS])
        return {
            "name": name,
            "host": address[0],
            "port": address[1],
            "store": self._store_endpoints(),
            "await_store": self.several,
            "tls": files(serving),
            "client_tls": files(client),
            "service_account_key": str(self.issuer.service_account_key()),
            "handover": self._handover(name) if self.stores else "",
            "shutdown": {},
            **network,
        }

    def balancer(self, name: str, port: int, tls: Mapping[str, str], hosts: Sequence[str] = (LOOPBACK,)) -> Part:
        first, *also = hosts
        settings = {
            "host": first,
            "also": also,
            "port": port,
            "backends": [list(address) for address in self.api_servers.values()],
            "handovers": {
                f"{host}:{port}": self._handover(name)
                for name, (host, port) in self.api_servers.items()
                if host == self.here
            },
            "tls": dict(tls),
            "metrics": self._metrics(tls),
        }
        listens = tuple((host, port) for host in hosts)
        return Part(name, "balancer", "balancer", settings, listens=listens, stop_within_s=LEAVES_WITHIN_S)

    def agent(
        self, part: str, name: str, tls: Mapping[str, str], network: Mapping[str, object], after: str = "balancer"
    ) -> Part:
        return Part(part, "agent", "agent", self.agent_settings(name, tls, network), after=(after,))

    def agent_settings(self, name: str, tls: Mapping[str, str], network: Mapping[str, object]) -> dict[str, Any]:
        """`network` has the node's `ip` and says how its pods get theirs."""
        return {
            "name": name,
            "port": 10250,
            "root": str(self.folder.nodes / name),
            "claim_file": str(self.folder.runtime / "cluster-ips"),
            "client": self.client(tls),
            "tls": dict(tls),
            "metrics": self._metrics(tls),
            **network,
        }

    def node_tls(self, name: str, ip: str) -> dict[str, str]:
        return files(self.node_certificate(name, ip, file=name))

    def node_certificate(self, name: str, ip: str, file: str) -> CertificateFiles:
        return self.issuer.issue(file, node_user(name), NODE_GROUPS, node_names(name, ip))

    def ray_state(self, place: RayPlace) -> Part:
        tls = self._server_tls("resp", "system:oarlock:resp", [MASTERS])
        settings = {
            "host": self.here,
            "port": place.state_port,
            "password": self._derived("state"),
            "prefix": RAY_STATE,
            "leases": LEASES,
            "store": self._store_endpoints(),
            "await_store": self.several,
            "tls": tls,
            "metrics": self._metrics(tls),
        }
        return Part(place.state, "resp", "resp", settings, ready_within_s=self._ready_within_s)

    def ray_node(self, place: RayPlace, hosted: Sequence[HostedComponent], after: str) -> Part:
        tls = self._server_tls("ray-node", "system:oarlock:ray", [MASTERS])
        settings = {
            "name": place.name,
            "position": place.position,
            "ip": self.here,
            "wire_tls": tls if self.several else None,
            "gcs_address": f"{self.here}:{place.forwarder_port}",
            "node_manager_port": place.node_manager_port,
            "object_manager_port": place.object_manager_port,
            "folder": str(self.folder.runtime / place.position),
            "token_file": str(self.folder.settings / f"{place.name}-token"),
            "token": self.ray_token,
            "log_folder": str(self.folder.logs),
            "components": [self.component(one) for one in hosted],
            "client": self.client(tls),
            "head": {
                "gcs_port": place.gcs_port,
                "state_host": self.here,
                "state_port": place.state_port,
                "state_password": self._derived("state"),
                "state_ca_file": tls["ca_file"],
                "state_cert_file": tls["cert_file"],
                "state_key_file": tls["key_file"],
                "generation": self._derived("generation"),
                "lease_ttl_ms": self.lease_ttl_ms,
            },
            "metrics": self._metrics(tls),
        }
        return Part(place.name, "ray", "raynode", settings, after=(after,))

    def ray_guests(self, address: str, server: str, hosted: Sequence[HostedComponent], after: str) -> Part:
        """Actors on the user's own Ray cluster, which reach the API at `server`."""
        tls = self._server_tls("ray-node", "system:oarlock:ray", [MASTERS])
        components = [self.component(one) for one in hosted]
        settings = {
            "address": address,
            "namespace": f"oarlock-{self.cluster_id}",
            "room": str(self.folder.pki),
            "components": [{**one, "client": {**one["client"], "server": server}} for one in components],
            "client": self.client(tls),
            "alone": not self.several,
            "metrics": self._metrics(tls),
        }
        return Part(
            "guests",
            "guests",
            "rayguests",
            settings,
            after=(after,),
            ready_within_s=GUESTS_S,
            stop_within_s=GUESTS_STOP_S,
        )

    def component(self, hosted: HostedComponent) -> dict[str, Any]:
        tls = self._server_tls(hosted.name, f"system:{hosted.kind}", [MASTERS])
        settings = dict(hosted.settings)
        if hosted.kind == CONTROLLERS[2]:
            settings["ca_pem"] = Path(tls["ca_file"]).read_text()
            settings["ca_key_file"] = str(Path(tls["ca_file"]).with_name("ca.key"))
            settings["token_key_file"] = str(self.issuer.service_account_key())
            settings |= self.controllers
        if hosted.kind == SCHEDULER[2]:
            settings |= self.scheduler
        return {
            "name": hosted.name,
            "factory": hosted.factory,
            "lease": hosted.lease,
            "lease_ttl_ms": self.lease_ttl_ms,
            "client": self.client(tls),
            "tls": tls,
            "metrics_ip": self.here,
            "settings": settings,
        }

    def balancer_tls(self) -> dict[str, str]:
        return self._server_tls("balancer", "system:oarlock:balancer", [])

    def client(self, tls: Mapping[str, str]) -> dict[str, Any]:
        return {"server": self.server, **tls}

    def _metrics(self, tls: Mapping[str, str]) -> dict[str, str]:
        return {**tls, "host": self.here}

    def _handover(self, name: str) -> str:
        """The Unix socket at which an API server of this host takes connections from the balancer."""
        return str(self.folder.runtime / name)

    def _store_endpoints(self) -> list[str]:
        return [f"{place.host}:{place.client_port}" for place in self.stores.values()]

    def _server_tls(self, name: str, user: str, groups: list[str]) -> dict[str, str]:
        return files(self.issuer.issue(name, user, groups, self.names))

    def _derived(self, purpose: str) -> str:
        """Return a secret for one purpose that is as old as the token is."""
        return hashlib.sha256(f"{purpose} {self.ray_token}".encode()).hexdigest()

    @property
    def _ready_within_s(self) -> float:
        return LATE_S if self.several else 60.0


def node_user(name: str) -> str:
    return f"system:node:{name}"


def node_names(name: str, ip: str) -> list[str]:
    """Return what the certificate of a node's own server says."""
    return [ip, LOOPBACK, "localhost", name]


def files(files: CertificateFiles) -> dict[str, str]:
    """Return the paths as settings name them."""
    return {"ca_file": str(files.ca), "cert_file": str(files.cert), "key_file": str(files.key)}
