"""An autoscaler of the second version survives its way through the first."""

from __future__ import annotations

import copy
import json
from typing import Any

from harness.judging import created, new

from oarlock.cluster.objects import autoscaler_forms

Obj = dict[str, Any]
V1, V2 = "autoscaling/v1/horizontalpodautoscalers", "autoscaling/v2/horizontalpodautoscalers"
ALPHA = "autoscaling.alpha.kubernetes.io"
AMOUNT: Obj = {"type": "AverageValue", "averageValue": "10"}
CPU: Obj = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}
FULL: Obj = {
    "metadata": {"annotations": {"mine": "yes"}},
    "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "maxReplicas": 3,
        "metrics": [
            {
                "type": "Pods",
                "pods": {"metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}}, "target": AMOUNT},
            },
            {
                "type": "Object",
                "object": {
                    "describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
                    "metric": {"name": "m"},
                    "target": {"type": "Value", "value": "5"},
                },
            },
            {"type": "External", "external": {"metric": {"name": "m"}, "target": AMOUNT}},
            {"type": "ContainerResource", "containerResource": {**CPU, "container": "c"}},
            {"type": "Resource", "resource": CPU},
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
    },
}


def _with_status() -> Obj:
    obj = new(V2, FULL)
    condition = {"type": "AbleToScale", "status": "True", "lastTransitionTime": None, "message": "a < b"}
    current = {
        "type": "Resource",
        "resource": {"name": "cpu", "current": {"averageUtilization": 40, "averageValue": "1"}},
    }
    obj["status"] = {"currentReplicas": 2, "desiredReplicas": 2, "conditions": [condition], "currentMetrics": [current]}
    return obj


def test_nothing_is_lost_on_the_way() -> None:
    obj = _with_status()
    older = autoscaler_forms.lowered(copy.deepcopy(obj))
    assert older["spec"]["targetCPUUtilizationPercentage"] == 60
    assert older["status"]["currentCPUUtilizationPercentage"] == 40
    assert not {"metrics", "behavior"} & set(older["spec"])
    back = autoscaler_forms.lifted(older)
    assert back["metadata"] == obj["metadata"]
    assert back["spec"] == obj["spec"]
    condition = back["status"]["conditions"][0]
    assert (condition["type"], condition["message"]) == ("AbleToScale", "a < b")
    assert back["status"]["currentMetrics"] == obj["status"]["currentMetrics"]


def test_what_travels_looks_as_it_does_upstream() -> None:
    annotations = autoscaler_forms.lowered(_with_status())["metadata"]["annotations"]
    pods, *_ = json.loads(annotations[f"{ALPHA}/metrics"])
    assert json.dumps(pods) == (
        '{"type": "Pods", "pods": {"metricName": "m", "targetAverageValue": "10", '
        '"selector": {"matchLabels": {"a": "b"}}}}'
    )
    assert annotations[f"{ALPHA}/behavior"].startswith(
        '{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,'
    )
    assert annotations[f"{ALPHA}/conditions"].endswith('"message":"a \\u003c b"}]')
    assert annotations["mine"] == "yes"


def test_annotations_that_cannot_be_read_are_dropped() -> None:
    body = {
        "metadata": {"annotations": {f"{ALPHA}/metrics": "[1]", f"{ALPHA}/behavior": "no", "mine": "yes"}},
        "spec": {"scaleTargetRef": FULL["spec"]["scaleTargetRef"], "maxReplicas": 1},
    }
    made = new(V1, body)
    assert made["metadata"]["annotations"] == {"mine": "yes"}
    assert made["spec"]["targetCPUUtilizationPercentage"] == 80
    assert new(V2, body)["metadata"]["annotations"] == {"mine": "yes"}


def test_metrics_in_annotations_stand_before_the_cpu_and_are_judged() -> None:
    metrics = '[{"type":"Pods","pods":{"metricName":"","targetAverageValue":"0"}}]'
    body = {
        "metadata": {"annotations": {f"{ALPHA}/metrics": metrics}},
        "spec": {
            "scaleTargetRef": FULL["spec"]["scaleTargetRef"],
            "maxReplicas": 1,
            "targetCPUUtilizationPercentage": -1,
        },
    }
    assert [field for field, _ in created(V1, body)] == [
        "spec.metrics[0].pods.metric.name",
        "spec.metrics[0].pods.target.averageValue",
        "spec.metrics[1].resource.target.averageUtilization",
    ]
