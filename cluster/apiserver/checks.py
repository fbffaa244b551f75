"""The names of the health checks: upstream's, each answered by the part that does its work here.

Clients ask for checks by name and leave some out by name. What upstream's servers start step by step is one start here,
which makes what every cluster has; its steps are told together.
Source: `/livez?verbose` and `/readyz?verbose` of kube-apiserver v1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from oarlock.cluster.apiserver.health import Check

Part = Literal["process", "store", "cache", "start", "shutdown"]

_STEPS: Final = (
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/peer-endpoint-reconciler-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/storage-readiness",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-wait-for-first-sync",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
)
#: A server without its store answers but may serve nothing: not ready, by the check that names the storage.
_NEEDS_STORE: Final = "poststarthook/storage-readiness"
_KINDS: Final[Mapping[str, Mapping[str, Part]]] = {
    "livez": {
        "ping": "process",
        "log": "process",
        "loopback-serving-certificate": "process",
        "etcd": "store",
        **dict.fromkeys(_STEPS, "start"),
    },
    "readyz": {
        "ping": "process",
        "log": "process",
        "informer-sync": "cache",
        **{name: "store" if name == _NEEDS_STORE else "start" for name in _STEPS},
        "shutdown": "shutdown",
    },
}


def named(parts: Mapping[Part, Check]) -> dict[str, dict[str, Check]]:
    """Return the checks of livez, readyz and healthz by name, in upstream's order."""
    kinds = {**_KINDS, "healthz": _KINDS["livez"]}
    return {kind: {name: parts[part] for name, part in table.items()} for kind, table in kinds.items()}
