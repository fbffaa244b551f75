"""Endpoints that were made by hand, shown as EndpointSlices too, for those who read only these.

Source: upstream's endpointslicemirroring controller: what is mirrored, labels, limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.actors.controllers import backends
from oarlock.actors.controllers.actions import Action, Delete, RecordEvent
from oarlock.actors.controllers.backends import Ports
from oarlock.actors.controllers.endpoints import EITHER, is_ours
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.slices import Said, Slices, created, updated
from oarlock.actors.controllers.triggers import CHANGED_AT
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

MANAGER = "endpointslicemirroring-controller.k8s.io"
_SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_NOT_COPIED = (CHANGED_AT, "kubectl.kubernetes.io/last-applied-configuration")
_SUBSET_ADDRESSES_MAX = 1000
_SLICES = Slices(MANAGER)


def reconcile(key: str, view: View) -> list[Action]:
    """Return what makes the mirrored slices equal to the Endpoints, one for each subset and family."""
    endpoints, service = view.get("endpoints", key), view.get("services", key)
    held = _SLICES.of(view, key)
    if endpoints is None or service is None or not is_mirrored(endpoints, service):
        return [Delete(one) for one in held]
    spare = {one["metadata"]["name"]: one for one in held}
    actions: list[Action] = [*_skipped(endpoints)]
    for family, ports, found in contents(endpoints):
        fitting = (one for one in spare.values() if one["addressType"] == family and (one.get("ports") or []) == ports)
        target = next(fitting, None)
        said = _said(endpoints, ports, found)
        if target is None:
            actions.append(created(view, endpoints, family, said))
        else:
            del spare[target["metadata"]["name"]]
            actions += updated(target, said)
    return [*actions, *(Delete(one) for one in spare.values())]


def is_mirrored(endpoints: Mapping[str, Any], service: Mapping[str, Any]) -> bool:
    """Whether somebody else than a controller keeps the Endpoints of a Service without selector."""
    metadata = endpoints["metadata"]
    if (metadata.get("labels") or {}).get(_SKIP) == "true" or _LEADER in (metadata.get("annotations") or {}):
        return False
    return not is_ours(dict(endpoints)) and not service["spec"].get("selector")


def contents(endpoints: Mapping[str, Any]) -> list[tuple[str, Ports, list[Object]]]:
    """Return family, ports and endpoints of every slice; addresses beyond the limit of a subset are left out."""
    made = []
    for subset in endpoints.get("subsets") or ():
        ports = [{"name": "", "protocol": "TCP", **port} for port in subset.get("ports") or ()]
        ready = [(one, True) for one in subset.get("addresses") or ()]
        unready = [(one, False) for one in subset.get("notReadyAddresses") or ()]
        shown = [*ready, *unready][:_SUBSET_ADDRESSES_MAX]
        for family in ("IPv4", "IPv6"):
            found = [_endpoint(one, is_ready) for one, is_ready in shown if backends.family(one["ip"]) == family]
            if found:
                made.append((family, ports, found))
    return made


def _endpoint(address: Mapping[str, Any], ready: bool) -> Object:
    kept = {name: address[name] for name in ("hostname", "nodeName", "targetRef") if address.get(name)}
    return {"addresses": [address["ip"]], "conditions": {"ready": ready}, **kept}


def _skipped(endpoints: Mapping[str, Any]) -> Iterable[RecordEvent]:
    """Tell of the addresses that are left out."""
    sizes = [sum(len(one.get(name) or ()) for name in EITHER) for one in endpoints.get("subsets") or ()]
    skipped = sum(max(0, size - _SUBSET_ADDRESSES_MAX) for size in sizes)
    if skipped:
        most = f"A max of {_SUBSET_ADDRESSES_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset."
        yield RecordEvent(endpoints, "TooManyAddressesToMirror", f"{most} {skipped} addresses were skipped", "Warning")


def _said(endpoints: Object, ports: Ports, found: list[Object]) -> Said:
    """Labels and annotations are the Endpoints' own, but for what belongs to one object only."""
    held = endpoints["metadata"]
    annotations = {name: one for name, one in (held.get("annotations") or {}).items() if name not in _NOT_COPIED}
    return Said(_SLICES.labels(held["name"], held.get("labels") or {}), annotations, ports, found)


def _keys(plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    return _SLICES.due(present) if plural == "endpointslices" else [Due(key_of(present))]


MIRRORING = Controller(
    name="endpoint_slice_mirroring",
    source="endpoint-slice-mirroring-controller",
    reads=("services", "endpoints", "endpointslices"),
    keys=_keys,
    reconcile=reconcile,
    workers=4,
)
