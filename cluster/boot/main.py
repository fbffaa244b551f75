"""The command line: `oarlock up`, `down`, `restart`, `status`, `explain`, `whatif`, `version`, and `hostcommands`."""

from __future__ import annotations

import argparse
import importlib.metadata
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from oarlock.cluster.boot import hostcommands
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.state import StateFolder, default_folder

if TYPE_CHECKING:
    from oarlock.actors.scheduler.sources import Sources

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status. A BootError is printed as its sentences."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BootError as error:
        print(f"oarlock: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("oarlock: interrupted; nothing was left half-started", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return 1
    except OSError as error:
        print(f"oarlock: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("oarlock", description="A highly available Kubernetes, on one machine or several.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--name", default="oarlock", help="the cluster's name; several run side by side")
    where.add_argument("--state", type=Path, metavar="DIR", help="where its data lives (~/.local/state/oarlock/NAME)")

    up = commands.add_parser("up", parents=[where], help="bring a cluster up", description=_up.__doc__)
    up.add_argument("--kubeconfig", type=Path, metavar="FILE", help="the kubeconfig to merge the context into")
    up.add_argument("--port", type=int, default=0, metavar="P", help="where the API is served (6443, else a free one)")
    up.add_argument("--servers", type=int, default=3, metavar="N", help="store replicas: 1, 3 or 5 (3)")
    up.add_argument("--api-servers", type=int, default=2, metavar="N", help="API servers (2)")
    up.add_argument("--nodes", type=int, default=1, metavar="N", help="node agents that run processes (1)")
    up.add_argument("--hollow", type=int, default=0, metavar="N", help="simulated nodes (0)")
    up.add_argument("--token-file", type=Path, metavar="FILE", help="static tokens as CSV: token,user,uid,groups")
    up.add_argument(
        "--controllers",
        action="append",
        default=[],
        metavar="GROUP=NAMES[:SHARDS[:uid]]",
        help="controllers that act apart from the others, such as batch=job,cronjob or sets=replicaset:2",
    )
    timings = "how soon a silent node's pods go: fast (about 7 s) or upstream (about 350 s)"
    up.add_argument("--node-timings", default="fast", metavar="HOW", help=timings)
    lease = "how long a silent scheduler, group of controllers or Ray head is waited for (2); more on a loaded machine"
    up.add_argument("--lease-ttl", type=float, default=2.0, metavar="SECONDS", help=lease)
    up.add_argument("--single", action="store_true", help="everything in one process, without Ray")
    up.add_argument("--ray-address", default="", metavar="ADDRESS", help="host the actors on your own Ray cluster")
    up.add_argument("--fresh", action="store_true", help="forget the objects of an earlier run")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", parents=[where], help="stop a cluster", description=_down.__doc__)
    down.add_argument("--delete", action="store_true", help="remove its data and its kubeconfig entry as well")
    down.set_defaults(run=_down)

    again = commands.add_parser(
        "restart", parents=[where], help="replace its processes one at a time", description=_restart.__doc__
    )
    again.add_argument("parts", nargs="*", metavar="PART", help="parts or kinds as status shows them (all)")
    again.set_defaults(run=_restart)

    status = commands.add_parser("status", parents=[where], help="show a cluster's parts", description=_status.__doc__)
    status.add_argument("-o", "--output", choices=("table", "json"), default="table")
    status.set_defaults(run=_status)

    hostcommands.add(commands, where)
    asking = argparse.ArgumentParser(add_help=False)
    asking.add_argument("--kubeconfig", type=Path, metavar="FILE", help="the kubeconfig whose current context is asked")
    asking.add_argument("-n", "--namespace", default="default", metavar="NAMESPACE")
    for one in (up, asking):
        one.add_argument(
            "--scheduler-config",
            type=Path,
            metavar="FILE",
            help="the KubeSchedulerConfiguration to follow",
        )
        one.add_argument(
            "--scheduler-plugin", type=Path, metavar="FILE", action="append", default=[], help="Python file of a plugin"
        )
    explain = commands.add_parser(
        "explain", parents=[asking], help="tell why a pod is where it is", description=_explain.__doc__
    )
    explain.add_argument("kind", choices=("pod",))
    explain.add_argument("pod", metavar="NAME")
    explain.add_argument("--now", action="store_true", help="decide anew for the cluster as it is now")
    explain.add_argument("--all", action="store_true", help="show every node that was kept, not only the first ones")
    explain.set_defaults(run=_explain)
    what_if = commands.add_parser(
        "whatif", parents=[asking], help="tell where a pod would go", description=_what_if.__doc__
    )
    what_if.add_argument("-f", "--filename", type=Path, required=True, metavar="FILE", help="the manifest of a Pod")
    what_if.set_defaults(run=_what_if)

    haproxy = commands.add_parser(
        "haproxy-config", parents=[where], help="print HAProxy's configuration", description=_haproxy.__doc__
    )
    haproxy.add_argument("--bind", default="127.0.0.1:7443", metavar="HOST:PORT", help="where clients connect")
    haproxy.add_argument("--metrics", default="", metavar="HOST:PORT", help="where HAProxy serves /metrics (nowhere)")
    haproxy.add_argument("--connections", type=int, default=4000, metavar="N", help="at most at one time (4000)")
    vain = "checks, 250 ms apart, that a server may fail before it is down (10)"
    haproxy.add_argument("--checks", type=int, default=10, metavar="N", help=vain)
    haproxy.set_defaults(run=_haproxy)

    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_version)
    return parser


def _up(options: argparse.Namespace) -> int:
    """Bring a cluster up in the background and add its context to the kubeconfig."""
    from oarlock.cluster.boot import kubeconfig
    from oarlock.cluster.boot.components import parse_groups
    from oarlock.cluster.boot.spec import ClusterSpec
    from oarlock.cluster.boot.up import up

    spec = ClusterSpec(
        options.name,
        options.single,
        options.servers,
        options.api_servers,
        options.nodes,
        options.hollow,
        options.port,
        options.token_file,
        parse_groups(options.controllers),
        options.node_timings,
        options.scheduler_config,
        tuple(options.scheduler_plugin),
        options.lease_ttl,
        options.ray_address,
    )
    kubeconfig_file = options.kubeconfig or kubeconfig.default_file()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as after Ctrl-C
    up(spec, _folder(options), kubeconfig_file.absolute(), fresh=options.fresh, out=sys.stdout)
    return 0


def _down(options: argparse.Namespace) -> int:
    """Stop a cluster and all of its containers. Its objects are kept unless --delete is given."""
    from oarlock.cluster.boot.down import delete, down
    from oarlock.cluster.boot.spec import ClusterSpec

    folder = _folder(options)
    stopped = down(folder, sys.stdout)
    if options.delete:
        delete(folder, ClusterSpec(options.name).context)
    print(f"{options.name} is down" if stopped else f"{options.name} was not running")
    return 0


def _restart(options: argparse.Namespace) -> int:
    """Replace a cluster's processes one at a time, each once all is whole without it. No request fails for it."""
    from oarlock.cluster.boot.restart import restart

    restart(_folder(options), options.name, options.parts, sys.stdout)
    return 0


def _status(options: argparse.Namespace) -> int:
    """Show each part of a cluster: its address, whether it leads or holds its lease, its age."""
    from oarlock.cluster.boot.status import show

    return show(_folder(options), options.name, options.output, sys.stdout)


def _explain(options: argparse.Namespace) -> int:
    """Print each filter's verdict and each score per node in a pod's last attempt to be scheduled."""
    from oarlock.cluster.boot import explain

    asked = explain.Asked(options.namespace, options.pod, options.now, options.all)
    return explain.explain_pod(_asked(options), asked, _sources(options), sys.stdout)


def _what_if(options: argparse.Namespace) -> int:
    """Print where the pod of a manifest would go and why, without creating it."""
    from oarlock.cluster.boot import explain

    return explain.what_if(_asked(options), options.namespace, options.filename, _sources(options), sys.stdout)


def _asked(options: argparse.Namespace) -> Path:
    from oarlock.cluster.boot import kubeconfig

    return Path(options.kubeconfig or kubeconfig.default_file())


def _sources(options: argparse.Namespace) -> Sources:
    from oarlock.actors.scheduler.profile import DEFAULT_NAME
    from oarlock.actors.scheduler.sources import Sources

    return Sources(DEFAULT_NAME, str(options.scheduler_config or ""), tuple(map(str, options.scheduler_plugin)))


def _haproxy(options: argparse.Namespace) -> int:
    """Print a configuration with which HAProxy stands in front of a cluster's API servers; TLS passes through it."""
    from oarlock.cluster.boot import haproxy

    folder = _folder(options)
    most = (options.connections, options.checks)
    haproxy.show(folder, options.name, options.bind, options.metrics, *most, sys.stdout)
    return 0


def _version(_: argparse.Namespace) -> int:
    print(importlib.metadata.version("oarlock"))
    return 0


def _folder(options: argparse.Namespace) -> StateFolder:
    return StateFolder((options.state or default_folder(options.name)).absolute())


if __name__ == "__main__":
    sys.exit(main())
