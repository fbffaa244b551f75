"""What a cluster on several hosts is, and which part of it one host has: values, and the rules for them. Pure.

Who the servers are is settled at the founding and stays (decision 0010). Each is its address: a certificate, a vote and
a folder belong to one member, and one member is at one address (decision 0034).
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from oarlock.cluster.boot.errors import BootError

FORMAT = 1
IPV4 = 4
SERVERS_SENSIBLE = (1, 3, 5)
HOST_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
CLUSTER_CIDR, SERVICE_CIDR = "10.42.0.0/16", "10.43.0.0/16"
PORTS: Mapping[str, int] = {
    "api": 6443,
    "apiserver": 6444,
    "store-client": 2379,
    "store-peer": 2380,
    "join": 9345,
    "kubelet": 10250,
    "ray-forwarder": 6379,
    "ray-state": 6380,
    "ray-gcs": 6381,
    "ray-node-manager": 6382,
    "ray-object-manager": 6383,
}
"""By what is served there. `api` is the balancer's, where everybody connects."""
NODE_PORTS = ("api", "kubelet")
"""Those that a host without servers listens on."""
_LISTING = "Name each host and its address: --hosts a=10.9.0.1,b=10.9.0.2,c=10.9.0.3."

Role = Literal["server", "node"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What every host of a cluster knows alike. `members` maps the server hosts' names to their addresses.

    `controllers` are the groups as their flags said. `version` is the one that founded the cluster.
    """

    name: str
    cluster_id: str
    members: Mapping[str, str]
    version: str
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))
    node_timings: str = "fast"
    controllers: tuple[str, ...] = ()
    cluster_cidr: str = CLUSTER_CIDR
    service_cidr: str = SERVICE_CIDR
    ray_address: str = ""
    lease_ttl_ms: int = 2_000

    @property
    def majority(self) -> int:
        return len(self.members) // 2 + 1

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """What certificates of servers have to say: through a forwarder or a balancer one comes to any of them."""
        return (*self.members.values(), *self.members, "127.0.0.1", "localhost")

    @property
    def first_service_ip(self) -> str:
        return str(ipaddress.ip_network(self.service_cidr)[1])

    def join_urls(self) -> list[str]:
        return [f"https://{address}:{self.ports['join']}" for address in self.members.values()]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Cluster:
        """Read the form that `asdict` gives. Raises TypeError, KeyError or ValueError for anything else."""
        return cls(**{**document, "controllers": tuple(document.get("controllers", ()))})


@dataclass(frozen=True, slots=True)
class HostRecord:
    """One host's part in a cluster; kept in host.json. `instance` is new with each folder, and so tells two apart.

    `runs_pods` is false for a server that is no node. `token_file` and the scheduler's files are paths on this host.
    """

    cluster: Cluster
    host: str
    address: str
    role: Role
    instance: str = field(default_factory=lambda: uuid.uuid4().hex)
    runs_pods: bool = True
    kubeconfig: str = ""
    token_file: str = ""
    scheduler_config: str = ""
    scheduler_plugins: tuple[str, ...] = ()
    format: int = FORMAT

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> HostRecord:
        """Read the form that `asdict` gives. Raises TypeError, KeyError or ValueError for anything else."""
        plugins = tuple(document.get("scheduler_plugins", ()))
        return cls(**{**document, "cluster": Cluster.of(document["cluster"]), "scheduler_plugins": plugins})

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_trial(self) -> bool:
        """Whether the hosts share one machine's loopback: they can't share 127.0.0.1, nor ports that Ray has on all."""
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def routes_pods(self) -> bool:
        """Whether the host has routes to its pods and to those of others."""
        return self.runs_pods and not self.is_trial

    @property
    def ports(self) -> dict[str, int]:
        """The ports that this host listens on, by what is served there."""
        ports = self.cluster.ports
        wanted = set(NODE_PORTS) if self.role == "node" else set(ports) - (set() if self.runs_pods else {"kubelet"})
        return {name: port for name, port in ports.items() if name in wanted}


def parse_members(text: str) -> dict[str, str]:
    """Read `--hosts`. Raises BootError unless 1, 3 or 5 different names have different addresses."""
    members: dict[str, str] = {}
    for item in text.split(","):
        name, equals, address = item.strip().partition("=")
        if not equals:
            raise BootError(f"--hosts has {item.strip()!r}, which is no NAME=ADDRESS", _LISTING)
        check_name("--hosts", name)
        if name in members:
            raise BootError(f"--hosts names {name} twice", _LISTING)
        check_address("--hosts", address)
        if address in members.values():
            raise BootError(f"--hosts gives {address} to two hosts", _LISTING)
        members[name] = address
    if len(members) not in SERVERS_SENSIBLE:
        raise BootError(
            f"--hosts names {len(members)} hosts, which gives no useful majority",
            "Name 1, 3 or 5; others join as nodes.",
        )
    return members


def parse_ports(text: str) -> dict[str, int]:
    """Read `--ports`. Raises BootError; ports that aren't named are the usual ones."""
    ports = dict(PORTS)
    for item in filter(None, text.split(",")):
        name, _, number = item.strip().partition("=")
        if name not in PORTS:
            raise BootError(f"--ports names {name!r}", f"There are: {', '.join(PORTS)}.")
        if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= 65_535:
            raise BootError(f"--ports gives {name} the port {number!r}", "Use a number from 1 to 65535.")
        ports[name] = int(number)
    seen: dict[int, str] = {}
    for name, port in ports.items():
        if port in seen:
            raise BootError(f"--ports gives {port} to {seen[port]} and {name}", "Give each a port of its own.")
        seen[port] = name
    return ports


def check_name(flag: str, name: str) -> None:
    """Raise BootError unless the name can be a Node's and a certificate's."""
    if not HOST_NAME.fullmatch(name):
        raise BootError(f"{flag} has {name!r}, which is no host name", "Use lower-case letters, digits and dashes.")


def check_address(flag: str, address: str) -> None:
    """Raise BootError unless other hosts may reach the address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise BootError(f"{flag} has {address!r}, which is no IP address", _LISTING) from None
    if parsed.version != IPV4:
        raise BootError(f"{flag} has {address}, and hosts are reached by IPv4 only", "Give its IPv4 address.")
    if parsed.is_unspecified or parsed.is_multicast or parsed.is_link_local:
        raise BootError(f"{flag} has {address}, where no host can be reached", "Give the host's own address.")


def host_here(members: Mapping[str, str], asked: str, is_local: Mapping[str, bool]) -> str:
    """Return which member this host is: the asked one, or the only one whose address is this host's.

    `is_local` tells of each name whether this machine has its address. Raises BootError.
    """
    if asked:
        if asked not in members:
            raise BootError(
                f"{asked} is none of this cluster's servers {', '.join(members)}, which were settled at its founding",
                "Join it as a node: oarlock node --join.",
            )
        if not is_local[asked]:
            raise BootError(
                f"{members[asked]}, the address of {asked}, is none of this machine's",
                "Run this on that machine, or give the machine that address.",
            )
        return asked
    here = [name for name, local in is_local.items() if local]
    if len(here) == 1:
        return here[0]
    listed = ", ".join(f"{name}={address}" for name, address in members.items())
    found = "several of the addresses are" if here else "none of the addresses is"
    raise BootError(f"{found} this machine's: {listed}", "Say which one it is: --host NAME.")
