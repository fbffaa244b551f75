"""Storage kinds that are refused, and in which words: classes, drivers, attachments, capacities."""

from __future__ import annotations

from typing import Any

import pytest

from oarlock.cluster.objects import storage_validation
from oarlock.cluster.objects.status import Cause

SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of"
IMMUTABLE = "field is immutable"


def told(causes: list[Cause]) -> list[tuple[str, str]]:
    return [(cause.field, cause.message) for cause in causes]


def said(causes: list[Cause], field: str, part: str) -> None:
    assert [cause.field for cause in causes] == ([field] if field else []), told(causes)
    assert all(part in cause.message for cause in causes), told(causes)


def storage_class(**more: Any) -> dict[str, Any]:
    given = {"provisioner": "example.com/p", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate", **more}
    return {"metadata": {"name": "c"}, **given}


def zones(*values: str) -> dict[str, Any]:
    return {"matchLabelExpressions": [{"key": "zone", "values": list(values)}]}


@pytest.mark.parametrize(
    ("obj", "field", "part"),
    [
        (storage_class(allowedTopologies=[zones("a"), zones("b")]), "", ""),
        (storage_class(reclaimPolicy=""), "", ""),
        (storage_class(provisioner=""), "provisioner", "Required value"),
        (storage_class(provisioner="No Way"), "provisioner", 'Invalid value: "no way": name part must consist of'),
        (storage_class(reclaimPolicy="Recycle"), "reclaimPolicy", 'supported values: "Delete", "Retain"'),
        (storage_class(volumeBindingMode="Later"), "volumeBindingMode", '"Immediate", "WaitForFirstConsumer"'),
        (storage_class(parameters={"": "a"}), "parameters", "field can not be empty."),
        (storage_class(parameters={"a": "b" * 2**18}), "parameters", "Too long: may not be more than 262144 bytes"),
        (
            storage_class(allowedTopologies=[zones("a", "b"), zones("b", "a")]),
            "allowedTopologies[1].matchLabelExpressions",
            'Duplicate value: ""',
        ),
        (
            storage_class(allowedTopologies=[zones()]),
            "allowedTopologies[0].matchLabelExpressions[0].values",
            "Required",
        ),
    ],
)
def test_storage_classes(obj: dict[str, Any], field: str, part: str) -> None:
    said(storage_validation.storage_class(obj), field, part)


def test_how_a_class_provisions_is_fixed() -> None:
    new = storage_class(
        provisioner="example.com/q",
        parameters={"a": "c"},
        reclaimPolicy="Retain",
        volumeBindingMode="WaitForFirstConsumer",
        allowVolumeExpansion=True,
    )
    assert told(storage_validation.storage_class_update(new, storage_class(parameters={"a": "b"}))) == [
        ("parameters", f'Invalid value: {{"a":"c"}}: {IMMUTABLE}'),
        ("provisioner", f'Invalid value: "example.com/q": {IMMUTABLE}'),
        ("reclaimPolicy", f'Invalid value: "Retain": {IMMUTABLE}'),
        ("volumeBindingMode", f'Invalid value: "WaitForFirstConsumer": {IMMUTABLE}'),
    ]


def test_attribute_classes_have_parameters_that_stay() -> None:
    given = {"metadata": {"name": "a"}, "driverName": "example.com", "parameters": {"iops": "1"}}
    assert storage_validation.attributes_class(given) == []
    empty = {**given, "parameters": {}}
    assert told(storage_validation.attributes_class_update(empty, given)) == [
        ("parameters", "Forbidden: updates to parameters are forbidden."),
        ("parameters", "Required value: must contain at least one key/value pair"),
    ]


def driver(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "example.com"}, "spec": {"attachRequired": True, **spec}}


@pytest.mark.parametrize(
    ("obj", "field", "part"),
    [
        (driver(fsGroupPolicy="File", volumeLifecycleModes=["Ephemeral"]), "", ""),
        (driver(fsGroupPolicy="Maybe"), "spec.fsGroupPolicy", '"File", "None", "ReadWriteOnceWithFSType"'),
        (driver(volumeLifecycleModes=["Brief"]), "spec.volumeLifecycleModes", 'values: "Persistent", "Ephemeral"'),
        (
            driver(tokenRequests=[{"audience": "a"}, {"audience": "a", "expirationSeconds": 1}]),
            "spec.tokenRequests[1].audience",
            'Duplicate value: "a"',
        ),
        (
            driver(tokenRequests=[{"audience": "a", "expirationSeconds": 599}]),
            "spec.tokenRequests[0].expirationSeconds",
            "may not specify a duration less than 10 minutes",
        ),
        (
            driver(nodeAllocatableUpdatePeriodSeconds=9),
            "spec.nodeAllocatableUpdatePeriodSeconds",
            "must be greater than or equal to 10 seconds",
        ),
    ],
)
def test_drivers(obj: dict[str, Any], field: str, part: str) -> None:
    said(storage_validation.csi_driver(obj), field, part)


