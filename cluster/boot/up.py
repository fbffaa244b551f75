"""`oarlock up`: checks what can be checked, starts the cluster in the background, shows it come up."""

from __future__ import annotations

import secrets
import socket
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from oarlock.cluster.boot import kubeconfig, launching
from oarlock.cluster.boot.components import components
from oarlock.cluster.boot.down import stop_leftovers
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.layout import RAY_POSITIONS, Layout, choose_ports, port_names
from oarlock.cluster.boot.network import Slot, free_ports, hold_slot, is_free
from oarlock.cluster.boot.pki import Authority
from oarlock.cluster.boot.progress import Progress
from oarlock.cluster.boot.spec import DEFAULT_NAME, DEFAULT_PORT, ClusterSpec
from oarlock.cluster.boot.state import ClusterRecord, StateFolder, new_record, with_ports
from oarlock.cluster.boot.status import Row, gather, takes_pods

ACTORS_START_S = 120.0
ACTORS_LOOK_S = 0.1
ACCOUNT_S = 10.0


def up(spec: ClusterSpec, folder: StateFolder, kubeconfig_file: Path, *, fresh: bool, out: TextIO) -> None:
    """Bring the cluster up and return when every part is ready. Raises BootError and leaves nothing half-started."""
    kubeconfig.check(kubeconfig_file)
    folder.check()
    launching.refuse_running(spec.name, folder)
    if folder.host_file.exists():
        way_out = "Start it: oarlock server, or oarlock node. Or choose another folder: --state DIR, or --name NAME."
        raise BootError(f"the folder {folder.path} holds a host of a cluster on several", way_out)
    earlier = None if fresh else folder.load()
    if earlier is not None:
        _check_same_shape(spec, earlier)
    stop_leftovers(folder)
    slot, guard = _slot(spec, folder, earlier)
    with guard:
        port = _main_port(spec, slot, earlier)
        if fresh:
            folder.remove()
        base = earlier or new_record(spec.name, slot=slot.number, servers=spec.stores, single=spec.single, port=port)
        try:
            layout = _start(spec, folder, replace(base, port=port, kubeconfig=str(kubeconfig_file)), guard, out)
            kubeconfig.merge(kubeconfig_file, spec.context, layout.server, layout.admin())
        except BaseException:
            launching.abandon(folder, new=earlier is None)
            raise
    _tell(layout, kubeconfig_file, out)


def _start(spec: ClusterSpec, folder: StateFolder, base: ClusterRecord, guard: socket.socket, out: TextIO) -> Layout:
    """Start the supervisor, which gets `guard`, and return once every part is ready."""
    folder.create()
    layout = _prepare(spec, folder, base)
    launching.write_plan(folder, layout.server, layout.admin(), layout.parts())
    launching.launch(folder, guard)
    progress = Progress(out)
    parts = launching.follow(folder, progress)
    if not spec.single:
        _follow_actors(folder, spec, parts, progress)
    _await_account(folder)
    return layout


def _prepare(spec: ClusterSpec, folder: StateFolder, base: ClusterRecord) -> Layout:
    """Settle the other ports, keep the record, and make certificates."""
    names = port_names(spec)
    others = [port for port in Slot(base.slot).ports if port not in {base.port, *base.ports.values()}]
    record = with_ports(base, choose_ports(names, base.ports, is_free, free_ports(len(names), among=others)))
    folder.save(record)
    layout = Layout(spec, record, folder, Authority(folder.pki), secrets.token_hex(32))
    kubeconfig.merge(folder.kubeconfig, spec.context, layout.server, layout.admin())
    return layout


def _check_same_shape(spec: ClusterSpec, earlier: ClusterRecord) -> None:
    if (earlier.servers, earlier.single) != (spec.stores, spec.single):
        was = "--single" if earlier.single else f"--servers {earlier.servers}"
        raise BootError(
            f"the cluster {earlier.name} was made with {was}",
            f"Bring it up with {was}, use another --name, or start anew with --fresh.",
        )


def _main_port(spec: ClusterSpec, slot: Slot, earlier: ClusterRecord | None) -> int:
    """Return the port for people: the asked one, the one it had, 6443 for the default cluster, or any."""
    if spec.port:
        wanted = spec.port
    elif earlier is not None:
        wanted = earlier.port
    elif spec.name == DEFAULT_NAME and is_free(DEFAULT_PORT):
        wanted = DEFAULT_PORT
    else:
        wanted = free_ports(1, among=slot.ports)[0]
    if not is_free(wanted):
        raise BootError(f"port {wanted} on 127.0.0.1 is in use", "Stop what uses it, or choose another: --port P.")
    return wanted


def _slot(spec: ClusterSpec, folder: StateFolder, earlier: ClusterRecord | None) -> tuple[Slot, socket.socket]:
    """Return the cluster's slot, held."""
    if earlier is None:
        return hold_slot(f"{spec.name} {folder.path}")
    slot = Slot(earlier.slot)
    try:
        return slot, slot.hold()
    except OSError:
        raise BootError(
            f"the addresses of this cluster's Services ({slot.service_cidr}) are held by another running cluster",
            "Stop that cluster, or start anew: oarlock up --fresh.",
        ) from None


def _follow_actors(folder: StateFolder, spec: ClusterSpec, parts: list[dict[str, Any]], progress: Progress) -> None:
    """Show the actors, which Ray starts, until each component has one that acts and one that stands by."""
    hosted = len(components(spec.controllers))
    wanted = hosted * len(RAY_POSITIONS)
    deadline = time.monotonic() + ACTORS_START_S
    actors: list[Row] = []
    while time.monotonic() < deadline:
        actors = [row for row in gather(folder, spec.name) if row.kind == "actor"]
        progress.show(parts + [asdict(row) for row in actors])
        if len(actors) == wanted and sum(row.active for row in actors) == hosted:
            return
        time.sleep(ACTORS_LOOK_S)
    raise BootError(f"only {len(actors)} of {wanted} actors run", f"See the logs in {folder.logs}.")


def _await_account(folder: StateFolder) -> None:
    """Wait a little until pods can be created; a cluster whose controllers don't make accounts is up without one."""
    deadline = time.monotonic() + ACCOUNT_S
    while not takes_pods(folder) and time.monotonic() < deadline:
        time.sleep(ACTORS_LOOK_S)


def _tell(layout: Layout, kubeconfig_file: Path, out: TextIO) -> None:
    context = layout.spec.context
    print(f"\n{context} is up at {layout.server}; context {context!r} is in {kubeconfig_file}.", file=out)
    shown = "" if kubeconfig_file == kubeconfig.default_file() else f"--kubeconfig {kubeconfig_file} "
    print(f"Next:  kubectl {shown}--context {context} get nodes", file=out)
