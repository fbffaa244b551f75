"""ServiceCIDRs: called ready, and kept from going while addresses of Services lie in them and in no other.

Source: KEP-1880; upstream's `pkg/controller/servicecidrs`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from oarlock.actors.controllers import conditions
from oarlock.actors.controllers.actions import Action, Requeue, Update, UpdateStatus
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.view import View, parse_time

Object = dict[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGER_LABEL, MANAGER = "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"
GRACE_S = 10.0
"""A ServiceCIDR stays for so long after its deletion: an address taken just before may not be seen yet."""
_READY = "Kubernetes Service CIDR is ready"
_BLOCKED = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


def reconcile(key: str, view: View) -> list[Action]:
    """Return the next step for one ServiceCIDR."""
    cidr = view.get("servicecidrs", key)
    if cidr is None:
        return []
    finalizers = cidr["metadata"].get("finalizers") or []
    if cidr["metadata"].get("deletionTimestamp"):
        return _leave(cidr, view) if FINALIZER in finalizers else []
    if FINALIZER not in finalizers:
        return [Update(_with_finalizers(cidr, [*finalizers, FINALIZER]))]
    return _judged(cidr, view, "True", "", _READY)


def _leave(cidr: Object, view: View) -> list[Action]:
    if is_needed(cidr, view):
        return _judged(cidr, view, "False", "Terminating", _BLOCKED)
    left_s = GRACE_S - (view.now - parse_time(cidr["metadata"]["deletionTimestamp"])).total_seconds()
    if left_s > 0:
        return [Requeue(left_s)]
    kept = [one for one in cidr["metadata"]["finalizers"] if one != FINALIZER]
    return [Update(_with_finalizers(cidr, kept))]


def is_needed(cidr: Object, view: View) -> bool:
    """Tell whether a Service has an address of this ServiceCIDR that no other one covers.

    Others whose deletion has begun don't count: two that cover each other would both go.
    """
    own = _networks(cidr)
    others = [network for one in _others(cidr, view) for network in _networks(one)]
    uncovered = [network for network in own if not any(_within(network, other) for other in others)]
    return any(
        any(holds(network, address) for network in uncovered) and not any(holds(other, address) for other in others)
        for address in _addresses(view)
    )


def _others(cidr: Object, view: View) -> Iterator[Object]:
    for one in view.list("servicecidrs"):
        if one["metadata"]["name"] != cidr["metadata"]["name"] and not one["metadata"].get("deletionTimestamp"):
            yield one


def _addresses(view: View) -> Iterator[Address]:
    for one in view.list("ipaddresses"):
        if (one["metadata"].get("labels") or {}).get(MANAGER_LABEL) == MANAGER:
            yield ipaddress.ip_address(one["metadata"]["name"])


def _networks(cidr: Object) -> list[Network]:
    return [ipaddress.ip_network(text, strict=False) for text in cidr["spec"].get("cidrs") or ()]


def _within(network: Network, other: Network) -> bool:
    return network.version == other.version and network.overlaps(other) and network.prefixlen >= other.prefixlen


def holds(network: Network, address: Address) -> bool:
    """Tell whether a Service could have got `address` from `network`: not its own, nor IPv4's broadcast."""
    reserved = {network.network_address} | ({network.broadcast_address} if network.version == 4 else set())
    return address in network and address not in reserved


def _with_finalizers(cidr: Object, finalizers: list[str]) -> Object:
    return {**cidr, "metadata": {**cidr["metadata"], "finalizers": finalizers}}


def _judged(cidr: Object, view: View, status: str, reason: str, message: str) -> list[Action]:
    held = (cidr.get("status") or {}).get("conditions") or []
    old = conditions.find(held, "Ready")
    if old is not None and (old["status"], old.get("reason", ""), old.get("message")) == (status, reason, message):
        return []
    since = old["lastTransitionTime"] if old is not None and old["status"] == status else view.stamp
    ready = {"type": "Ready", "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
    kept = conditions.without(held, "Ready")
    return [UpdateStatus({**cidr, "status": {**(cidr.get("status") or {}), "conditions": [*kept, ready]}})]


def _keys(plural: str, old: Object | None, new: Object | None, view: View) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    name = present["metadata"]["name"]
    if plural == "servicecidrs":
        mine = _networks(present)
        return [Due(name), *(Due(key) for key in _leaving(view) if key != name and _touches(view, key, mine))]
    if old is not None and new is not None:
        return []
    address = ipaddress.ip_address(name)
    return [Due(key) for key in _leaving(view) if any(holds(one, address) for one in _of(view, key))]


def _leaving(view: View) -> Iterator[str]:
    """Yield the names of those that are to go: only these depend on what others do."""
    for one in view.list("servicecidrs"):
        if one["metadata"].get("deletionTimestamp"):
            yield one["metadata"]["name"]


def _of(view: View, key: str) -> list[Network]:
    cidr = view.get("servicecidrs", key)
    return _networks(cidr) if cidr is not None else []


def _touches(view: View, key: str, networks: list[Network]) -> bool:
    return any(one.version == other.version and one.overlaps(other) for one in _of(view, key) for other in networks)


SERVICE_CIDR = Controller(
    name="service_cidr",
    source="service-cidr-controller",
    reads=("servicecidrs", "ipaddresses"),
    keys=_keys,
    reconcile=reconcile,
    workers=1,
)
