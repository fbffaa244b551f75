"""What `oarlock server`, `node` and `token` tell people: what runs, what is waited for, how others join."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from oarlock.cluster.boot import hoststate, kubeconfig, launching
from oarlock.cluster.boot.errors import BootError
from oarlock.cluster.boot.hostlayout import HostLayout
from oarlock.cluster.boot.hosts import HostRecord
from oarlock.cluster.boot.joining import client as joining
from oarlock.cluster.boot.joining.client import NotReached
from oarlock.cluster.boot.jointokens import Token, ca_hash
from oarlock.cluster.boot.progress import Progress
from oarlock.cluster.boot.spec import ClusterSpec
from oarlock.cluster.boot.state import StateFolder


def tell(layout: HostLayout, folder: StateFolder, progress: Progress, out: TextIO) -> None:
    """Say what runs. With a majority of servers, return once the API answers here, or say what is late.

    Raises PartRefused if a part ends for good.
    """
    record = layout.record
    if record.role == "node":
        print(f"\n{record.host} is a node at {record.address}.\nSee it on a server:  kubectl get nodes", file=out)
        return
    cluster = record.cluster
    present = others_that_answer(record, folder)
    missing = [name for name, there in present.items() if not there]
    there = len(cluster.members) - len(missing)
    print(f"\nserver {record.host} of {', '.join(cluster.members)} runs at {record.address}.", file=out, flush=True)
    if missing:
        _tell_how_to_join(record, folder, missing, out)
    if there < cluster.majority:
        wanted = cluster.majority - there
        print(
            f"The API answers once {wanted} more of {', '.join(missing)} {'has' if wanted == 1 else 'have'} joined; "
            "see it by: oarlock status",
            file=out,
        )
        return
    try:
        launching.follow(folder, progress, launching.all_ready, strict=False)
    except launching.PartRefused:
        raise
    except BootError as late:
        print(f"{late.cause}\nThe parts go on trying; see them by: oarlock status", file=out)
        return
    context = ClusterSpec(cluster.name).context
    shown = "" if record.kubeconfig == str(kubeconfig.default_file()) else f"--kubeconfig {record.kubeconfig} "
    print(f"The API answers at {layout.outer_server}; context {context!r} is in {record.kubeconfig}.", file=out)
    print(f"Next:  kubectl {shown}--context {context} get nodes", file=out)


def tell_tokens(record: HostRecord, folder: StateFolder, out: TextIO) -> None:
    """Print both commands by which hosts join."""
    tokens, url = join_tokens(folder), _url(record)
    print(f"Another server ({', '.join(record.cluster.members)}) joins by:", file=out)
    print(f"  oarlock server --join {url} --token {tokens['server']}", file=out)
    print("Any other machine becomes a node by:", file=out)
    print(f"  oarlock node --join {url} --token {tokens['node']}", file=out)


def join_tokens(folder: StateFolder) -> Mapping[str, Token]:
    """Return the token of each purpose."""
    secrets, digest = hoststate.load_secrets(folder), ca_hash((folder.pki / "ca.crt").read_text())
    return {"server": Token(digest, secrets.server), "node": Token(digest, secrets.node)}


def others_that_answer(record: HostRecord, folder: StateFolder) -> dict[str, bool]:
    """Tell of each other server whether its join server answers, as one of this cluster."""
    digest = ca_hash((folder.pki / "ca.crt").read_text())
    found = {}
    for name, address in record.cluster.members.items():
        if name != record.host:
            try:
                joining.meet(address, record.cluster.ports["join"], digest)
                found[name] = True
            except (NotReached, BootError):
                found[name] = False
    return found


def _tell_how_to_join(record: HostRecord, folder: StateFolder, missing: list[str], out: TextIO) -> None:
    tokens, url = join_tokens(folder), _url(record)
    listed = ", ".join(f"{name} ({record.cluster.members[name]})" for name in missing)
    print(f"Not seen yet: {listed}. On each:", file=out)
    print(f"  oarlock server --join {url} --token {tokens['server']}", file=out)
    print("Any other machine becomes a node by:", file=out)
    print(f"  oarlock node --join {url} --token {tokens['node']}", file=out, flush=True)


def _url(record: HostRecord) -> str:
    return f"https://{record.address}:{record.cluster.ports['join']}"
