"""`oarlock server` and `oarlock node`: found a cluster on several hosts, join one, or start this host's part again.

What is refused is refused before anything of the host has been started; a folder that the call made is empty then.
"""

from __future__ import annotations

import importlib.metadata
import ipaddress
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from oarlock.cluster.boot import hoststate, kubeconfig, launching
from oarlock.cluster.boot.components import parse_groups
from oarlock.cluster.boot.down import stop_leftovers
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hostlayout import HostLayout
from oarlock.cluster.boot.hosts import (
    Cluster,
    HostRecord,
    Role,
    check_address,
    check_name,
    host_here,
    parse_members,
    parse_ports,
)
from oarlock.cluster.boot.hosttelling import tell
from oarlock.cluster.boot.joining import client as joining
from oarlock.cluster.boot.joining.client import Met, NotReached
from oarlock.cluster.boot.joining.judging import Asked
from oarlock.cluster.boot.joining.paths import NODE, SERVER
from oarlock.cluster.boot.joining.requests import new_request
from oarlock.cluster.boot.jointokens import Secrets, Token, ca_hash
from oarlock.cluster.boot.network import LOOPBACK, is_free
from oarlock.cluster.boot.nodecertificate import HeldCertificate, renew_if_due
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.boot.progress import Progress
from oarlock.cluster.boot.spec import ClusterSpec
from oarlock.cluster.boot.state import StateFolder, write_private

NODE_PATIENCE_S = 60.0
"""How long a node waits for servers that are starting."""
RETRY_S = 1.0
FIRST_KINDS = ("store", "join", "balancer")
"""What a server runs whether or not there is a majority."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says. `hosts` founds, `join` joins; with neither the host is known already."""

    name: str
    role: Role
    kubeconfig: Path | None = None
    hosts: str = ""
    host: str = ""
    join: tuple[str, ...] = ()
    token: str = ""
    address: str = ""
    ports: str = ""
    node_timings: str = "fast"
    controllers: tuple[str, ...] = ()
    runs_pods: bool = True
    ray_address: str = ""
    lease_ttl_s: float = 2.0
    token_file: Path | None = None
    scheduler_config: Path | None = None
    scheduler_plugins: tuple[Path, ...] = ()
    fresh: bool = False
    foreground: bool = False


def start_host(wanted: Wanted, folder: StateFolder, out: TextIO) -> None:
    """Return once this host's own parts run. Raises BootError and leaves nothing half-started, nor what is in vain."""
    _check_wanted(wanted)
    if wanted.kubeconfig is not None:
        kubeconfig.check(wanted.kubeconfig)
    folder.check()
    launching.refuse_running(wanted.name, folder)
    if folder.record_file.exists():
        raise BootError(
            f"the folder {folder.path} holds a cluster of `oarlock up`", "Use another one: --state DIR, or --name NAME."
        )
    known = None if wanted.fresh else hoststate.load_host(folder)
    stop_leftovers(folder)
    if wanted.fresh:
        folder.remove()
    try:
        folder.create()
        record = _record(wanted, folder, out) if known is None else _known(known, wanted, folder)
        record = replace(record, **_own_files(wanted))
        _check_here(record)
        hoststate.save_host(folder, record)
        layout = _layout(record, folder, out)
        launching.write_plan(folder, layout.server, layout.admin(), layout.parts(), host=record.host)
        _write_kubeconfigs(layout)
        if wanted.foreground:
            out.flush()
            launching.become(folder)
        launching.launch(folder)
        progress = Progress(out)
        launching.follow(folder, progress, _own_parts_run)
    except BaseException:
        launching.abandon(folder, new=known is None)
        raise
    try:
        tell(layout, folder, progress, out)
    except launching.PartRefused:
        launching.abandon(folder, new=False)
        raise


def _check_wanted(wanted: Wanted) -> None:
    ClusterSpec(
        wanted.name,
        controllers=parse_groups(wanted.controllers),
        node_timings=wanted.node_timings,
        token_file=wanted.token_file,
        scheduler_config=wanted.scheduler_config,
        scheduler_plugins=wanted.scheduler_plugins,
        lease_ttl_s=wanted.lease_ttl_s,
    )
    if wanted.hosts and wanted.join:
        raise BootError("--hosts founds a cluster and --join joins one", "Give one of them.")
    if bool(wanted.join) != bool(wanted.token):
        raise BootError("--join and --token belong together", "See both on a server: oarlock token.")
    if wanted.host:
        check_name("--host", wanted.host)
    if wanted.address:
        check_address("--address", wanted.address)


