"""A controller that is stopped between two writes, whichever, is gone on with by its successor to the same end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from oarlock.actors.controllers import (
    certificates,
    daemonset,
    device_taints,
    ephemeral_claims,
    mirroring,
    podgc,
    resource_claims,
    volume_binding,
)
from oarlock.actors.controllers.endpoints import endpoints_of_services
from oarlock.actors.controllers.endpointslices import endpoint_slices
from oarlock.actors.controllers.loop import Controller
from oarlock.actors.controllers.replicaset import REPLICASET
from oarlock.actors.controllers.service_cidr import SERVICE_CIDR
from oarlock.actors.controllers.view import controller_of

Object = dict[str, Any]
LABELS: Final = {"app": "x"}
TEMPLATE: Final = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c"}]}}
STORAGE: Final = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
RANDOM: Final = ("resourceVersion", "uid", "creationTimestamp", "ownerReferences", "generateName", "managedFields")


def put(world: Any, kind: str, name: str, api_version: str = "v1", **body: Any) -> Object:
    metadata = {"name": name, **body.pop("metadata", {})}
    made: Object = world.put({"apiVersion": api_version, "kind": kind, "metadata": metadata, **body})
    return made


def pod(world: Any, name: str, node: str = "n1", **metadata: Any) -> Object:
    number = len(world.view.list("pods"))
    ready = [{"type": "Ready", "status": "True", "lastTransitionTime": world.stamp}]
    status = {
        "phase": "Running",
        "podIP": f"10.0.0.{number}",
        "podIPs": [{"ip": f"10.0.0.{number}"}],
        "conditions": ready,
    }
    spec = {**TEMPLATE["spec"], "nodeName": node}
    return put(world, "Pod", name, metadata={"labels": LABELS, **metadata}, spec=spec, status=status)


# What there is, and the keys that are due ------------------------------------------------------------------------


def stray_pods(world: Any) -> list[str]:
    for name in ("a", "b"):
        pod(world, name, "lost")
    world.pass_time(podgc.QUARANTINE_S)
    return ["default/a", "default/b"]


def sick_device(world: Any) -> list[str]:
    taint = {"key": "sick", "effect": "NoExecute", "timeAdded": world.stamp}
    pool = {"driver": "d", "pool": {"name": "n1", "generation": 1}, "nodeName": "n1"}
    devices = {"devices": [{"name": "gpu", "taints": [taint]}]}
    put(world, "ResourceSlice", "s", "resource.k8s.io/v1", spec={**pool, **devices})
    user = pod(world, "p")
    user = world.put({**user, "spec": {**user["spec"], "resourceClaims": [{"name": "g", "resourceClaimName": "c"}]}})
    results = {"results": [{"request": "g", "driver": "d", "pool": "n1", "device": "gpu"}]}
    reserved = [{"resource": "pods", "name": "p", "uid": user["metadata"]["uid"]}]
    status = {"allocation": {"devices": results}, "reservedFor": reserved}
    put(world, "ResourceClaim", "c", "resource.k8s.io/v1", status=status)
    return ["default/p"]


def service(world: Any, **spec: Any) -> None:
    put(world, "Node", "n1", spec={})
    body = {"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": LABELS, "ports": [{"port": 80}], **spec}
    put(world, "Service", "s", spec=body)


def many_pods(world: Any) -> list[str]:
    service(world)
    for number in range(120):
        pod(world, f"p{number:03}")
    return ["default/s"]


def made_by_hand(world: Any) -> list[str]:
    service(world, selector=None)
    addresses = [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}]
    put(world, "Endpoints", "s", subsets=[{"addresses": addresses, "ports": [{"port": 80}]}])
    return ["default/s"]


def unbound_claims(world: Any) -> list[str]:
    names = ("a", "b")
    for name in names:
        spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
        put(world, "PersistentVolume", f"v{name}", spec=spec)
        put(world, "PersistentVolumeClaim", name, spec=STORAGE)
    return [*(f"claim|default/{name}" for name in names), *(f"volume|v{name}" for name in names)]


def lost_claim(world: Any) -> list[str]:
    keys = unbound_claims(world)
    while any(world.act(volume_binding.reconcile(key, world.view)) for key in keys):
        pass
    world.remove(world.view.get("persistentvolumeclaims", "default/a"))
    world.view.caches["persistentvolumeclaims"].advance(world.revision)
    return keys


def scratch_volumes(world: Any) -> list[str]:
    volumes = [{"name": name, "ephemeral": {"volumeClaimTemplate": {"spec": STORAGE}}} for name in "ab"]
    made = pod(world, "p")
    world.put({**made, "spec": {**made["spec"], "volumes": volumes}})
    return ["default/p"]


def claims_from_templates(world: Any) -> list[str]:
    put(world, "ResourceClaimTemplate", "t", "resource.k8s.io/v1", spec={"spec": {"devices": {}}})
    made = pod(world, "p")
    asked = [{"name": name, "resourceClaimTemplateName": "t"} for name in ("one", "two")]
    world.put({**made, "spec": {**made["spec"], "resourceClaims": asked}})
    return ["default/p"]


def too_many_pods(world: Any) -> list[str]:
    spec = {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": TEMPLATE}
    put(world, "ReplicaSet", "r", "apps/v1", spec=spec)
    for number in range(5):
        world.put({**pod(world, f"p{number}", ""), "status": {}})  # orphans: adopted, then too many
    return ["default/r"]


def daemons(world: Any) -> list[str]:
    for number in (1, 2, 3):
        put(world, "Node", f"n{number}", spec={})
    spec = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE, "updateStrategy": {"type": "OnDelete"}}
    put(world, "DaemonSet", "d", "apps/v1", spec=spec)
    return ["default/d"]


def address_range(world: Any) -> list[str]:
    put(world, "ServiceCIDR", "c", "networking.k8s.io/v1", spec={"cidrs": ["10.7.0.0/24"]})
    return ["c"]


def old_requests(world: Any) -> list[str]:
    spec = {"request": "", "signerName": "x.io/y"}
    for name in ("a", "b"):
        put(world, "CertificateSigningRequest", name, "certificates.k8s.io/v1", spec=spec)
    world.pass_time(25 * 3600)
    return ["a", "b"]


@dataclass(frozen=True)
class Scenario:
    """`made` returns a controller that knows nothing yet, as a successor's."""

    made: Callable[[], Controller]
    there: Callable[[Any], list[str]]
    plurals: tuple[str, ...]


