"""Claims and volumes go only when nothing uses them; pods get the claims of their ephemeral volumes."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.actors.controllers import ephemeral_claims, volume_protection
from oarlock.actors.controllers.volume_protection import CLAIM_FINALIZER, VOLUME_FINALIZER

Object = dict[str, Any]


def claim(world: Any, name: str = "c", **metadata: Any) -> Object:
    kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    made: Object = world.put({**kind, "metadata": {"name": name, **metadata}, "spec": {}})
    return made


def pod(world: Any, volume: Object, *, phase: str = "Running", **spec: Any) -> Object:
    body = {"nodeName": "n1", "containers": [{"name": "c"}], "volumes": [{"name": "v", **volume}], **spec}
    kind = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    made: Object = world.put({**kind, "spec": body, "status": {"phase": phase}})
    return made


CLAIMED = {"persistentVolumeClaim": {"claimName": "c"}}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}


@pytest.mark.parametrize(
    ("phase", "spec", "freed"),
    [("Running", {}, False), ("Succeeded", {}, True), ("Running", {"nodeName": ""}, True), ("Pending", {}, False)],
)
def test_a_deleted_claim_goes_once_no_bound_running_pod_uses_it(
    world: Any, phase: str, spec: Object, freed: bool
) -> None:
    claim(world, deletionTimestamp=world.stamp, finalizers=["x", CLAIM_FINALIZER])
    pod(world, CLAIMED, phase=phase, **spec)
    world.act(volume_protection.reconcile_claim("default/c", world.view))
    held = world.view.get("persistentvolumeclaims", "default/c")
    assert (CLAIM_FINALIZER not in held["metadata"]["finalizers"]) == freed
    assert "x" in held["metadata"]["finalizers"]


def test_the_end_of_a_pod_frees_its_claims(world: Any) -> None:
    old = pod(world, CLAIMED)
    new = {**old, "status": {"phase": "Failed"}}
    keys = volume_protection.CLAIM_PROTECTION.keys
    assert [due.key for due in keys("pods", old, new, world.view)] == ["default/c"]
    assert [due.key for due in keys("pods", old, None, world.view)] == ["default/c"]
    assert list(keys("pods", None, old, world.view)) == []


def test_claims_and_volumes_are_protected_as_long_as_they_live(world: Any) -> None:
    claim(world)
    world.act(volume_protection.reconcile_claim("default/c", world.view))
    assert world.view.get("persistentvolumeclaims", "default/c")["metadata"]["finalizers"] == [CLAIM_FINALIZER]
    kind = {"apiVersion": "v1", "kind": "PersistentVolume"}
    made = {**kind, "metadata": {"name": "v", "deletionTimestamp": world.stamp, "finalizers": [VOLUME_FINALIZER]}}
    held = world.put({**made, "status": {"phase": "Bound"}})
    assert volume_protection.reconcile_volume("v", world.view) == []
    world.put({**held, "status": {"phase": "Released"}})
    world.act(volume_protection.reconcile_volume("v", world.view))
    assert not world.view.get("persistentvolumes", "v")["metadata"].get("finalizers")


def test_an_ephemeral_volume_has_a_claim_that_goes_with_its_pod(world: Any) -> None:
    made = pod(world, {"ephemeral": {"volumeClaimTemplate": TEMPLATE}})
    world.act(ephemeral_claims.reconcile("default/p", world.view))
    held = world.view.get("persistentvolumeclaims", "default/p-v")
    assert held["metadata"]["labels"] == {"a": "b"}
    assert held["spec"] == TEMPLATE["spec"]
    assert held["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert world.act(ephemeral_claims.reconcile("default/p", world.view)) == 0


def test_a_claim_of_another_owner_is_told_of(world: Any) -> None:
    pod(world, {"ephemeral": {"volumeClaimTemplate": TEMPLATE}})
    claim(world, "p-v")
    world.act(ephemeral_claims.reconcile("default/p", world.view))
    message = 'ephemeral volume v: create PVC "p-v": PVC "p-v" was not created for pod "p" (pod is not owner)'
    assert world.events == [("EphemeralVolumeCreateFailed", message)]
