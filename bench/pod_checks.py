"""The time that defaulting and validation of a Pod take: one container, probes, environment, volumes, a token.

Every round handles a Pod of its own, decoded afresh, as a create does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import orjson

from bench.report import quantile, table
from oarlock.cluster.objects import defaulting, strategy, validation
from oarlock.cluster.objects.decoding import decode
from oarlock.cluster.objects.resources import Resource, lookup

ROUNDS = 5_000
LIMIT_US = 120
Obj = dict[str, Any]
_READINESS: Obj = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5}
_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for state in ("not-ready", "unreachable")
]
_TOKEN: Obj = {
    "defaultMode": 420,
    "sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ],
}
CONTAINER: Obj = {
    "name": "web",
    "image": "nginx:1.27",
    "args": ["-g", "daemon off;"],
    "ports": [{"name": "http", "containerPort": 8080}],
    "env": [{"name": "A", "value": "b"}, {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
    "readinessProbe": _READINESS,
    "volumeMounts": [
        {"name": "config", "mountPath": "/etc/web"},
        {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
    ],
    "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False},
}
POD: Obj = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-6d4cf56db6-abcde",
        "namespace": "default",
        "labels": {"app": "web", "tier": "front"},
        "annotations": {"prometheus.io/scrape": "true"},
    },
    "spec": {
        "serviceAccountName": "default",
        "containers": [CONTAINER],
        "volumes": [{"name": "config", "configMap": {"name": "web"}}, {"name": "token", "projected": _TOKEN}],
        "tolerations": _TOLERATIONS,
    },
}


def pods(count: int) -> tuple[Resource, list[Obj]]:
    """Return the resource of Pods, and that many of them as decoded, none defaulted yet."""
    resource = lookup("", "v1", "pods")
    assert resource is not None
    body = orjson.dumps(POD)
    return resource, [decode(resource, body).object for _ in range(count)]


def default_and_validate(resource: Resource, obj: Obj) -> None:
    """Bring a new Pod to the point where it may be stored. Raises ValueError if it may not."""
    defaulting.default(resource, obj)
    strategy.prepare_create(resource, obj)
    causes = validation.validate_create(resource, obj)
    if causes:
        raise ValueError(causes)


def measure() -> str:
    resource, objs = pods(ROUNDS)
    rows = [
        ["defaulting", *_quantiles(lambda obj: defaulting.default(resource, obj), objs)],
        ["strategy", *_quantiles(lambda obj: strategy.prepare_create(resource, obj), objs)],
        ["validation", *_quantiles(lambda obj: validation.validate_create(resource, obj), objs)],
        ["all of it", *_quantiles(lambda obj: default_and_validate(resource, obj), pods(ROUNDS)[1])],
    ]
    head = f"A Pod of {len(orjson.dumps(POD)):,} B, {ROUNDS:,} rounds; the limit for all of it is {LIMIT_US} µs."
    return f"{head}\n\n{table(('step', 'p5 µs', 'p50 µs', 'mean µs'), rows)}"


def _quantiles(step: Callable[[Obj], object], objs: list[Obj]) -> list[float]:
    taken: list[float] = []
    for obj in objs:
        started = time.perf_counter()
        step(obj)
        taken.append((time.perf_counter() - started) * 1e6)
    taken.sort()
    return [quantile(taken, 0.05), quantile(taken, 0.5), statistics.fmean(taken)]