def _own_files(wanted: Wanted) -> dict[str, Any]:
    """Return the files that the command line names, as the record has them; what it leaves out stays as it was."""
    named: dict[str, Any] = {
        name: str(path.absolute())
        for name in ("kubeconfig", "token_file", "scheduler_config")
        if (path := getattr(wanted, name)) is not None
    }
    if wanted.scheduler_plugins:
        named["scheduler_plugins"] = tuple(str(plugin.absolute()) for plugin in wanted.scheduler_plugins)
    return named


# Who this host is


def _record(wanted: Wanted, folder: StateFolder, out: TextIO) -> HostRecord:
    if wanted.hosts:
        return _found(wanted, folder)
    if wanted.join:
        return _join_server(wanted, folder) if wanted.role == "server" else _join_node(wanted, folder, out)
    raise BootError(
        f"the folder {folder.path} is no host's yet",
        "Found a cluster (--hosts a=…,b=…,c=…), or join one (--join https://… --token …)."
        if wanted.role == "server"
        else "Join a cluster: --join https://… --token … (a server says it: oarlock token).",
    )


def _found(wanted: Wanted, folder: StateFolder) -> HostRecord:
    members = parse_members(wanted.hosts)
    host = host_here(members, wanted.host, {name: is_local(address) for name, address in members.items()})
    cluster = Cluster(
        wanted.name,
        uuid.uuid4().hex,
        members,
        importlib.metadata.version("oarlock"),
        parse_ports(wanted.ports),
        wanted.node_timings,
        wanted.controllers,
        ray_address=wanted.ray_address,
        lease_ttl_ms=round(wanted.lease_ttl_s * 1000),
    )
    Authority(folder.pki).service_account_key()
    hoststate.ray_token(folder)
    hoststate.load_secrets(folder)
    return HostRecord(cluster, host, members[host], "server", runs_pods=wanted.runs_pods)


def _join_server(wanted: Wanted, folder: StateFolder) -> HostRecord:
    token, instance = Token.parse(wanted.token), uuid.uuid4().hex

    def asked() -> Asked:
        return Asked(importlib.metadata.version("oarlock"), time.time(), instance, wanted.host)

    try:
        _, given = joining.first_that_answers(
            wanted.join, token.ca_hash, lambda met: joining.join(met, SERVER, token, asked())
        )
    except NotReached as trouble:
        raise BootError(
            f"no server can be reached: {trouble}", "Start the founder first; look at the network."
        ) from None
    cluster = Cluster.of(given["cluster"])
    members = cluster.members
    host = host_here(members, given["host"], {name: is_local(address) for name, address in members.items()})
    for name, content in given["files"].items():
        write_private(folder.pki / Path(name).name, content.encode())
    hoststate.save_secrets(folder, Secrets.of(given["tokens"]))
    return HostRecord(cluster, host, members[host], "server", instance, runs_pods=wanted.runs_pods)


def _join_node(wanted: Wanted, folder: StateFolder, out: TextIO) -> HostRecord:
    name = wanted.host or socket.gethostname().partition(".")[0].lower()
    check_name("--host", name)
    token, instance = Token.parse(wanted.token), uuid.uuid4().hex
    request = {"request": new_request(name, folder.pki / "node.key")}

    def asked() -> Asked:
        return Asked(importlib.metadata.version("oarlock"), time.time(), instance, name, wanted.address)

    def ask() -> tuple[Met, dict[str, object]]:
        return joining.first_that_answers(
            wanted.join, token.ca_hash, lambda met: joining.join(met, NODE, token, asked(), request)
        )

    met, given = _patiently(ask, out)
    cluster, address = Cluster.of(given["cluster"]), str(given["address"])  # type: ignore[arg-type]
    if not is_local(address):
        raise BootError(
            f"this host seems to be at {address}, which is none of its own addresses",
            "Join over a network without address translation: other hosts have to reach this one.",
        )
    write_private(folder.pki / "ca.crt", met.ca_pem.encode())
    write_private(folder.pki / "node.crt", str(given["certificate"]).encode())
    return HostRecord(cluster, name, address, "node", instance)


