"""Which processes a cluster on this machine has, and with what settings: a pure function of specification and record.

Decision 0002 tells why each part is a process of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oarlock.cluster.boot.components import CONTROLLERS, SCHEDULER, HostedComponent, components
from oarlock.cluster.boot.network import LOOPBACK, Slot
from oarlock.cluster.boot.parts import Part
from oarlock.cluster.boot.pki import MASTERS, Authority, CertificateFiles
from oarlock.cluster.boot.spec import ClusterSpec
from oarlock.cluster.boot.state import ClusterRecord, StateFolder

STORES_GROUP = "system:oarlock:stores"
HOLLOW_NODE = 101
"""The number whose addresses the simulated nodes share; real nodes have 1 to 100."""
RAY_POSITIONS = ("a", "b")
"""Two Ray nodes on this machine, so that a standby survives one."""
RAY_STATE = "/oarlock/ray/"
"""Below this the store keeps what Ray's GCS knows."""
LEASES = "/oarlock/leases/"
"""Below this the API servers keep leases; a copy of theirs, which takes long to load."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of one cluster. `port` is the balancer's, where people and clients connect."""

    spec: ClusterSpec
    record: ClusterRecord
    folder: StateFolder
    authority: Authority
    ray_token: str

    @property
    def slot(self) -> Slot:
        return Slot(self.record.slot)

    @property
    def server(self) -> str:
        return f"https://{LOOPBACK}:{self.record.port}"

    def parts(self) -> list[Part]:
        if self.spec.single:
            return [self._single()]
        return [
            *self._stores(),
            *self._api_servers(),
            self._balancer(),
            *self._agents(),
            *self._hollow(),
            *self._ray_nodes(),
        ]

    def admin(self) -> CertificateFiles:
        return self.authority.issue("admin", "oarlock-admin", [MASTERS])

    # The parts

    def _stores(self) -> Iterator[Part]:
        for name in store_names(self.spec):
            tls = self._server_tls(name, f"system:oarlock:store:{name}", [STORES_GROUP])
            settings = {
                "name": name,
                "cluster_id": self.record.cluster_id,
                "members": self._members(),
                "host": LOOPBACK,
                "port": self._port(f"{name}-client"),
                "data_dir": str(self.folder.store / name),
                "tls": tls,
                "metrics": dict(tls),
            }
            yield Part(name, "store", "store", settings)

    def _api_servers(self) -> Iterator[Part]:
        for name in api_server_names(self.spec):
            yield Part(name, "apiserver", "apiserver", self._api_server(name, self._port(name)))

    def _balancer(self) -> Part:
        tls = self._server_tls("balancer", "system:oarlock:balancer", [])
        settings = {
            "host": LOOPBACK,
            "port": self.record.port,
            "backends": [[LOOPBACK, self._port(name)] for name in api_server_names(self.spec)],
            "handovers": {
                f"{LOOPBACK}:{self._port(name)}": self._handover(name) for name in api_server_names(self.spec)
            },
            "tls": tls,
            "metrics": dict(tls),
        }
        return Part("balancer", "balancer", "balancer", settings)

    def _agents(self) -> Iterator[Part]:
        for number in range(1, self.spec.nodes + 1):
            name = f"node-{number}"
            yield Part(name, "agent", "agent", self._agent(name, number), after=("balancer",))

    def _hollow(self) -> Iterator[Part]:
        if self.spec.hollow:
            ip = self.slot.node_ip(HOLLOW_NODE)
            identity = self.authority.issue(
                "hollow", "system:node:hollow", ["system:nodes", MASTERS], [ip, LOOPBACK, "localhost"]
            )
            tls = _files(identity)
            settings = {
                "count": self.spec.hollow,
                "client": self._client(tls),
                "tls": tls,
                "root": str(self.folder.nodes / "hollow"),
                "ip": ip,
                "pod_ip_prefix": self.slot.pod_ip_prefix(HOLLOW_NODE),
                "port": 10250,
                "metrics": dict(tls),
            }
            yield Part("hollow", "hollow", "hollow", settings, after=("balancer",))

    def _ray_nodes(self) -> Iterator[Part]:
        """A node, and the front behind which it keeps the GCS's state while it is the head."""
        tls = _files(self.authority.issue("ray-node", "system:oarlock:ray", [MASTERS], [LOOPBACK, "localhost"]))
        for number, position in enumerate(RAY_POSITIONS, start=1):
            name, state = f"ray-{number}", f"state-{number}"
            yield self._ray_state(state)
            settings = {
                "name": name,
                "position": position,
                "gcs_address": f"{LOOPBACK}:{self._port(f'{name}-forwarder')}",
                "node_manager_port": self._port(f"{name}-node-manager"),
                "object_manager_port": self._port(f"{name}-object-manager"),
                "folder": str(self.folder.runtime / position),
                "token_file": str(self.folder.settings / f"{name}-token"),
                "token": self.ray_token,
                "log_folder": str(self.folder.logs),
                "components": self._components(),
                "client": self._client(tls),
                "head": {
                    "gcs_port": self._port(f"{name}-gcs"),
                    "state_host": LOOPBACK,
                    "state_port": self._port(state),
                    "state_password": self._derived("state"),
                    "state_ca_file": tls["ca_file"],
                    "state_cert_file": tls["cert_file"],
                    "state_key_file": tls["key_file"],
                    "generation": self._derived("generation"),
                    "lease_ttl_ms": self.spec.lease_ttl_ms,
                },
                "metrics": dict(tls),
            }
            yield Part(name, "ray", "raynode", settings, after=("balancer",))

    def _ray_state(self, name: str) -> Part:
        tls = _files(self.authority.issue("resp", "system:oarlock:resp", [MASTERS], [LOOPBACK, "localhost"]))
        settings = {
            "host": LOOPBACK,
            "port": self._port(name),
            "password": self._derived("state"),
            "prefix": RAY_STATE,
            "leases": LEASES,
            "store": self._store_endpoints(),
            "tls": tls,
            "metrics": dict(tls),
        }
        return Part(name, "resp", "resp", settings)

    def _single(self) -> Part:
        api = self._api_server("apiserver", self.record.port)
        settings = {
            "cluster_id": self.record.cluster_id,
            "store": {
                "name": "store-1",
                "host": LOOPBACK,
                "port": self._port("store-1"),
                "data_dir": str(self.folder.store / "store-1"),
                "socket": str(self.folder.runtime / "store"),
            },
            "apiserver": api,
            "components": self._components(),
            "agents": [self._agent(f"node-{number}", number) for number in range(1, self.spec.nodes + 1)],
            "hollow": [part.settings for part in self._hollow()],
        }
        return Part("oarlock", "single", "single", settings)

    # Their settings

    def _members(self) -> Mapping[str, list[object]]:
        return {name: [LOOPBACK, self._port(name)] for name in store_names(self.spec)}

    def _api_server(self, name: str, port: int) -> dict[str, Any]:
        hosts = [
            LOOPBACK,
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            self.slot.first_service_ip,
        ]
        serving = self.authority.issue("apiserver", "kube-apiserver", hosts=hosts)
        client = self.authority.issue("apiserver-client", "system:oarlock:apiserver", [MASTERS])
        return {
            "name": name,
            "host": LOOPBACK,
            "port": port,
            "store": [] if self.spec.single else self._store_endpoints(),
            "tls": _files(serving),
            "client_tls": _files(client),
            "service_account_key": str(self.authority.service_account_key()),
            "service_cidr": self.slot.service_cidr,
            "token_file": str(self.spec.token_file.resolve()) if self.spec.token_file else None,
            "advertise": [LOOPBACK, self.record.port],
            "handover": "" if self.spec.single else self._handover(name),
        }

    def _handover(self, name: str) -> str:
        """The Unix socket at which an API server takes connections from the balancer."""
        return str(self.folder.runtime / name)

    def _store_endpoints(self) -> list[str]:
        return [f"{LOOPBACK}:{self._port(f'{store}-client')}" for store in store_names(self.spec)]

    def _agent(self, name: str, number: int) -> dict[str, Any]:
        ip = self.slot.node_ip(number)
        tls = _files(
            self.authority.issue(
                name, f"system:node:{name}", ["system:nodes", MASTERS], [ip, LOOPBACK, "localhost", name]
            )
        )
        return {
            "name": name,
            "ip": ip,
            "pod_ip_prefix": self.slot.pod_ip_prefix(number),
            "port": 10250,
            "root": str(self.folder.nodes / name),
            "claim_file": str(self.folder.runtime / "cluster-ips"),
            "client": self._client(tls),
            "tls": tls,
            "metrics": dict(tls),
        }

    def _components(self) -> list[dict[str, Any]]:
        return [self._component(one) for one in components(self.spec.controllers)]

    def _component(self, hosted: HostedComponent) -> dict[str, Any]:
        tls = self._server_tls(hosted.name, f"system:{hosted.kind}", [MASTERS])
        settings = dict(hosted.settings)
        if hosted.kind == CONTROLLERS[2]:
            settings["ca_pem"] = Path(tls["ca_file"]).read_text()
            settings["node_timings"] = self.spec.node_timings
            settings["ca_key_file"] = str(Path(tls["ca_file"]).with_name("ca.key"))
            settings["token_key_file"] = str(self.authority.service_account_key())
        if hosted.kind == SCHEDULER[2]:
            if self.spec.scheduler_config is not None:
                settings["config"] = str(self.spec.scheduler_config.resolve())
            settings["plugin_files"] = [str(plugin.resolve()) for plugin in self.spec.scheduler_plugins]
        return {
            "name": hosted.name,
            "factory": hosted.factory,
            "lease": hosted.lease,
            "lease_ttl_ms": self.spec.lease_ttl_ms,
            "client": self._client(tls),
            "tls": tls,
            "settings": settings,
        }

    def _client(self, tls: Mapping[str, str]) -> dict[str, Any]:
        return {"server": self.server, **tls}

    def _server_tls(self, name: str, user: str, groups: list[str]) -> dict[str, str]:
        return _files(self.authority.issue(name, user, groups, [LOOPBACK, "localhost"]))

    def _derived(self, purpose: str) -> str:
        """Return a secret for one purpose that is new with each start, as the token is."""
        return hashlib.sha256(f"{purpose} {self.ray_token}".encode()).hexdigest()

    def _port(self, name: str) -> int:
        return self.record.ports[name]


