"""Horizontal autoscaling: the arithmetic, the limits, and what people are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oarlock.actors.controllers.autoscaler import Autoscaler
from oarlock.actors.controllers.autoscaler_limits import Past, limit
from oarlock.actors.controllers.replica_calculator import (
    Groups,
    NoReplicaCount,
    Sample,
    Tolerance,
    by_average,
    by_share,
    by_utilization,
    by_value,
    group,
    requests,
)

Object = dict[str, Any]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEAR = Tolerance()
SCALE = "/apis/apps/v1/namespaces/default/deployments/d/scale"
PODS = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"


def samples(*milli: int) -> dict[str, Sample]:
    return {f"p{number}": Sample(value, NOW) for number, value in enumerate(milli)}


def names(*numbers: int) -> frozenset[str]:
    return frozenset(f"p{number}" for number in numbers)


def asked(count: int) -> dict[str, int]:
    return {f"p{number}": 1000 for number in range(count)}


@pytest.mark.parametrize(
    ("used", "ready", "unready", "missing", "target", "expected"),
    [
        ((300, 500, 700), 3, (), (), 30, 5),  # upstream: scale up
        ((100, 300, 500, 250, 250), 5, (), (), 50, 3),  # upstream: scale down
        ((1010, 1030, 1020), 3, (), (), 100, 3),  # within the tolerance
        ((300, 500, 700), 2, (0,), (), 30, 4),  # upstream: unready, less scaling
        ((400, 500, 700), 1, (0, 1), (), 30, 3),  # upstream: unready, no scaling
        ((0, 700, 700), 2, (), (0,), 30, 5),
        ((100, 100, 100), 3, (), (3, 4), 50, 5),  # missing ones count as full when scaling down
    ],
)
def test_utilization(
    used: tuple[int, ...], ready: int, unready: tuple[int, ...], missing: tuple[int, ...], target: int, expected: int
) -> None:
    current = len({*range(len(used)), *missing})
    groups = Groups(ready, names(*unready), names(*missing), frozenset())
    measured = {name: one for name, one in samples(*used).items() if name not in names(*missing)}
    assert by_utilization(current, groups, measured, asked(current), target, NEAR).replicas == expected


def test_nothing_known_of_any_pod_is_no_answer() -> None:
    with pytest.raises(NoReplicaCount, match="did not receive metrics for targeted pods"):
        by_average(3, Groups(0, names(0), frozenset(), frozenset()), samples(5), 10, NEAR)


def test_average_value_and_values_of_others() -> None:
    groups = Groups(3, frozenset(), frozenset(), frozenset())
    assert by_average(3, groups, samples(20_000, 10_000, 30_000), 15_000, NEAR).replicas == 4
    assert by_value(4, 4, 8_000, 4_000, NEAR) == 8
    assert by_value(0, 0, 8_000, 4_000, NEAR) == 2
    assert by_share(2, 9_000, 3_000, NEAR) == 3
    assert by_share(3, 9_100, 3_000, NEAR) == 3
    assert by_share(3, 9_600, 3_000, Tolerance(0.01, 0.01)) == 4


def pod(name: str, **status: Any) -> Object:
    ready = [{"type": "Ready", "status": status.pop("ready", "True"), "lastTransitionTime": "2025-12-31T00:10:00Z"}]
    held = {"phase": "Running", "startTime": "2025-12-31T00:00:00Z", "conditions": ready, **status}
    container = {"name": "c", "resources": {"requests": {"cpu": "100m"}}}
    metadata = {"name": name, "labels": {"app": "d"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container]},
        "status": held,
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ({}, "ready"),
        ({"phase": "Pending"}, "unready"),
        ({"phase": "Failed"}, "ignored"),
        ({"ready": "False"}, "ready"),  # it was ready once, long ago
        ({"ready": "False", "startTime": "2025-12-31T00:09:50Z"}, "unready"),  # it never was
        ({"ready": "False", "startTime": "2025-12-31T23:59:00Z"}, "unready"),
        ({"startTime": None}, "unready"),
    ],
)
def test_pods_are_sorted_by_what_is_known(status: Object, kind: str) -> None:
    found = group([pod("p0", **status)], samples(5), NOW, cpu=True)
    assert {"ready": found.ready, "unready": len(found.unready), "ignored": len(found.ignored)}[kind] == 1


def test_a_missing_request_is_named() -> None:
    one = pod("p0")
    one["spec"]["containers"].append({"name": "side"})
    with pytest.raises(NoReplicaCount, match="missing request for cpu in container side of Pod p0"):
        requests([one], "cpu")
    assert requests([one], "cpu", "c") == {"p0": 100}


@pytest.mark.parametrize(
    ("behavior", "current", "wanted", "expected", "reason"),
    [
        (None, 3, 20, 6, "ScaleUpLimit"),
        (None, 1, 20, 4, "ScaleUpLimit"),
        (None, 8, 20, 10, "TooManyReplicas"),
        (None, 5, 0, 2, "TooFewReplicas"),
        (None, 5, 6, 6, "DesiredWithinRange"),
        ({"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}, 3, 9, 4, "ScaleUpLimit"),
        ({"scaleUp": {"policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}}, 3, 9, 5, "ScaleUpLimit"),
        ({"scaleUp": {"selectPolicy": "Disabled", "policies": []}}, 3, 9, 3, "ScaleUpLimit"),
        ({"scaleDown": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}}, 9, 2, 7, "ScaleDownLimit"),
        ({"scaleDown": {"selectPolicy": "Disabled"}}, 9, 2, 9, "ScaleDownLimit"),
        ({"scaleDown": {}}, 9, 1, 2, "TooFewReplicas"),
    ],
)
def test_limits(behavior: Object | None, current: int, wanted: int, expected: int, reason: str) -> None:
    if behavior is not None:
        behavior.setdefault("scaleDown", {}).setdefault("stabilizationWindowSeconds", 0)
    spec = {"minReplicas": 2, "maxReplicas": 10, **({"behavior": behavior} if behavior is not None else {})}
    found = limit(Past(), NOW, spec, current, wanted)
    assert (found.replicas, found.limit[0], found.limited) == (expected, reason, wanted != expected)


def test_the_highest_recommendation_of_the_window_holds() -> None:
    past, spec = Past(), {"maxReplicas": 10}
    limit(past, NOW, spec, 5, 8)
    held = limit(past, NOW + timedelta(seconds=200), spec, 8, 3)
    assert (held.replicas, held.stabilized[0]) == (8, "ScaleDownStabilized")
    assert limit(past, NOW + timedelta(seconds=301), spec, 8, 3).replicas == 3


def test_a_policy_counts_what_its_period_saw() -> None:
    policy = {"type": "Pods", "value": 2, "periodSeconds": 60}
    spec = {"maxReplicas": 20, "behavior": {"scaleUp": {"policies": [policy]}}}
    past = Past()
    assert limit(past, NOW, spec, 3, 9).replicas == 5
    past.scaled(NOW, 3, 5, 60)
    assert limit(past, NOW + timedelta(seconds=30), spec, 5, 9).replicas == 5
    assert limit(past, NOW + timedelta(seconds=61), spec, 5, 9).replicas == 7


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), min_size=1, max_size=20),
    st.integers(1, 5),
    st.integers(5, 20),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_never_beyond_the_bounds(wants: list[tuple[int, int]], least: int, most: int, paced: bool) -> None:
    policies = [{"type": "Pods", "value": 3, "periodSeconds": 30}]
    behavior = {"behavior": {"scaleUp": {"policies": policies}, "scaleDown": {"policies": policies}}} if paced else {}
    spec = {"minReplicas": least, "maxReplicas": most, **behavior}
    past, now, current = Past(), NOW, least
    for wait_s, wanted in wants:
        now += timedelta(seconds=wait_s)
        size = limit(past, now, spec, current, wanted).replicas
        assert least <= size <= most
        if size != current:
            past.scaled(now, current, size, 60)
        current = size


def cpu(target: int) -> Object:
    return {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}},
    }


class Cluster:
    def __init__(self, world: Any, replicas: int, metrics: list[Object], **spec: Any) -> None:
        self.world, self.controller = world, Autoscaler()
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
        body = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 10, "metrics": metrics, **spec}
        kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
        world.put({**kind, "metadata": {"name": "h"}, "spec": body, "status": {}})
        status = {"replicas": replicas, "selector": "app=d"}
        world.answers[SCALE] = {
            "kind": "Scale",
            "metadata": {"name": "d"},
            "spec": {"replicas": replicas},
            "status": status,
        }
        for number in range(replicas):
            world.put(pod(f"p{number}"))

    def use(self, *milli: int) -> None:
        self.world.answers[PODS] = {
            "items": [
                {
                    "metadata": {"name": f"p{number}"},
                    "timestamp": self.world.stamp,
                    "window": "30s",
                    "containers": [{"name": "c", "usage": {"cpu": f"{value}m"}}],
                }
                for number, value in enumerate(milli)
            ]
        }

    def look(self) -> Object:
        self.world.act(self.controller.reconcile("default/h", self.world.view))
        found: Object = self.world.view.get("horizontalpodautoscalers", "default/h")["status"]
        return found

    @property
    def replicas(self) -> int:
        return int(self.world.answers[SCALE]["spec"]["replicas"])


def reasons(status: Object) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def test_load_scales_up_and_says_why(world: Any) -> None:
    cluster = Cluster(world, 2, [cpu(50)])
    cluster.use(90, 110)
    status = cluster.look()
    assert cluster.replicas == status["desiredReplicas"] == 4
    assert status["currentReplicas"] == 2
    assert status["currentMetrics"][0]["resource"]["current"] == {"averageUtilization": 100, "averageValue": "100m"}
    message = "New size: 4; reason: cpu resource utilization (percentage of request) above target"
    assert ("SuccessfulRescale", message) in world.events
    assert reasons(status) == {
        "AbleToScale": ("True", "SucceededRescale"),
        "ScalingActive": ("True", "ValidMetricFound"),
        "ScalingLimited": ("False", "DesiredWithinRange"),
    }


def test_a_restart_between_the_scaling_and_the_status_scales_no_further(world: Any) -> None:
    cluster = Cluster(world, 2, [cpu(50)])
    cluster.use(90, 110)
    cluster.look()
    held = world.view.get("horizontalpodautoscalers", "default/h")
    world.put({**held, "status": {}})  # it never got there
    cluster.controller = Autoscaler()
    status = cluster.look()
    assert cluster.replicas == status["desiredReplicas"] == 4
    world.pass_time(15)
    cluster.use(90, 110)
    cluster.look()
    assert cluster.replicas == 4, "the new pods tell nothing yet"


def test_without_a_metrics_server_nothing_happens_and_it_is_told(world: Any) -> None:
    cluster = Cluster(world, 2, [cpu(50)])
    status = cluster.look()
    assert cluster.replicas == 2
    assert reasons(status)["ScalingActive"] == ("False", "FailedGetResourceMetric")
    told = dict(world.events)
    cause = (
        "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource "
        "metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
    )
    assert told["FailedGetResourceMetric"] == cause
    summary = f"invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: {cause}"
    assert told["FailedComputeMetricsReplicas"] == summary


def test_a_failed_metric_never_scales_down(world: Any) -> None:
    external = {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}}
    cluster = Cluster(world, 4, [cpu(50), {"type": "External", "external": external}])
    cluster.use(5, 5, 5, 5)
    world.pass_time(301)
    assert reasons(cluster.look())["ScalingActive"] == ("False", "FailedGetExternalMetric")
    assert cluster.replicas == 4


def test_the_metric_that_asks_for_most_wins(world: Any) -> None:
    external = {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}}
    cluster = Cluster(world, 4, [cpu(50), {"type": "External", "external": external}])
    cluster.use(60, 60, 60, 60)
    path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue"
    world.answers[path] = {"items": [{"value": "30"}, {"value": "41"}]}
    status = cluster.look()
    assert cluster.replicas == 8
    assert status["currentMetrics"][1]["external"]["current"] == {"averageValue": "17750m"}


@pytest.mark.parametrize(
    ("metric", "path", "expected"),
    [
        (
            {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"averageValue": "10"}}},
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/rps",
            4,
        ),
        (
            {
                "type": "Object",
                "object": {
                    "metric": {"name": "rps"},
                    "describedObject": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "i"},
                    "target": {"type": "Value", "value": "10"},
                },
            },
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/ingresses.networking.k8s.io/i/rps",
            4,
        ),
    ],
)
def test_custom_metrics(world: Any, metric: Object, path: str, expected: int) -> None:
    cluster = Cluster(world, 2, [metric])
    items = [
        {"describedObject": {"name": f"p{number}"}, "value": "20", "timestamp": world.stamp} for number in range(2)
    ]
    world.answers[path] = {"items": items}
    cluster.look()
    assert cluster.replicas == expected


@pytest.mark.parametrize(
    ("replicas", "expected", "reason"),
    [(12, 10, "Current number of replicas above Spec.MaxReplicas"), (1, 2, "below Spec.MinReplicas"), (0, 0, None)],
)
def test_bounds_come_first(world: Any, replicas: int, expected: int, reason: str | None) -> None:
    cluster = Cluster(world, replicas, [cpu(50)], minReplicas=2)
    status = cluster.look()
    assert cluster.replicas == expected
    if reason is None:
        assert reasons(status)["ScalingActive"] == ("False", "ScalingDisabled")
    else:
        assert reason in dict(world.events)["SuccessfulRescale"]


def test_a_target_that_is_not_there(world: Any) -> None:
    cluster = Cluster(world, 2, [cpu(50)])
    del world.answers[SCALE]
    assert reasons(cluster.look())["AbleToScale"] == ("False", "FailedGetScale")


def test_two_that_want_the_same_pods(world: Any) -> None:
    cluster = Cluster(world, 2, [cpu(50)])
    cluster.controller.chosen["default/other"] = "app"
    cluster.use(200, 200)
    assert reasons(cluster.look())["ScalingActive"] == ("False", "AmbiguousSelector")
    assert cluster.replicas == 2
