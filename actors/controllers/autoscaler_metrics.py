"""The metrics of an autoscaler: where each is asked for, and what its answer asks for.

Source: autoscaling/v2; metrics.k8s.io, custom.metrics.k8s.io and external.metrics.k8s.io; upstream's horizontal.go and
its metrics client for names and wording.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from oarlock.actors.controllers import pods as pod_facts
from oarlock.actors.controllers import replica_calculator as calculator
from oarlock.actors.controllers.actions import Answer, Question
from oarlock.actors.controllers.replica_calculator import NoReplicaCount, Sample, Tolerance
from oarlock.actors.controllers.view import parse_time
from oarlock.cluster.objects import quantity, resources, selectors
from oarlock.cluster.objects.status import ApiError

Object = dict[str, Any]

_RESOURCE_API = "/apis/metrics.k8s.io/v1beta1"
_CUSTOM_API = "/apis/custom.metrics.k8s.io/v1beta2"
_EXTERNAL_API = "/apis/external.metrics.k8s.io/v1beta1"
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True)
class Target:
    """What is scaled: its namespace, pods and their selector, and its replicas as asked for and as there are."""

    namespace: str
    selector: str
    pods: Sequence[Object]
    asked: int
    present: int
    now: datetime
    near: Tolerance


@dataclass(frozen=True)
class Proposal:
    """The replicas that one metric asks for; `name` is what people are told, `status` goes into the status."""

    replicas: int
    name: str
    status: Object


@dataclass(frozen=True)
class Refused:
    """Why a metric says nothing: the condition's reason, the failure, and the failure with the metric's name."""

    reason: str
    message: str
    error: str


def question(metric: Mapping[str, Any], target: Target) -> Question:
    """Return where a metric is asked for."""
    kind = metric["type"]
    if kind in ("Resource", "ContainerResource"):
        return Question(f"{_RESOURCE_API}/namespaces/{target.namespace}/pods", {"labelSelector": target.selector})
    source = _source(metric)
    chosen = str(selectors.from_object(source["metric"].get("selector") or {}))
    name = source["metric"]["name"]
    if kind == "Pods":
        params = {"labelSelector": target.selector, **({"metricLabelSelector": chosen} if chosen else {})}
        return Question(f"{_CUSTOM_API}/namespaces/{target.namespace}/pods/*/{name}", params)
    if kind == "Object":
        params = {"metricLabelSelector": chosen} if chosen else {}
        return Question(f"{_CUSTOM_API}/{_described(source['describedObject'], target.namespace)}/{name}", params)
    params = {"labelSelector": chosen} if chosen else {}
    return Question(f"{_EXTERNAL_API}/namespaces/{target.namespace}/{name}", params)


def _described(reference: Mapping[str, Any], namespace: str) -> str:
    group, _, version = reference.get("apiVersion", "v1").rpartition("/")
    known = resources.by_kind(group, version, reference["kind"])
    plural = known.qualified if known is not None else f"{reference['kind'].lower()}s.{group}"
    scope = "" if known is not None and not known.namespaced else f"namespaces/{namespace}/"
    return f"{scope}{plural}/{reference['name']}"


def evaluate(metric: Mapping[str, Any], target: Target, answer: Answer) -> Proposal | Refused:
    """Return what a metric's answer asks for."""
    try:
        return _EVALUATORS[metric["type"]](metric, target, answer)
    except NoReplicaCount as error:
        reason, what, context = _failure(metric)
        message = f"{context}{error}"
        return Refused(reason, message, f"failed to get {what}: {message}")