def standing(one: Controller) -> Callable[[], Controller]:
    return lambda: one


SCENARIOS: Final = {
    "stray pods": Scenario(standing(podgc.POD_GC), stray_pods, ("pods",)),
    "sick device": Scenario(standing(device_taints.DEVICE_TAINTS), sick_device, ("pods",)),
    "endpoints": Scenario(endpoints_of_services, many_pods, ("endpoints",)),
    "endpoint slices": Scenario(endpoint_slices, many_pods, ("endpointslices",)),
    "mirrored endpoints": Scenario(standing(mirroring.MIRRORING), made_by_hand, ("endpointslices",)),
    "binding": Scenario(
        standing(volume_binding.VOLUME_BINDING), unbound_claims, ("persistentvolumes", "persistentvolumeclaims")
    ),
    "release": Scenario(
        standing(volume_binding.VOLUME_BINDING), lost_claim, ("persistentvolumes", "persistentvolumeclaims")
    ),
    "ephemeral claims": Scenario(
        standing(ephemeral_claims.EPHEMERAL_CLAIMS), scratch_volumes, ("persistentvolumeclaims",)
    ),
    "claims from templates": Scenario(
        standing(resource_claims.POD_CLAIMS), claims_from_templates, ("resourceclaims", "pods")
    ),
    "adoption and scaling": Scenario(standing(REPLICASET), too_many_pods, ("replicasets", "pods")),
    "daemons": Scenario(daemonset.daemon_sets, daemons, ("daemonsets", "pods", "controllerrevisions")),
    "address range": Scenario(standing(SERVICE_CIDR), address_range, ("servicecidrs",)),
    "old requests": Scenario(standing(certificates.CLEANER), old_requests, ("certificatesigningrequests",)),
}


def settle(world: Any, controller: Controller, keys: Iterable[str]) -> None:
    for _ in range(20):
        if not sum(world.act(controller.reconcile(key, world.view)) for key in keys):
            return
    raise AssertionError("it never comes to rest")


def picture(world: Any, plurals: Iterable[str]) -> list[str]:
    """All objects of these kinds, without what is drawn at random or counted."""
    found = []
    for plural in plurals:
        for one in world.view.list(plural):
            metadata = {name: value for name, value in one["metadata"].items() if name not in RANDOM}
            if "generateName" in one["metadata"]:
                metadata["name"] = one["metadata"]["generateName"]
            owner = controller_of(one)
            found.append(repr((plural, metadata, owner and owner["name"], _plain(one))))
    return sorted(found)


def _plain(one: Object) -> str:
    """The rest of an object; a reference to one that was named at random tells nothing."""
    kept = {name: value for name, value in one.items() if name != "metadata"}
    if one["kind"] == "EndpointSlice":
        kept["endpoints"] = len(one.get("endpoints") or ())
    if one["kind"] == "Pod":
        kept["status"] = {name: value for name, value in (one.get("status") or {}).items() if name != "podIP"}
        claims = kept["status"].pop("resourceClaimStatuses", ())
        kept["claims"] = sorted(claim["name"] for claim in claims)
    if one["kind"] == "PersistentVolume":
        kept["spec"] = {**one["spec"], "claimRef": (one["spec"].get("claimRef") or {}).get("name")}
    return repr(sorted(kept.items()))


@pytest.mark.parametrize("name", SCENARIOS)
def test_whatever_write_it_is_stopped_before(world_type: Any, name: str) -> None:
    one = SCENARIOS[name]
    whole = world_type()
    keys = one.there(whole)
    before = len(whole.writes)
    settle(whole, one.made(), keys)
    writes = len(whole.writes) - before
    assert writes, "there was nothing to do"
    expected = picture(whole, one.plurals)
    for stop in range(writes):
        world = world_type()
        one.there(world)
        left, controller = stop, one.made()
        for key in keys * 20:
            done = len(world.writes)
            if not world.act_until(controller.reconcile(key, world.view), left):
                break
            left -= len(world.writes) - done
        settle(world, one.made(), keys)
        assert picture(world, one.plurals) == expected, f"stopped before write {stop + 1} of {writes}"
