"""Whether a host may join: pure functions of what it says, what the cluster is, and what is known of others.

A refusal is two sentences for people, the cause and the way out; nothing has been changed by what is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from oarlock.cluster.boot.hosts import HOST_NAME, Cluster
from oarlock.cluster.boot.jointokens import Purpose

SKEW_MAX_S = 30.0
"""Certificates are valid from five minutes before they are made; leases and timestamps suffer much sooner."""


class Refused(Exception):
    """`status` is HTTP's; the sentences are for the person who runs the command on the joining host."""

    def __init__(self, status: int, cause: str, way_out: str) -> None:
        super().__init__(cause)
        self.status, self.cause, self.way_out = status, cause, way_out


@dataclass(frozen=True, slots=True)
class Asked:
    """What a joining host says of itself. `host`, `address` and `cluster_id` are "" where it leaves them open."""

    version: str
    time_s: float
    instance: str
    host: str = ""
    address: str = ""
    cluster_id: str = ""

    @classmethod
    def of(cls, document: Any) -> Asked:
        """Read the body of a request. Raises Refused for what isn't one."""
        try:
            texts = {name: document.get(name, "") for name in ("version", "instance", "host", "address", "cluster_id")}
            asked = cls(time_s=float(document["time_s"]), **texts)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise Refused(400, "the request is none that this version understands", _SAME_VERSION) from None
        if not all(isinstance(text, str) and len(text) < 256 for text in texts.values()):
            raise Refused(400, "the request is none that this version understands", _SAME_VERSION)
        return asked


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A Node of the cluster, as far as joining is concerned."""

    name: str
    addresses: frozenset[str]
    ready: bool


_SAME_VERSION = "Install the same version of Oarlock on all hosts."


def check_entitled(holds: Purpose | None, needs: Purpose) -> None:
    """Raise Refused unless the token is the right one of the two."""
    if holds is None:
        raise Refused(
            401,
            f"the token's secret is not this cluster's {needs} token",
            "It may have been rotated: see the present one by `oarlock token` on a server.",
        )
    if holds != needs:
        raise Refused(
            403,
            f"this is the {holds} token, and joining as a {needs} takes the {needs} token",
            "See it by `oarlock token` on a server.",
        )


def check_common(asked: Asked, cluster: Cluster, version: str, now_s: float) -> None:
    """Raise Refused for a version, a clock or a cluster that doesn't fit."""
    check_version(asked.version, version)
    check_clock(asked.time_s - now_s)
    if asked.cluster_id and asked.cluster_id != cluster.cluster_id:
        raise Refused(
            409,
            f"the host's state folder is of the cluster {asked.cluster_id}, this is {cluster.cluster_id}",
            "Use another folder (--state DIR), or start the host anew: --fresh.",
        )


def check_version(theirs: str, ours: str) -> None:
    """Raise Refused unless major and minor version are the same."""
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise Refused(
            409,
            f"this host has version {theirs or 'unknown'} of Oarlock, the cluster has {ours}",
            "Install the cluster's version on this host: major and minor must be the same.",
        )


def check_clock(ahead_s: float) -> None:
    """Raise Refused if the host's clock is too far ahead of the cluster's, or behind."""
    if abs(ahead_s) > SKEW_MAX_S:
        direction = "ahead of" if ahead_s > 0 else "behind"
        raise Refused(
            409,
            f"this host's clock is {abs(ahead_s):.0f} s {direction} the cluster's, at most {SKEW_MAX_S:.0f} s will do",
            "Set it right, best by NTP (systemctl enable --now systemd-timesyncd).",
        )


def server_name(asked: Asked, cluster: Cluster, remote: str) -> str:
    """Return which member wants to join: the named one, else the one whose address the request comes from.

    Raises Refused: who the members are was settled when the cluster was founded.
    """
    members = cluster.members
    if asked.host:
        if asked.host not in members:
            raise Refused(
                409,
                f"{asked.host} is none of the cluster's servers {_listed(members)}, which were settled at its founding",
                "Join it as a node: oarlock node --join.",
            )
        return asked.host
    found = [name for name, address in members.items() if address == remote]
    if not found:
        raise Refused(
            409,
            f"the request comes from {remote}, which is the address of none of the servers {_listed(members)}",
            "Say which one it is (--host NAME), or join it as a node: oarlock node --join.",
        )
    return found[0]


def check_vacant(name: str, address: str, instance: str, found: str) -> None:
    """Raise Refused if a server of another installation, `found`, answers at the member's address."""
    if found and found != instance:
        raise Refused(
            409,
            f"server {name} has joined already and runs at {address}",
            "If this is to take its place, stop that one first: oarlock down.",
        )


def node_place(asked: Asked, cluster: Cluster, remote: str) -> tuple[str, str]:
    """Return the name and the address of a node. Raises Refused.

    A certificate is for the address that its request comes from, so that nobody gets one for another's.
    """
    if not HOST_NAME.fullmatch(asked.host):
        raise Refused(400, f"{asked.host!r} is no node name", "Use lower-case letters, digits and dashes: --host NAME.")
    if asked.host in cluster.members:
        raise Refused(409, f"{asked.host} is the name of one of the cluster's servers", "Choose another: --host NAME.")
    if remote in cluster.members.values():
        raise Refused(
            409,
            f"{remote} is the address of one of the cluster's servers",
            "Servers are nodes already; see oarlock server.",
        )
    if asked.address and asked.address != remote:
        raise Refused(
            409,
            f"the node says that its address is {asked.address}, but its request comes from {remote}",
            "Leave --address out, or route the request so that it comes from that address.",
        )
    return asked.host, remote


def check_node_vacant(name: str, address: str, nodes: Iterable[KnownNode]) -> None:
    """Raise Refused if another host that lives has that name or address. One that joins again may replace itself."""
    for node in nodes:
        if not node.ready:
            continue
        if node.name == name and address not in node.addresses:
            raise Refused(
                409,
                f"a node named {name} has joined already and is Ready, at {', '.join(sorted(node.addresses))}",
                f"Choose another name (--host NAME), or stop that one first and: kubectl delete node {name}.",
            )
        if node.name != name and address in node.addresses:
            raise Refused(
                409,
                f"{address} is the address of the node {node.name}, which is Ready",
                f"Give this host an address of its own, or stop that one first: kubectl delete node {node.name}.",
            )


def _listed(members: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={address}" for name, address in members.items())
