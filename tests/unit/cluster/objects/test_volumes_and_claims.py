"""PersistentVolumes and their claims: what is refused, what may change, what strategies drop."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects import claim_validation, defaulting, persistent_volume_validation, strategy
from oarlock.cluster.objects.resources import lookup
from oarlock.cluster.objects.status import Cause

AFFINITY = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]}}
SNAPSHOT = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}


def volume(source: dict[str, Any], **more: Any) -> dict[str, Any]:
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], **source, **more}
    return {"metadata": {"name": "v"}, "spec": spec}


def placed(key: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}
    return volume(HOST, nodeAffinity={"required": {"nodeSelectorTerms": [term]}})


HOST = {"hostPath": {"path": "/d", "type": ""}}
CSI = {"csi": {"driver": "example.com", "volumeHandle": "h"}}


POLICY = (
    'spec.persistentVolumeReclaimPolicy: Unsupported value: "Keep": supported values: "Delete", "Recycle", "Retain"'
)
RESERVED = (
    'spec.flexVolume.options[a.k8s.io/x]: Invalid value: "a.k8s.io/x": kubernetes.io and k8s.io namespaces are reserved'
)


def told(causes: list[Cause]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in causes]


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (volume(HOST), []),
        (volume({"local": {"path": "/d"}}, nodeAffinity=AFFINITY), []),
        (volume(CSI, volumeAttributesClassName="gold"), []),
        (volume({}), ["spec: Required value: must specify a volume type"]),
        (volume({**HOST, **CSI}), ["spec.csi: Forbidden: may not specify more than 1 volume type"]),
        (volume(HOST, accessModes=[]), ["spec.accessModes: Required value"]),
        (
            volume(HOST, accessModes=["ReadWriteOncePod", "ReadOnlyMany"]),
            ["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        ),
        (
            volume(HOST, capacity={"cpu": "1"}),
            ['spec.capacity: Unsupported value: {"cpu":"1"}: supported values: "storage"'],
        ),
        (
            volume(HOST, capacity={"storage": "0"}),
            ['spec.capacity[storage]: Invalid value: "0": must be greater than zero'],
        ),
        (
            volume(HOST, persistentVolumeReclaimPolicy="Keep"),
            [POLICY],
        ),
        (
            volume({"hostPath": {"path": "/"}}, persistentVolumeReclaimPolicy="Recycle"),
            ["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
        ),
        (
            volume({"hostPath": {"path": "/a/../b"}}),
            ["spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
        ),
        (volume({"local": {"path": "/d"}}), ["spec.nodeAffinity: Required value: Local volume requires node affinity"]),
        (
            volume(HOST, nodeAffinity={}),
            ["spec.nodeAffinity.required: Required value: must specify required node constraints"],
        ),
        (
            volume({"nfs": {"server": "s", "path": "d"}}),
            ['spec.nfs.path: Invalid value: "d": must be an absolute path'],
        ),
        (volume({"gcePersistentDisk": {}}), ["spec.persistentDisk.pdName: Required value"]),
        (
            volume({"iscsi": {"targetPortal": "p", "iqn": "x", "lun": 0}}),
            ['spec.iscsi.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or naa'],
        ),
        (
            volume({"fc": {"targetWWNs": ["a"]}}),
            ["spec.fc.lun: Required value: lun is required if targetWWNs is specified"],
        ),
        (
            volume({"flexVolume": {"driver": "d", "options": {"a.k8s.io/x": "y"}}}),
            [RESERVED],
        ),
        (
            volume({"csi": {**CSI["csi"], "nodePublishSecretRef": {"name": "s"}}}),
            ["spec.csi.nodePublishSecretRef.namespace: Required value"],
        ),
        (
            volume(HOST, volumeAttributesClassName="gold"),
            ["spec.csi: Required value: has to be specified when using volumeAttributesClassName"],
        ),
    ],
)
def test_what_a_volume_may_be(obj: dict[str, Any], said: list[str]) -> None:
    assert told(persistent_volume_validation.persistent_volume(obj)) == said


def test_a_volume_stays_where_it_is() -> None:
    causes = persistent_volume_validation.persistent_volume_update(volume({"hostPath": {"path": "/e"}}), volume(HOST))
    assert [cause.field for cause in causes] == ["spec.persistentvolumesource"]


def test_a_secret_for_growing_may_be_added() -> None:
    secret = {"controllerExpandSecretRef": {"name": "s", "namespace": "n"}}
    new = volume({"csi": {**CSI["csi"], **secret}})
    assert persistent_volume_validation.persistent_volume_update(new, volume(CSI)) == []
    changed = volume({"csi": {**CSI["csi"], "controllerExpandSecretRef": {"name": "t", "namespace": "n"}}})
    assert persistent_volume_validation.persistent_volume_update(changed, new) != []


def test_labels_of_nodes_may_get_their_final_names() -> None:
    old, new = "failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"
    assert persistent_volume_validation.persistent_volume_update(placed(new), placed(old)) == []
    causes = persistent_volume_validation.persistent_volume_update(placed(old), placed(new))
    assert [cause.field for cause in causes] == ["nodeAffinity"]


def test_what_may_not_change_of_a_volume_is_shown_as_upstreams_types_hold_it() -> None:
    moved = volume({"hostPath": {"path": "/other", "type": ""}})
    (cause,) = persistent_volume_validation.persistent_volume_update(moved, volume(HOST))
    first, *lines = cause.message.split("\n")
    assert first == "Forbidden: spec.persistentvolumesource is immutable after creation"
    assert [line for line in lines if line.startswith(("+", "-"))] == ['-  "Path": "/d",', '+  "Path": "/other",']
    (cause,) = persistent_volume_validation.persistent_volume_update(placed("b"), placed("a"))
    term = '{"MatchExpressions":[{"Key":"b","Operator":"In","Values":["a"]}],"MatchFields":null}'
    assert cause.message == (
        f'Invalid value: {{"Required":{{"NodeSelectorTerms":[{term}]}}}}: field is immutable, except for updating '
        "from beta label to GA"
    )


def test_each_fault_of_a_replaced_volume_is_told_twice() -> None:
    causes = persistent_volume_validation.persistent_volume_update(volume(HOST, accessModes=[]), volume(HOST))
    assert told(causes) == ["spec.accessModes: Required value"] * 2


def claim(size: str = "1Gi", phase: str = "Pending", **more: Any) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **more}
    return {"metadata": {"name": "c", "namespace": "n"}, "spec": spec, "status": {"phase": phase}}


FROZEN = (
    "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for "
    "bound claims"
)


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        (claim("2Gi", "Bound"), claim("1Gi", "Bound"), []),
        (claim("2Gi"), claim("1Gi"), [FROZEN]),
        (claim(volumeName="v"), claim(), []),
        (claim(volumeName="w"), claim(volumeName="v"), [FROZEN]),
        (claim(storageClassName="fast"), claim(), []),
        (claim(storageClassName="slow"), claim(storageClassName="fast"), [FROZEN]),
        (claim(volumeAttributesClassName="gold"), claim(volumeAttributesClassName="silver"), []),
        (
            claim(),
            claim(volumeAttributesClassName="silver"),
            ["spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"],
        ),
        (
            claim("1Gi", "Bound"),
            {**claim("2Gi", "Bound"), "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}},
            ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
        ),
        (
            claim("2Gi", "Bound"),
            {**claim("3Gi", "Bound"), "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}},
            [],
        ),
    ],
)
def test_what_a_claim_may_become(new: dict[str, Any], old: dict[str, Any], said: list[str]) -> None:
    found = told(claim_validation.claim_update(new, old))
    assert [one.partition("\n")[0] for one in found] == said


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"dataSource": SNAPSHOT}, {"dataSource": SNAPSHOT, "dataSourceRef": SNAPSHOT}),
        ({"dataSource": {**SNAPSHOT, "kind": "Populator"}}, {}),
        (
            {"dataSourceRef": {**SNAPSHOT, "kind": "Populator"}},
            {
                "dataSource": {**SNAPSHOT, "kind": "Populator"},
                "dataSourceRef": {**SNAPSHOT, "kind": "Populator"},
            },
        ),
        ({"dataSourceRef": {**SNAPSHOT, "namespace": "m"}}, {"dataSourceRef": {**SNAPSHOT, "namespace": "m"}}),
    ],
)
def test_a_claims_sources_mirror_each_other(given: dict[str, Any], kept: dict[str, Any]) -> None:
    resource = lookup("", "v1", "persistentvolumeclaims")
    assert resource is not None
    obj = claim(**given)
    defaulting.default(resource, obj)
    strategy.prepare_create(resource, obj)
    assert {name: obj["spec"][name] for name in ("dataSource", "dataSourceRef") if name in obj["spec"]} == kept
    assert claim_validation.claim(obj) == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"capacity": {"storage": "1Gi"}, "allocatedResourceStatuses": {"storage": "NodeResizePending"}}, []),
        (
            {"capacity": {"storage": "-1"}},
            ["status.capacity[storage]: Invalid value: -1: must be a valid resource quantity"],
        ),
        (
            {"allocatedResources": {"cpu": "1"}},
            ['status.allocatedResources: Unsupported value: "cpu": supported values: "storage"'],
        ),
    ],
)
def test_a_claims_status(status: dict[str, Any], said: list[str]) -> None:
    assert told(claim_validation.claim_status({**claim(), "status": status}, claim())) == said
