"""The commands of a cluster on several hosts: `oarlock server`, `node`, `token` and `certs`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hosts import HostRecord
from oarlock.cluster.boot.state import StateFolder, default_folder


def add(commands: Any, where: argparse.ArgumentParser) -> None:
    """Add the parsers; `where` has what tells which state folder is meant."""
    server = commands.add_parser(
        "server", parents=[where], help="run this host's part of a cluster on several", description=_server.__doc__
    )
    server.add_argument("--hosts", default="", metavar="NAME=ADDRESS,…", help="found a cluster of 1, 3 or 5 servers")
    server.add_argument("--ports", default="", metavar="NAME=PORT,…", help="other ports than the usual ones (founder)")
    server.add_argument("--no-agent", action="store_true", help="run no pods on this server")
    server.add_argument("--kubeconfig", type=Path, metavar="FILE", help="the kubeconfig to merge the context into")
    server.add_argument("--node-timings", default="fast", metavar="HOW", help="as `oarlock up` has it (founder)")
    server.add_argument(
        "--controllers", action="append", default=[], metavar="GROUP=NAMES", help="as `oarlock up` has it (founder)"
    )
    server.add_argument(
        "--ray-address", default="", metavar="ADDRESS", help="host the actors on your own Ray cluster (founder)"
    )
    lease = "how long a silent scheduler, group of controllers or Ray head is waited for (2; founder)"
    server.add_argument("--lease-ttl", type=float, default=2.0, metavar="SECONDS", help=lease)
    same = "the same file on every server"
    server.add_argument("--token-file", type=Path, metavar="FILE", help=f"static tokens as CSV; {same}")
    server.add_argument(
        "--scheduler-config", type=Path, metavar="FILE", help=f"the KubeSchedulerConfiguration to follow; {same}"
    )
    plugin = f"Python file of a plugin; {same}"
    server.add_argument("--scheduler-plugin", type=Path, metavar="FILE", action="append", default=[], help=plugin)
    server.set_defaults(run=_server)
    node = commands.add_parser(
        "node", parents=[where], help="make this host a node of a cluster", description=_node.__doc__
    )
    node.add_argument("--address", default="", metavar="IP", help="this host's address, where it has several")
    node.set_defaults(run=_node)
    for one in (server, node):
        one.add_argument("--host", default="", metavar="NAME", help="which host this is")
        one.add_argument(
            "--join", action="append", default=[], metavar="URL", help="a join server; several may be given"
        )
        one.add_argument("--token", default="", metavar="TOKEN", help="what `oarlock token` prints on a server")
        one.add_argument("--fresh", action="store_true", help="forget what this host was before")
        one.add_argument("--foreground", action="store_true", help="stay in the foreground, for systemd")

    token = commands.add_parser("token", parents=[where], help="print how hosts join", description=_token.__doc__)
    token.add_argument("--rotate", choices=("node", "server"), help="make the old token worthless first")
    token.set_defaults(run=_token)

    certs = commands.add_parser(
        "certs", parents=[where], help="check or renew this host's certificates", description=_certs.__doc__
    )
    certs.add_argument("action", choices=("check", "renew"))
    certs.set_defaults(run=_certs)


def _server(options: argparse.Namespace) -> int:
    """Found a cluster on several hosts (--hosts), join one as a server (--join), or start this host's part again."""
    from oarlock.cluster.boot import kubeconfig
    from oarlock.cluster.boot.serving import Wanted

    wanted = Wanted(
        options.name,
        "server",
        (options.kubeconfig or kubeconfig.default_file()).absolute(),
        options.hosts,
        options.host,
        tuple(options.join),
        options.token,
        ports=options.ports,
        node_timings=options.node_timings,
        controllers=tuple(options.controllers),
        runs_pods=not options.no_agent,
        ray_address=options.ray_address,
        lease_ttl_s=options.lease_ttl,
        token_file=options.token_file,
        scheduler_config=options.scheduler_config,
        scheduler_plugins=tuple(options.scheduler_plugin),
        fresh=options.fresh,
        foreground=options.foreground,
    )
    return _start(wanted, options)


def _node(options: argparse.Namespace) -> int:
    """Make this host a node of a cluster (--join), or start it again."""
    from oarlock.cluster.boot.serving import Wanted

    wanted = Wanted(
        options.name,
        "node",
        host=options.host,
        join=tuple(options.join),
        token=options.token,
        address=options.address,
        fresh=options.fresh,
        foreground=options.foreground,
    )
    return _start(wanted, options)


def _start(wanted: Any, options: argparse.Namespace) -> int:
    from oarlock.cluster.boot.serving import start_host

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as after Ctrl-C
    start_host(wanted, _folder(options), sys.stdout)
    return 0


def _token(options: argparse.Namespace) -> int:
    """Print the commands by which servers and nodes join, with the tokens that they take."""
    from oarlock.cluster.boot.hosttelling import tell_tokens
    from oarlock.cluster.boot.rotation import rotate

    record, folder = _host(options), _folder(options)
    if record.role != "server":
        raise BootError("only servers know the tokens", "Run this on a server.")
    if options.rotate:
        rotate(record, folder, options.rotate, sys.stdout)
    tell_tokens(record, folder, sys.stdout)
    return 0


def _certs(options: argparse.Namespace) -> int:
    """Show until when each certificate of this host holds and what is wrong with it, or make new ones."""
    from oarlock.cluster.boot import certs

    folder = _folder(options)
    actions: dict[str, Callable[[StateFolder, Any], int]] = {"check": certs.check, "renew": certs.renew}
    return actions[options.action](folder, sys.stdout)


def _host(options: argparse.Namespace) -> HostRecord:
    from oarlock.cluster.boot.hoststate import load_host

    record = load_host(_folder(options))
    if record is None:
        raise BootError(
            f"{_folder(options).path} is no host's folder", "Found or join a cluster: oarlock server --help."
        )
    return record


def _folder(options: argparse.Namespace) -> StateFolder:
    return StateFolder((options.state or default_folder(options.name)).absolute())