def _failure(metric: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return (reason, what failed in the summary, what precedes the cause) of a metric that says nothing."""
    kind, source = metric["type"], _source(metric)
    if kind in ("Resource", "ContainerResource"):
        name = source["name"]
        words = "resource" if kind == "Resource" else "container resource"
        utilized = source["target"].get("averageUtilization") is not None
        context = f"failed to get {name} utilization: " if utilized else f"failed to get {name} usage: "
        return f"FailedGet{kind}Metric", f"{name} {words} metric value", context
    name = source["metric"]["name"]
    if kind == "Pods":
        return "FailedGetPodsMetric", "pods metric value", f"unable to get metric {name}: "
    if kind == "Object":
        return "FailedGetObjectMetric", "object metric value", f"unable to get metric {name}: "
    return "FailedGetExternalMetric", f"{name} external metric value", f"unable to get external metric {name}: "


def _source(metric: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = metric["type"]
    found: Mapping[str, Any] = metric[kind[0].lower() + kind[1:]]
    return found


def _resource(metric: Mapping[str, Any], target: Target, answer: Answer) -> Proposal:
    kind, source = metric["type"], _source(metric)
    name, container = source["name"], source.get("container", "")
    samples = _pod_metrics(answer, name, container)
    if not target.pods:
        raise NoReplicaCount("no pods returned by selector while calculating replica count")
    groups = calculator.group(target.pods, samples, target.now, cpu=name == "cpu")
    words = "resource" if kind == "Resource" else "container resource"
    wanted = source["target"]
    if wanted.get("averageUtilization") is not None:
        asked = calculator.requests(target.pods, name, container)
        usage = calculator.by_utilization(
            target.asked, groups, samples, asked, int(wanted["averageUtilization"]), target.near
        )
        label = f"{name} {words} utilization (percentage of request)"
    else:
        usage = calculator.by_average(
            target.asked, groups, samples, quantity.milli(wanted["averageValue"]), target.near
        )
        label = f"{name} {words}"
    current: Object = {"averageValue": _text(usage.average_milli)}
    if usage.utilization is not None:
        current["averageUtilization"] = usage.utilization
    held: Object = {"name": name, "current": current, **({"container": container} if container else {})}
    return Proposal(usage.replicas, label, {"type": kind, kind[0].lower() + kind[1:]: held})


def _pods(metric: Mapping[str, Any], target: Target, answer: Answer) -> Proposal:
    source = _source(metric)
    items = _items(answer, "no metrics returned from custom metrics API", _fetching(answer, "custom"))
    samples = {
        one["describedObject"]["name"]: Sample(
            quantity.milli(one["value"]), parse_time(one["timestamp"]), float(one.get("windowSeconds") or 60)
        )
        for one in items
    }
    groups = calculator.group(target.pods, samples, target.now, cpu=False)
    wanted = quantity.milli(source["target"]["averageValue"])
    usage = calculator.by_average(target.asked, groups, samples, wanted, target.near)
    current = {"averageValue": _text(usage.average_milli)}
    status = {"type": "Pods", "pods": {"metric": dict(source["metric"]), "current": current}}
    return Proposal(usage.replicas, f"pods metric {source['metric']['name']}", status)


def _object(metric: Mapping[str, Any], target: Target, answer: Answer) -> Proposal:
    source = _source(metric)
    items = _items(answer, "no metrics returned from custom metrics API", _fetching(answer, "custom"))
    replicas, current = _shared(source["target"], target, quantity.milli(items[0]["value"]))
    described = source["describedObject"]
    held = {"metric": dict(source["metric"]), "describedObject": dict(described), "current": current}
    label = f"{described['kind']} metric {source['metric']['name']}"
    return Proposal(replicas, label, {"type": "Object", "object": held})


def _external(metric: Mapping[str, Any], target: Target, answer: Answer) -> Proposal:
    source = _source(metric)
    items = _items(answer, "no metrics returned from external metrics API", _fetching(answer, "external"))
    replicas, current = _shared(source["target"], target, sum(quantity.milli(one["value"]) for one in items))
    name = source["metric"]["name"]
    held = {"metric": dict(source["metric"]), "current": current}
    return Proposal(replicas, f"external metric {name}", {"type": "External", "external": held})


_EVALUATORS = {
    "Resource": _resource,
    "ContainerResource": _resource,
    "Pods": _pods,
    "Object": _object,
    "External": _external,
}


def _shared(wanted: Mapping[str, Any], target: Target, value_milli: int) -> tuple[int, Object]:
    """Return the replicas for a value that isn't a pod's own, and the current value or share."""
    if wanted.get("averageValue") is not None:
        share = quantity.milli(wanted["averageValue"])
        average = math.ceil(value_milli / target.present) if target.present else value_milli
        return calculator.by_share(target.present, value_milli, share, target.near), {"averageValue": _text(average)}
    ready = sum(1 for pod in target.pods if pod_facts.phase(pod) == "Running" and pod_facts.is_ready(pod))
    goal = quantity.milli(wanted["value"])
    return calculator.by_value(target.asked, ready, value_milli, goal, target.near), {"value": _text(value_milli)}


def _pod_metrics(answer: Answer, resource: str, container: str) -> dict[str, Sample]:
    context = f"unable to get metrics for resource {resource}: "
    items = _items(
        answer,
        f"{context}no metrics returned from resource metrics API",
        f"{context}unable to fetch metrics from resource metrics API: {_words(answer, 'get pods.metrics.k8s.io')}",
    )
    samples = {}
    for one in items:
        used = [held for held in one.get("containers") or () if container in ("", held["name"])]
        if used and all(resource in held.get("usage", {}) for held in used):
            total = sum(quantity.milli(held["usage"][resource]) for held in used)
            samples[one["metadata"]["name"]] = Sample(
                total, parse_time(one["timestamp"]), _seconds(one.get("window", ""))
            )
    return samples


def _items(answer: Answer, empty: str, refused: str) -> list[Object]:
    if isinstance(answer, ApiError):
        raise NoReplicaCount(refused)
    items: list[Object] = answer.get("items") or []
    if not items:
        raise NoReplicaCount(empty)
    return items


def _fetching(answer: Answer, api: str) -> str:
    return f"unable to fetch metrics from {api} metrics API: {_words(answer, f'get {api}.metrics.k8s.io')}"


def _words(answer: Answer, asked: str) -> str:
    """Return a refusal as upstream's client words it: an API that isn't there has no message of its own."""
    if not isinstance(answer, ApiError):
        return ""
    if answer.code == 404 and not (answer.details or {}).get("name"):
        return f"the server could not find the requested resource ({asked})"
    return answer.message


def _text(milli: int) -> str:
    return quantity.format(Fraction(milli, 1000))


def _seconds(duration: str) -> float:
    """Return a Go duration in seconds."""
    parts = re.findall(r"([0-9.]+)(ms|h|m|s)", duration)
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts) or 60.0
