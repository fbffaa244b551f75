"""Endpoints that were made by hand, shown as EndpointSlices too, for those who read only these.

Source: upstream's endpointslicemirroring controller: what is mirrored, labels, limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from oarlock.actors.controllers import backends
from oarlock.actors.controllers.actions import Action, Create, Delete, Update
from oarlock.actors.controllers.backends import Ports
from oarlock.actors.controllers.endpoints import is_ours
from oarlock.actors.controllers.loop import Controller, Due
from oarlock.actors.controllers.ownership import controller_reference
from oarlock.actors.controllers.view import View
from oarlock.cluster.client.cache import key_of

Object = dict[str, Any]

MANAGER = "endpointslicemirroring-controller.k8s.io"
_SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_NOT_COPIED = ("endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration")
_SUBSET_ADDRESSES_MAX = 1000
_PREFIX_MAX = 63 - 5 - 1


def reconcile(key: str, view: View) -> list[Action]:
    """Return what makes the mirrored slices equal to the Endpoints, one for each subset and family."""
    endpoints, service = view.get("endpoints", key), view.get("services", key)
    namespace, _, name = key.partition("/")
    held = [one for one in view.list("endpointslices", namespace) if _is_slice_of(one, name)]
    if endpoints is None or service is None or not is_mirrored(endpoints, service):
        return [Delete(one) for one in held]
    spare = {one["metadata"]["name"]: one for one in held}
    actions: list[Action] = []
    for family, ports, found in contents(endpoints):
        fitting = (one for one in spare.values() if one["addressType"] == family and (one.get("ports") or []) == ports)
        target = next(fitting, None)
        if target is None:
            actions.append(_created(view, endpoints, family, ports, found))
        else:
            del spare[target["metadata"]["name"]]
            actions += _updated(endpoints, target, found)
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


def _metadata(endpoints: Object) -> Object:
    """Labels and annotations are the Endpoints' own, but for what belongs to one object only."""
    held = endpoints["metadata"]
    reserved = {backends.SERVICE_NAME: held["name"], backends.MANAGED_BY: MANAGER}
    annotations = {name: one for name, one in (held.get("annotations") or {}).items() if name not in _NOT_COPIED}
    return {"labels": {**(held.get("labels") or {}), **reserved}, "annotations": annotations}


def _created(view: View, endpoints: Object, family: str, ports: Ports, found: list[Object]) -> Create:
    name = endpoints["metadata"]["name"]
    metadata = {
        "name": f"{name[:_PREFIX_MAX]}-{view.suffix()}",
        "generateName": f"{name}-",
        "namespace": endpoints["metadata"]["namespace"],
        "ownerReferences": [controller_reference(endpoints)],
        **_metadata(endpoints),
    }
    kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}
    return Create({**kind, "metadata": metadata, "addressType": family, "endpoints": found, "ports": ports or None})


def _updated(endpoints: Object, held: Object, found: list[Object]) -> list[Action]:
    metadata = {**held["metadata"], **_metadata(endpoints)}
    same = (held["metadata"].get("annotations") or {}) == metadata["annotations"]
    if same and held["metadata"].get("labels") == metadata["labels"] and (held.get("endpoints") or []) == found:
        return []
    return [Update({**held, "metadata": metadata, "endpoints": found})]


def _is_slice_of(one: Mapping[str, Any], name: str) -> bool:
    labels = one["metadata"].get("labels") or {}
    return labels.get(backends.MANAGED_BY) == MANAGER and labels.get(backends.SERVICE_NAME) == name


def _keys(plural: str, old: Object | None, new: Object | None, _view: View, /) -> Iterable[Due]:
    present = new if new is not None else old
    assert present is not None
    if plural != "endpointslices":
        return [Due(key_of(present))]
    labels = present["metadata"].get("labels") or {}
    name = labels.get(backends.SERVICE_NAME)
    ours = bool(name) and labels.get(backends.MANAGED_BY) == MANAGER
    return [Due(f"{present['metadata']['namespace']}/{name}")] if ours else []


MIRRORING = Controller(
    name="endpoint_slice_mirroring",
    source="endpoint-slice-mirroring-controller",
    reads=("services", "endpoints", "endpointslices"),
    keys=_keys,
    reconcile=reconcile,
    workers=4,
)
