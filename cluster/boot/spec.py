"""What a cluster on this machine consists of: the flags of `oarlock up`, validated, as one frozen value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from oarlock.cluster.boot.components import ControllerGroup
from oarlock.cluster.boot.errors import BootError

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
DEFAULT_NAME = "oarlock"
DEFAULT_PORT = 6443

NODE_TIMINGS = ("fast", "upstream")
LEASE_TTL_S_MIN, LEASE_TTL_S_MAX = 0.5, 60.0


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """Counts of each part. `hollow` counts simulated nodes; `port` 0 takes any free one; ports are TCP.

    `node_timings` says how soon a silent node's pods go: decision 0019. `lease_ttl_s` is how long a scheduler, a group
    of controllers or Ray's head that falls silent is waited for: decision 0032.
    """

    name: str = DEFAULT_NAME
    single: bool = False
    servers: int = 3
    api_servers: int = 2
    nodes: int = 1
    hollow: int = 0
    port: int = 0
    token_file: Path | None = None
    controllers: tuple[ControllerGroup, ...] = ()
    node_timings: str = "fast"
    scheduler_config: Path | None = None
    scheduler_plugins: tuple[Path, ...] = ()
    lease_ttl_s: float = 2.0
    ray_address: str = ""
    """Where the user's own Ray cluster is, as `ray.init` takes it; "" for one of ours."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise BootError(
                f"--name {self.name!r} is no cluster name",
                "Use lower-case letters, digits and dashes, at most 40 of them.",
            )
        if self.servers not in (1, 3, 5):
            raise BootError(f"--servers {self.servers} gives no useful majority", "Use 1, 3 or 5 store replicas.")
        _bounded("--api-servers", self.api_servers, 1, 16)
        _bounded("--nodes", self.nodes, 0, 100)
        _bounded("--hollow", self.hollow, 0, 10_000)
        _bounded("--port", self.port, 0, 65_535)
        if not LEASE_TTL_S_MIN <= self.lease_ttl_s <= LEASE_TTL_S_MAX:  # nor if it is no number
            way_out = f"Use a number of seconds from {LEASE_TTL_S_MIN:g} to {LEASE_TTL_S_MAX:g}."
            raise BootError(f"--lease-ttl {self.lease_ttl_s:g} is out of range", way_out)
        if self.ray_address and self.single:
            raise BootError("--single runs without Ray", "Leave --ray-address or --single out.")
        if self.node_timings not in NODE_TIMINGS:
            named = f"--node-timings {self.node_timings!r} is unknown"
            raise BootError(named, f"Use one of {', '.join(NODE_TIMINGS)}.")
        if self.token_file is not None and not self.token_file.is_file():
            raise BootError(f"--token-file {self.token_file} is not a file", "Name a CSV file: token,user,uid,groups.")
        _readable_by_scheduler(self.scheduler_config, self.scheduler_plugins)

    @property
    def stores(self) -> int:
        """The number of store replicas that there will be."""
        return 1 if self.single else self.servers

    @property
    def lease_ttl_ms(self) -> int:
        return round(self.lease_ttl_s * 1000)

    @property
    def context(self) -> str:
        """The name of this cluster's entries in a kubeconfig."""
        return self.name if self.name == DEFAULT_NAME else f"{DEFAULT_NAME}-{self.name}"


def _readable_by_scheduler(config: Path | None, plugins: tuple[Path, ...]) -> None:
    """Refuse here what the scheduler would refuse, while somebody is there to read why."""
    if config is None and not plugins:
        return
    from oarlock.actors.scheduler.located import Broken
    from oarlock.actors.scheduler.profile import DEFAULT_NAME as PROFILE
    from oarlock.actors.scheduler.sources import Sources

    for plugin in plugins:
        if not plugin.is_file():
            raise BootError(f"--scheduler-plugin {plugin} is not a file", "Name a Python file.")
    try:
        Sources(PROFILE, str(config or ""), tuple(map(str, plugins))).load()
    except Broken as broken:
        raise BootError(str(broken), "Correct the file named above.") from None


def _bounded(flag: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BootError(f"{flag} {value} is out of range", f"Use a number from {low} to {high}.")
