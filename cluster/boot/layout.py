"""Which processes a cluster on this machine has, and with what settings: a pure function of specification and record.

What each part is told stands in `drafts`, for this layout and for that of one host of several (`hostlayout`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from oarlock.cluster.boot.components import components
from oarlock.cluster.boot.drafts import Drafts, RayPlace, StorePlace, files
from oarlock.cluster.boot.network import LOOPBACK, Slot
from oarlock.cluster.boot.parts import Part
from oarlock.cluster.boot.pki import MASTERS, Authority, CertificateFiles
from oarlock.cluster.boot.spec import ClusterSpec
from oarlock.cluster.boot.state import ClusterRecord, StateFolder

HOLLOW_NODE = 101
"""The number whose addresses the simulated nodes share; real nodes have 1 to 100."""
RAY_POSITIONS = ("a", "b")
"""Two Ray nodes on this machine, so that a standby survives one."""


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
        drafts = self._drafts()
        if self.spec.single:
            return [self._single(drafts)]
        return [
            *(drafts.store(name) for name in store_names(self.spec)),
            *(
                drafts.api_server(name, self._api_network(), self.slot.first_service_ip)
                for name in api_server_names(self.spec)
            ),
            drafts.balancer("balancer", self.record.port, drafts.balancer_tls()),
            *(Part(str(one["name"]), "agent", "agent", one, after=("balancer",)) for one in self._agents(drafts)),
            *self._hollow(drafts),
            *(self._guests(drafts) if self.spec.ray_address else self._ray_nodes(drafts)),
        ]

    def admin(self) -> CertificateFiles:
        return self.authority.issue("admin", "oarlock-admin", [MASTERS])

    def _drafts(self) -> Drafts:
        spec = self.spec
        scheduler: dict[str, object] = {"plugin_files": [str(plugin.resolve()) for plugin in spec.scheduler_plugins]}
        if spec.scheduler_config is not None:
            scheduler["config"] = str(spec.scheduler_config.resolve())
        return Drafts(
            self.record.cluster_id,
            self.folder,
            self.authority,
            self.server,
            {} if spec.single else self._stores(),
            {} if spec.single else {name: (LOOPBACK, self._port(name)) for name in api_server_names(spec)},
            self.ray_token,
            lease_ttl_ms=spec.lease_ttl_ms,
            controllers={"node_timings": spec.node_timings},
            scheduler=scheduler,
        )

    def _stores(self) -> Mapping[str, StorePlace]:
        return {
            name: StorePlace(LOOPBACK, self._port(name), self._port(f"{name}-client"))
            for name in store_names(self.spec)
        }

    def _api_network(self) -> Mapping[str, object]:
        return {
            "service_cidr": self.slot.service_cidr,
            "token_file": str(self.spec.token_file.resolve()) if self.spec.token_file else None,
            "advertise": [LOOPBACK, self.record.port],
            "loopback_network": True,
        }

    def _agents(self, drafts: Drafts) -> Iterator[dict[str, object]]:
        for number in range(1, self.spec.nodes + 1):
            name, ip = f"node-{number}", self.slot.node_ip(number)
            network = {"ip": ip, "pod_ip_prefix": self.slot.pod_ip_prefix(number)}
            yield drafts.agent_settings(name, drafts.node_tls(name, ip), network)

    def _hollow(self, drafts: Drafts) -> Iterator[Part]:
        if self.spec.hollow:
            ip = self.slot.node_ip(HOLLOW_NODE)
            identity = self.authority.issue(
                "hollow", "system:node:hollow", ["system:nodes", MASTERS], [ip, LOOPBACK, "localhost"]
            )
            tls = files(identity)
            settings = {
                "count": self.spec.hollow,
                "client": drafts.client(tls),
                "tls": tls,
                "root": str(self.folder.nodes / "hollow"),
                "ip": ip,
                "pod_ip_prefix": self.slot.pod_ip_prefix(HOLLOW_NODE),
                "port": 10250,
                "metrics": dict(tls),
            }
            yield Part("hollow", "hollow", "hollow", settings, after=("balancer",))

    def _ray_nodes(self, drafts: Drafts) -> Iterator[Part]:
        hosted = components(self.spec.controllers)
        for number, position in enumerate(RAY_POSITIONS, start=1):
            name, state = f"ray-{number}", f"state-{number}"
            ports = {f"{key.replace('-', '_')}_port": self._port(f"{name}-{key}") for key in RAY_PORTS}
            place = RayPlace(name, position, state, state_port=self._port(state), **ports)
            yield drafts.ray_state(place)
            yield drafts.ray_node(place, hosted, after="balancer")

    def _guests(self, drafts: Drafts) -> Iterator[Part]:
        yield drafts.ray_guests(self.spec.ray_address, self.server, components(self.spec.controllers), after="balancer")

    def _single(self, drafts: Drafts) -> Part:
        address = (LOOPBACK, self.record.port)
        settings = {
            "cluster_id": self.record.cluster_id,
            "store": {
                "name": "store-1",
                "host": LOOPBACK,
                "port": self._port("store-1"),
                "data_dir": str(self.folder.store / "store-1"),
                "socket": str(self.folder.runtime / "store"),
            },
            "apiserver": drafts.api_server_settings(
                "apiserver", address, self._api_network(), self.slot.first_service_ip
            ),
            "components": [drafts.component(one) for one in components(self.spec.controllers)],
            "agents": list(self._agents(drafts)),
            "hollow": [part.settings for part in self._hollow(drafts)],
        }
        return Part("oarlock", "single", "single", settings)

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
