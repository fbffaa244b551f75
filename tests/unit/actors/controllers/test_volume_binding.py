"""Claims find volumes, phases tell how far they are, and volumes outlive their claims as they are meant to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from harness.controllers import acting, cluster

from oarlock.actors.controllers import volume_binding, volume_expansion
from oarlock.actors.controllers.actions import CatchUp

Object = dict[str, Any]


def claim(world: Any, name: str = "c", size: str = "1Gi", annotations: Object | None = None, **spec: Any) -> Object:
    body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    kind = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    made: Object = world.put({**kind, "metadata": {"name": name, "annotations": annotations or {}}, "spec": body})
    return made


def volume(world: Any, name: str, size: str = "1Gi", **spec: Any) -> Object:
    body = {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": size}, **spec}
    kind = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}}
    made: Object = world.put({**kind, "spec": body})
    return made


def storage_class(world: Any, name: str = "fast", mode: str = "Immediate", provisioner: str = "x.io/disk") -> None:
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
    world.put({**kind, "provisioner": provisioner, "volumeBindingMode": mode})


def settle(world: Any) -> None:
    for _ in range(12):
        for one in world.view.list("persistentvolumes"):
            world.act(volume_binding.reconcile(f"volume|{one['metadata']['name']}", world.view))
        for one in world.view.list("persistentvolumeclaims"):
            world.act(volume_binding.reconcile(f"claim|default/{one['metadata']['name']}", world.view))


def phase(world: Any, name: str) -> str:
    plural = "persistentvolumes" if "/" not in name else "persistentvolumeclaims"
    return str((world.view.get(plural, name).get("status") or {}).get("phase"))


def test_a_claim_gets_the_smallest_volume_that_fits(world: Any) -> None:
    volume(world, "large", "9Gi")
    volume(world, "right", "2Gi")
    volume(world, "small", "500Mi")
    volume(world, "other", "1Gi", storageClassName="fast")
    volume(world, "block", "1Gi", volumeMode="Block")
    made = claim(world)
    settle(world)
    held = world.view.get("persistentvolumeclaims", "default/c")
    assert held["spec"]["volumeName"] == "right"
    assert held["status"] == {
        "phase": "Bound",
        "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
        "capacity": {"storage": "2Gi"},
    }
    assert held["metadata"]["annotations"] == {volume_binding.BOUND: "yes", volume_binding.BY_CONTROLLER: "yes"}
    found = world.view.get("persistentvolumes", "right")
    assert found["spec"]["claimRef"]["uid"] == made["metadata"]["uid"]
    assert [phase(world, name) for name in ("right", "large", "small")] == ["Bound", "Available", "Available"]


def test_two_claims_never_share_a_volume(world: Any) -> None:
    volume(world, "v")
    claim(world, "a")
    claim(world, "b")
    settle(world)
    assert sorted([phase(world, "default/a"), phase(world, "default/b")]) == ["Bound", "Pending"]
    assert ("FailedBinding", "no persistent volumes available for this claim and no storage class is set") in (
        world.events
    )


def test_a_claim_may_name_its_volume_and_a_volume_its_claim(world: Any) -> None:
    volume(world, "free")
    volume(world, "named", "5Gi")
    volume(world, "kept", "7Gi", claimRef={"namespace": "default", "name": "b"})
    claim(world, "a", volumeName="named")
    claim(world, "b")
    claim(world, "d", volumeName="named")
    settle(world)
    assert world.view.get("persistentvolumeclaims", "default/b")["spec"]["volumeName"] == "kept"
    assert [phase(world, one) for one in ("default/a", "default/b", "default/d")] == ["Bound", "Bound", "Pending"]
    assert volume_binding.BY_CONTROLLER not in world.view.get("persistentvolumes", "kept")["metadata"].get(
        "annotations", {}
    )


def test_a_named_volume_that_doesnt_fit_is_told_of(world: Any) -> None:
    volume(world, "v", "1Mi")
    claim(world, volumeName="v")
    settle(world)
    assert ("VolumeMismatch", 'Cannot bind to requested volume "v": requested PV is too small') in world.events
    assert phase(world, "default/c") == "Pending"


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_a_volume_outlives_its_claim_until_it_is_taken_back(world: Any, policy: str) -> None:
    volume(world, "v", persistentVolumeReclaimPolicy=policy)
    claim(world)
    settle(world)
    world.remove(world.view.get("persistentvolumeclaims", "default/c"))
    settle(world)
    assert phase(world, "v") == ("Released" if policy == "Retain" else "Failed")
    claim(world)
    settle(world)
    assert phase(world, "default/c") == "Pending", "what is on a released volume belongs to its former claim"


def test_a_provisioners_volume_is_left_to_it(world: Any) -> None:
    made = volume(world, "v", persistentVolumeReclaimPolicy="Delete")
    annotations = {volume_binding.PROVISIONED_BY: "x.io/disk"}
    world.put({**made, "metadata": {**made["metadata"], "annotations": annotations}})
    claim(world)
    settle(world)
    world.remove(world.view.get("persistentvolumeclaims", "default/c"))
    settle(world)
    assert phase(world, "v") == "Released"


def test_a_lost_volume_makes_a_lost_claim(world: Any) -> None:
    volume(world, "v")
    claim(world)
    settle(world)
    world.remove(world.view.get("persistentvolumes", "v"))
    settle(world)
    assert phase(world, "default/c") == "Lost"
    assert world.events.count(("ClaimLost", world.events[-1][1])) == 1


def test_a_provisioner_is_asked_and_waited_for(world: Any) -> None:
    storage_class(world)
    claim(world, storageClassName="fast")
    settle(world)
    held = world.view.get("persistentvolumeclaims", "default/c")
    assert held["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"] == "x.io/disk"
    assert world.events[-1][0] == "ExternalProvisioning"
    volume(world, "made", storageClassName="fast", claimRef={"namespace": "default", "name": "c"})
    settle(world)
    assert phase(world, "default/c") == "Bound"


def test_a_class_that_waits_for_its_first_consumer_leaves_volumes_to_the_scheduler(world: Any) -> None:
    storage_class(world, mode="WaitForFirstConsumer")
    made = volume(world, "v", storageClassName="fast")
    claim(world, storageClassName="fast")
    settle(world)
    assert phase(world, "default/c") == "Pending"
    assert world.events[-1] == ("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    held = world.view.get("persistentvolumes", "v")
    chosen = {"namespace": "default", "name": "c"}
    world.put({**held, "spec": {**made["spec"], "claimRef": chosen}})
    settle(world)
    assert phase(world, "default/c") == "Bound"


def test_a_missing_class_is_told_of(world: Any) -> None:
    claim(world, storageClassName="none")
    settle(world)
    assert ("ProvisioningFailed", 'storageclass.storage.k8s.io "none" not found') in world.events


def test_a_claim_tells_which_pods_it_waits_for(world: Any) -> None:
    storage_class(world, mode="WaitForFirstConsumer")
    claim(world, storageClassName="fast")
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    kind = {"apiVersion": "v1", "kind": "Pod"}
    first = world.put({**kind, "metadata": {"name": "a"}, "spec": {"volumes": volumes}})
    due = volume_binding.VOLUME_BINDING.keys("pods", None, first, world.view)
    assert [one.key for one in due] == ["claim|default/c"]
    settle(world)
    assert world.events[-1] == ("WaitForPodScheduled", "waiting for pod a to be scheduled")
    world.put({**kind, "metadata": {"name": "b"}, "spec": {"volumes": volumes}})
    world.put({**kind, "metadata": {"name": "bound"}, "spec": {"volumes": volumes, "nodeName": "n"}})
    settle(world)
    assert world.events[-1] == ("WaitForPodScheduled", "waiting for pods a,b to be scheduled")


@pytest.mark.parametrize(("given", "chosen"), [({}, "newer"), ({"storageClassName": ""}, "")])
def test_a_claim_from_before_the_default_class_gets_it(world: Any, given: Object, chosen: str) -> None:
    claim(world, **given)
    for name in ("older", "newer"):
        storage_class(world, name)
        held = world.view.get("storageclasses", name)
        annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
        marked = world.put({**held, "metadata": {**held["metadata"], "annotations": annotations}})
        world.pass_time(1)
    due = volume_binding.VOLUME_BINDING.keys("storageclasses", None, marked, world.view)
    assert [one.key for one in due] == (["claim|default/c"] if not given else [])
    settle(world)
    assert world.view.get("persistentvolumeclaims", "default/c")["spec"].get("storageClassName") == chosen


@pytest.mark.parametrize(
    ("provisioner", "event"),
    [
        (
            "kubernetes.io/no-provisioner",
            ("ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner"),
        ),
        ("kubernetes.io/aws-ebs", ("ExternalProvisioning", "ebs.csi.aws.com")),
    ],
)
def test_built_in_provisioners_are_a_drivers_or_nobodys(world: Any, provisioner: str, event: tuple[str, str]) -> None:
    storage_class(world, provisioner=provisioner)
    claim(world, storageClassName="fast")
    settle(world)
    reason, message = world.events[-1]
    assert reason == event[0]
    assert event[1] in message
    asked = world.view.get("persistentvolumeclaims", "default/c")["metadata"]["annotations"]
    assert asked.get("volume.kubernetes.io/storage-provisioner") == (event[1] if "ebs" in event[1] else None)


def test_a_volume_isnt_released_before_its_claim_could_be_seen(world: Any) -> None:
    claim_ref = {"namespace": "default", "name": "late", "uid": "not-seen-yet"}
    volume(world, "v", persistentVolumeReclaimPolicy="Delete", claimRef=claim_ref)
    (wait,) = volume_binding.reconcile("volume|v", world.view)
    assert isinstance(wait, CatchUp)
    settle(world)
    assert phase(world, "v") == "Failed", "nobody knows how to delete it"


def test_a_volume_made_for_a_claim_that_has_got_another_is_released(world: Any) -> None:
    volume(world, "first")
    made = claim(world)
    settle(world)
    reference = {"namespace": "default", "name": "c", "uid": made["metadata"]["uid"]}
    spare = volume(world, "spare", persistentVolumeReclaimPolicy="Delete", claimRef=reference)
    annotations = {volume_binding.PROVISIONED_BY: "x.io/disk", volume_binding.BY_CONTROLLER: "yes"}
    world.put({**spare, "metadata": {**spare["metadata"], "annotations": annotations}})
    settle(world)
    assert [phase(world, one) for one in ("first", "spare")] == ["Bound", "Released"]


def test_a_bound_claims_status_follows_the_volume_where_it_may(world: Any) -> None:
    made = volume(world, "v", volumeAttributesClassName="gold")
    claim(world, volumeAttributesClassName="gold")
    settle(world)
    assert world.view.get("persistentvolumeclaims", "default/c")["status"]["currentVolumeAttributesClassName"] == "gold"
    held = world.view.get("persistentvolumes", made["metadata"]["name"])
    changed = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "9Gi"}, "volumeAttributesClassName": "silver"}
    world.put({**held, "spec": {**held["spec"], **changed}})
    settle(world)
    status = world.view.get("persistentvolumeclaims", "default/c")["status"]
    assert status["accessModes"] == ["ReadWriteOnce"]
    assert (status["capacity"], status["currentVolumeAttributesClassName"]) == ({"storage": "1Gi"}, "gold")


@pytest.mark.parametrize(
    ("source", "message", "resizer"),
    [
        ({"csi": {"driver": "x.io"}}, "waiting for an external controller to expand this PVC", None),
        (
            {"gcePersistentDisk": {"pdName": "d"}},
            "CSI migration enabled for kubernetes.io/gce-pd; waiting for external resizer to expand the pvc",
            "pd.csi.storage.gke.io",
        ),
    ],
)
def test_growth_is_left_to_others_and_told(world: Any, source: Object, message: str, resizer: str | None) -> None:
    volume(world, "v", **source)
    claim(world)
    settle(world)
    before = world.view.get("persistentvolumeclaims", "default/c")
    assert world.act(volume_expansion.reconcile("default/c", world.view)) == 0
    more = {"requests": {"storage": "3Gi"}}
    grown = world.put({**before, "spec": {**before["spec"], "resources": more}})
    (due,) = volume_expansion.VOLUME_EXPANSION.keys("persistentvolumeclaims", before, grown, world.view)
    world.act(volume_expansion.reconcile(due.key, world.view))
    assert world.events[-1] == ("ExternalExpanding", message)
    held = world.view.get("persistentvolumeclaims", "default/c")
    assert held["metadata"]["annotations"].get(volume_expansion.RESIZER) == resizer
    assert not list(volume_expansion.VOLUME_EXPANSION.keys("persistentvolumeclaims", grown, held, world.view))


# Through the API server ----------------------------------------------------------------------------------------


def test_the_server_lets_a_waiting_claim_have_the_new_default_class() -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    chosen = {"metadata": {"name": "fast", "annotations": annotations}, "provisioner": "x.io/disk"}

    async def scenario() -> None:
        async with cluster() as here, acting(here):
            claims = here.watch("", "v1", "persistentvolumeclaims")
            here.informers.start()
            path = "/api/v1/namespaces/default/persistentvolumeclaims"
            await here.client.create(path, {"metadata": {"name": "c"}, "spec": spec})
            await here.client.create("/apis/storage.k8s.io/v1/storageclasses", chosen)
            provisioner = "volume.kubernetes.io/storage-provisioner"
            await here.until(
                lambda: provisioner in ((claims.get("default/c") or {}).get("metadata", {}).get("annotations") or {})
            )
            assert (claims.get("default/c") or {})["spec"]["storageClassName"] == "fast"

    asyncio.run(scenario())