RAY_PORTS = ("gcs", "forwarder", "node-manager", "object-manager")


def store_names(spec: ClusterSpec) -> list[str]:
    return [f"store-{number}" for number in range(1, (1 if spec.single else spec.servers) + 1)]


def api_server_names(spec: ClusterSpec) -> list[str]:
    return [f"apiserver-{number}" for number in range(1, spec.api_servers + 1)]


def port_names(spec: ClusterSpec) -> list[str]:
    """The names of all ports, apart from the one for people, that a cluster needs."""
    stores = store_names(spec)
    if spec.single:
        return stores
    client_ports = [f"{name}-client" for name in stores]
    ray = [f"ray-{number}-{key}" for number in range(1, len(RAY_POSITIONS) + 1) for key in RAY_PORTS]
    states = [f"state-{number}" for number in range(1, len(RAY_POSITIONS) + 1)]
    return [*stores, *client_ports, *api_server_names(spec), *ray, *states]


def choose_ports(
    wanted: list[str], kept: Mapping[str, int], is_free: Callable[[int], bool], fresh: list[int]
) -> dict[str, int]:
    """Give each name the port it had if that is still free, else one of `fresh`."""
    spare = iter(fresh)
    return {name: kept[name] if name in kept and is_free(kept[name]) else next(spare) for name in wanted}


def _files(files: CertificateFiles) -> dict[str, str]:
    return {"ca_file": str(files.ca), "cert_file": str(files.cert), "key_file": str(files.key)}