def test_how_a_driver_attaches_is_fixed() -> None:
    causes = storage_validation.csi_driver_update(driver(attachRequired=False), driver())
    said(causes, "spec.attachedRequired", f"Invalid value: false: {IMMUTABLE}")


def node(*drivers: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "n"}, "spec": {"drivers": list(drivers)}}


ON_NODE = {"name": "a.example.com", "nodeID": "x", "topologyKeys": ["zone"], "allocatable": {"count": 5}}


@pytest.mark.parametrize(
    ("obj", "field", "part"),
    [
        (node(ON_NODE), "", ""),
        (node({**ON_NODE, "name": ""}), "spec.drivers[0].name", "Required value"),
        (node({**ON_NODE, "name": "no way"}), "spec.drivers[0].name", SUBDOMAIN),
        (node({**ON_NODE, "nodeID": ""}), "spec.drivers[0].nodeID", "Required value"),
        (node({**ON_NODE, "nodeID": "x" * 257}), "spec.drivers[0].nodeID", "must be 256 characters or less"),
        (node({**ON_NODE, "allocatable": {"count": -1}}), "spec.drivers[0].allocatable.count", "greater than or equal"),
        (node(ON_NODE, ON_NODE), "spec.drivers[1].name", 'Duplicate value: "a.example.com"'),
        (node({**ON_NODE, "topologyKeys": ["a", "a"]}), "spec.drivers[0]", 'Duplicate value: "a"'),
    ],
)
def test_drivers_on_nodes(obj: dict[str, Any], field: str, part: str) -> None:
    said(storage_validation.csi_node(obj), field, part)


def test_only_what_a_driver_can_take_changes_on_a_node() -> None:
    more = {**ON_NODE, "allocatable": {"count": 6}}
    assert storage_validation.csi_node_update(node(more), node(ON_NODE)) == []
    said(storage_validation.csi_node_update(node({**ON_NODE, "nodeID": "y"}), node(ON_NODE)), "spec.drivers", IMMUTABLE)


def attachment(**spec: Any) -> dict[str, Any]:
    given = {"attacher": "example.com", "nodeName": "n", "source": {"persistentVolumeName": "pv"}, **spec}
    return {"metadata": {"name": "a"}, "spec": given, "status": {"attached": False}}


INLINE = {"accessModes": ["ReadWriteOnce"], "csi": {"driver": "example.com", "volumeHandle": "h"}}


@pytest.mark.parametrize(
    ("obj", "field", "part"),
    [
        (attachment(), "", ""),
        (attachment(source={"inlineVolumeSpec": INLINE}), "", ""),
        (attachment(attacher=""), "spec.attacher", "Required value"),
        (attachment(nodeName="No"), "spec.nodeName", SUBDOMAIN),
        (attachment(source={}), "spec.source", "must specify exactly one of"),
        (attachment(source={"persistentVolumeName": "No"}), "spec.source.persistentVolumeName", SUBDOMAIN),
        (
            attachment(source={"inlineVolumeSpec": {**INLINE, "capacity": {"storage": "1"}}}),
            "spec.source.inlineVolumeSpec.capacity",
            "may not be specified in the context of inline volumes",
        ),
    ],
)
def test_attachments(obj: dict[str, Any], field: str, part: str) -> None:
    said(storage_validation.volume_attachment(obj), field, part)


def test_what_is_attached_where_is_fixed_also_through_status() -> None:
    said(storage_validation.volume_attachment_update(attachment(nodeName="m"), attachment()), "spec", IMMUTABLE)
    failed = {**attachment(), "status": {"attached": False, "attachError": {"message": "m" * 1025}}}
    said(storage_validation.volume_attachment_update(failed, attachment()), "status.attachError.message", "Too long")


def test_capacities_belong_to_a_class_and_a_part_of_the_cluster() -> None:
    given = {"metadata": {"name": "c"}, "storageClassName": "fast", "capacity": "1Gi"}
    assert storage_validation.storage_capacity(given) == []
    less = {**given, "capacity": "-1"}
    said(
        storage_validation.storage_capacity(less), "capacity", 'Invalid value: "-1": must be greater than or equal to 0'
    )
    said(
        storage_validation.storage_capacity_update({**given, "storageClassName": "slow"}, given),
        "storageClassName",
        IMMUTABLE,
    )
