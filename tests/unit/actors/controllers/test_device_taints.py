"""A device's taint drives its pod away, when its claim doesn't tolerate it, and no other pod."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.actors.controllers import device_taints

Object = dict[str, Any]

GROUP = "resource.k8s.io/v1"


def device_slice(world: Any, *taints: Object, generation: int = 1, name: str = "s") -> Object:
    spec = {"driver": "gpu.io", "pool": {"name": "n1", "generation": generation}, "nodeName": "n1"}
    devices = [{"name": "gpu-0", "taints": list(taints)}, {"name": "gpu-1"}]
    made: Object = world.put(
        {"apiVersion": GROUP, "kind": "ResourceSlice", "metadata": {"name": name}, "spec": {**spec, "devices": devices}}
    )
    return made


def taint(world: Any, effect: str = "NoExecute") -> Object:
    return {"key": "gpu.io/sick", "effect": effect, "timeAdded": world.stamp}


def pod(world: Any, name: str = "p", **spec: Any) -> Object:
    claims = [{"name": "gpu", "resourceClaimName": "c"}]
    body = {"nodeName": "n1", "resourceClaims": claims, "containers": [{"name": "c"}], **spec}
    made: Object = world.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body})
    return made


def claim(world: Any, user: Object, *tolerations: Object, device: str = "gpu-0", owners: Any = ()) -> Object:
    result = {"request": "gpu", "driver": "gpu.io", "pool": "n1", "device": device, "tolerations": list(tolerations)}
    reserved = [{"resource": "pods", "name": user["metadata"]["name"], "uid": user["metadata"]["uid"]}]
    status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": reserved}
    metadata = {"name": "c", "ownerReferences": list(owners)}
    made: Object = world.put({"apiVersion": GROUP, "kind": "ResourceClaim", "metadata": metadata, "status": status})
    return made


def act(world: Any) -> bool:
    """Whether the pod is still wanted."""
    world.act(device_taints.reconcile("default/p", world.view))
    held = world.view.get("pods", "default/p")
    return held is not None and not held["metadata"].get("deletionTimestamp")


def test_a_pod_goes_with_its_device_and_is_told_why(world: Any) -> None:
    claim(world, pod(world))
    healthy = device_slice(world)
    assert act(world)
    sick = device_slice(world, taint(world))
    due = device_taints.DEVICE_TAINTS.keys("resourceslices", healthy, sick, world.view)
    assert [one.key for one in due] == ["default/p"]
    assert not act(world)
    assert world.events == [("DeviceTaintManagerEviction", "Marking for deletion")]
    (condition,) = world.view.get("pods", "default/p")["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("DisruptionTarget", "DeletionByDeviceTaintManager")


@pytest.mark.parametrize(
    ("given", "stays"),
    [
        ({"effect": "NoSchedule"}, True),
        ({"device": "gpu-1"}, True),
        ({"tolerations": [{"key": "gpu.io/sick", "operator": "Exists", "effect": "NoExecute"}]}, True),
        ({"tolerations": [{"key": "gpu.io/sick", "operator": "Exists", "effect": "NoSchedule"}]}, False),
        ({"tolerations": [{"key": "other", "operator": "Exists", "effect": "NoExecute"}]}, False),
        ({"reserved": False}, True),
        ({"bound": False}, True),
        ({"newer": True}, True),
    ],
)
def test_who_stays(world: Any, given: Object, stays: bool) -> None:
    made = pod(world, **({} if given.get("bound", True) else {"nodeName": ""}))
    user = made if given.get("reserved", True) else {"metadata": {"name": "p", "uid": "a former one"}}
    claim(world, user, *given.get("tolerations", ()), device=given.get("device", "gpu-0"))
    device_slice(world, taint(world, given.get("effect", "NoExecute")))
    if given.get("newer"):
        device_slice(world, generation=2, name="newer")
    assert act(world) is stays


def test_a_toleration_ends(world: Any) -> None:
    tolerated = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
    claim(world, pod(world), tolerated, {**tolerated, "tolerationSeconds": 20})
    device_slice(world, taint(world))
    world.pass_time(15)
    assert act(world)
    assert world.requeues == [5]
    world.pass_time(5)
    assert not act(world)


def test_a_claim_made_from_a_template_must_be_the_pods_own(world: Any) -> None:
    made = pod(world, resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "t"}])
    statuses = [{"name": "gpu", "resourceClaimName": "c"}]
    made = world.put({**made, "status": {"resourceClaimStatuses": statuses}})
    claim(world, made)
    device_slice(world, taint(world))
    assert act(world)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"], "controller": True}
    claim(world, made, owners=[owner])
    assert not act(world)