def _patiently(
    ask: Callable[[], tuple[Met, dict[str, object]]], out: TextIO, patience_s: float = NODE_PATIENCE_S
) -> tuple[Met, dict[str, object]]:
    """Ask until a server answers, which may be starting just now."""
    deadline, told = time.monotonic() + patience_s, False
    while True:
        try:
            return ask()
        except NotReached as trouble:
            if time.monotonic() > deadline:
                raise BootError(f"no server lets nodes in: {trouble}", "Look at one by: oarlock status.") from None
            if not told:
                print(f"waiting for a server: {trouble}", file=out, flush=True)
                told = True
            time.sleep(RETRY_S)


def _known(record: HostRecord, wanted: Wanted, folder: StateFolder) -> HostRecord:
    """Return the record of a host that starts again. Raises BootError if the command line says something else."""
    cluster = record.cluster
    anew = "Leave the flags out to start it again, or make it another's: --fresh."
    if record.role != wanted.role:
        raise BootError(
            f"this host is a {record.role} of the cluster {cluster.name}", f"Start it: oarlock {record.role}."
        )
    if wanted.hosts and parse_members(wanted.hosts) != cluster.members:
        listed = ",".join(f"{name}={address}" for name, address in cluster.members.items())
        raise BootError(f"the cluster {cluster.name} was founded with --hosts {listed}, which stay as they are", anew)
    if wanted.host and wanted.host != record.host:
        raise BootError(f"this host is {record.host} of the cluster {cluster.name}", anew)
    if wanted.token and Token.parse(wanted.token).ca_hash != ca_hash((folder.pki / "ca.crt").read_text()):
        raise BootError(
            f"the folder {folder.path} is of the cluster {cluster.name} ({cluster.cluster_id}), the token of another",
            anew,
        )
    return record


# Whether it can be here


def is_local(address: str) -> bool:
    """Tell whether the address is one of this machine's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _check_here(record: HostRecord) -> None:
    """Raise BootError unless this is the machine that the record is of, its files are there and its ports are free."""
    ClusterSpec(
        record.cluster.name,
        token_file=Path(record.token_file) if record.token_file else None,
        scheduler_config=Path(record.scheduler_config) if record.scheduler_config else None,
        scheduler_plugins=tuple(map(Path, record.scheduler_plugins)),
    )
    if not is_local(record.address):
        raise BootError(
            f"this folder is of host {record.host} at {record.address}, which is none of this machine's addresses",
            "If it was copied from there, remove it: a host has one folder. If the address has changed, give it back"
            + ("." if record.role == "server" else ", or join anew: oarlock node --fresh --join …."),
        )
    for name, port in record.ports.items():
        loopback = ipaddress.ip_address(record.address).is_loopback
        for address in (record.address, LOOPBACK) if name == "api" and not loopback else (record.address,):
            if not is_free(port, address):
                way_out = (
                    "Stop what uses it; `oarlock server --hosts … --ports` chooses others when a cluster is founded."
                )
                raise BootError(f"port {port} ({name}) of {address} is in use on this host", way_out)


def _layout(record: HostRecord, folder: StateFolder, out: TextIO) -> HostLayout:
    if record.role == "server":
        return HostLayout(record, folder, Authority(folder.pki), hoststate.ray_token(folder))
    renew_if_due(record, folder, out)
    return HostLayout(record, folder, HeldCertificate(folder.pki))


def _write_kubeconfigs(layout: HostLayout) -> None:
    """An administrator's, on servers; nodes have none."""
    record = layout.record
    if record.role == "server":
        context = ClusterSpec(record.cluster.name).context
        kubeconfig.merge(layout.folder.kubeconfig, context, layout.outer_server, layout.admin())
        if record.kubeconfig:
            kubeconfig.merge(Path(record.kubeconfig), context, layout.outer_server, layout.admin())


def _own_parts_run(parts: launching.Shown) -> bool:
    own = [part for part in parts if part["kind"] in FIRST_KINDS] if _is_server(parts) else parts
    return launching.all_ready(own)


def _is_server(parts: launching.Shown) -> bool:
    return any(part["kind"] == "store" for part in parts)
