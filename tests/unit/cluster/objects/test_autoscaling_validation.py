"""HorizontalPodAutoscalers that are refused, and in which words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from harness.judging import Told, changed, created, updated

Obj = dict[str, Any]
V1, V2 = "autoscaling/v1/horizontalpodautoscalers", "autoscaling/v2/horizontalpodautoscalers"
TARGET: Obj = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
AMOUNT: Obj = {"type": "AverageValue", "averageValue": "10"}
METRICS: list[Obj] = [
    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
    {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": AMOUNT}},
    {
        "type": "Object",
        "object": {
            "describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
            "metric": {"name": "m"},
            "target": {"type": "Value", "value": "5"},
        },
    },
    {"type": "External", "external": {"metric": {"name": "m"}, "target": AMOUNT}},
    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": AMOUNT}},
]
POLICY: Obj = {"type": "Pods", "value": 1, "periodSeconds": 60}
GOOD: Obj = {
    "spec": {
        "scaleTargetRef": TARGET,
        "minReplicas": 1,
        "maxReplicas": 3,
        "metrics": METRICS,
        "behavior": {"scaleUp": {"policies": [POLICY]}, "scaleDown": {"tolerance": "100m"}},
    }
}
METRIC_TYPES = 'supported values: "ContainerResource", "External", "Object", "Pods", "Resource"'
RULES = "spec.behavior.scaleUp"


def test_what_is_right_may_be_made_and_written_again() -> None:
    assert created(V2, GOOD) == []
    assert updated(V2, GOOD, GOOD) == []
    assert created(V1, {"spec": {"scaleTargetRef": TARGET, "maxReplicas": 1}}) == []


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("spec/minReplicas", 0, [("spec.minReplicas", "Invalid value: 0: must be greater than or equal to 1")]),
        (
            "spec/maxReplicas",
            0,
            [
                ("spec.maxReplicas", "Required value: must be set and greater than 0"),
                ("spec.maxReplicas", "Invalid value: 0: must be greater than or equal to `minReplicas`"),
            ],
        ),
        (
            "spec/scaleTargetRef",
            {},
            [
                ("spec.scaleTargetRef.kind", "Required value"),
                ("spec.scaleTargetRef.name", "Required value"),
                ("spec.scaleTargetRef.apiVersion", 'Invalid value: "": apiVersion must specify API group'),
            ],
        ),
        ("spec/scaleTargetRef", {"kind": "ReplicationController", "name": "r", "apiVersion": "v1"}, []),
        (
            "spec/scaleTargetRef/apiVersion",
            "a/b/c",
            [("spec.scaleTargetRef.apiVersion", 'Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c')],
        ),
        (
            "spec/metrics/0/type",
            "X",
            [("spec.metrics[0].type", f'Unsupported value: "X": {METRIC_TYPES}')] * 2,
        ),
        (
            "spec/metrics/0/resource",
            None,
            [("spec.metrics[0].resource", "Required value: must populate information for the given metric source")],
        ),
        (
            "spec/metrics/0/pods",
            {"metric": {"name": "m"}, "target": AMOUNT},
            [("spec.metrics[0].pods", "Forbidden: must populate the given metric source only")],
        ),
        (
            "spec/metrics/0/resource/target",
            {},
            [
                ("spec.metrics[0].resource.target.type", "Required value: must specify a metric target type"),
                (
                    "spec.metrics[0].resource.target.type",
                    'Invalid value: "": must be either Utilization, Value, or AverageValue',
                ),
                (
                    "spec.metrics[0].resource.target.averageUtilization",
                    "Required value: must set either a target raw value or a target utilization",
                ),
            ],
        ),
        (
            "spec/metrics/1/pods/metric/name",
            "a/b",
            [("spec.metrics[1].pods.metric.name", "Invalid value: \"a/b\": may not contain '/'")],
        ),
        (
            "spec/metrics/1/pods/target/averageValue",
            "0",
            [("spec.metrics[1].pods.target.averageValue", 'Invalid value: "0": must be positive')],
        ),
        (
            "spec/metrics/2/object/describedObject/kind",
            "",
            [("spec.metrics[2].object.describedObject.kind", "Required value")],
        ),
        (
            "spec/metrics/3/external/target/value",
            "1",
            [
                (
                    "spec.metrics[3].external.target.value",
                    "Forbidden: may not set both a target value for metric and a per-pod target",
                )
            ],
        ),
        (
            "spec/metrics/4/containerResource/container",
            "",
            [("spec.metrics[4].containerResource.container", "Required value: must specify a container")],
        ),
        (
            "spec/behavior/scaleUp/stabilizationWindowSeconds",
            3601,
            [(f"{RULES}.stabilizationWindowSeconds", "Invalid value: 3601: must be less than or equal to 3600")],
        ),
        (
            "spec/behavior/scaleUp/selectPolicy",
            "X",
            [(f"{RULES}.selectPolicy", 'Unsupported value: "X": supported values: "Disabled", "Max", "Min"')],
        ),
        (
            "spec/behavior/scaleUp/policies",
            [],
            [(f"{RULES}.policies", "Required value: must specify at least one Policy")],
        ),
        (
            "spec/behavior/scaleUp/policies/0",
            {"periodSeconds": 1801},
            [
                (f"{RULES}.policies[0].type", 'Unsupported value: "": supported values: "Percent", "Pods"'),
                (f"{RULES}.policies[0].value", "Invalid value: 0: must be greater than zero"),
                (f"{RULES}.policies[0].periodSeconds", "Invalid value: 1801: must be less than or equal to 1800"),
            ],
        ),
        (
            "spec/behavior/scaleUp/tolerance",
            "-1",
            [(f"{RULES}.tolerance", 'Invalid value: "-1": must be greater than or equal to 0')],
        ),
    ],
)
def test_what_is_refused(place: str, value: Any, expected: Told) -> None:
    assert created(V2, changed(GOOD, place, value)) == expected


def test_the_first_versions_metric_is_told_by_its_place_in_the_second() -> None:
    spec = {"scaleTargetRef": TARGET, "maxReplicas": 1, "targetCPUUtilizationPercentage": 0}
    said = ("spec.metrics[0].resource.target.averageUtilization", "Invalid value: 0: must be greater than 0")
    assert created(V1, {"spec": spec}) == [said]


def test_a_target_that_was_odd_may_stay_odd() -> None:
    odd, other = copy.deepcopy(GOOD), copy.deepcopy(GOOD)
    odd["spec"]["scaleTargetRef"]["apiVersion"] = "v1"
    other["spec"]["scaleTargetRef"] = {"kind": "Other", "name": "o", "apiVersion": "v1"}
    assert updated(V2, odd, odd) == []
    [(field, _)] = updated(V2, odd, other)
    assert field == "spec.scaleTargetRef.apiVersion"
