"""What a node agent measures, by the kubelet's names where it has them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RUNNING_PODS = Gauge("kubelet_running_pods", "Number of pods that have a running pod sandbox.")
RESTARTS_TOTAL = Counter("oarlock_kubelet_container_restarts", "Containers started again after an exit.")
START_DURATION = Histogram(
    "oarlock_kubelet_container_start_duration_seconds",
    "From the resolved configuration to the started process.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
POD_START_DURATION = Histogram(
    "kubelet_pod_start_duration_seconds",
    "From the kubelet seeing a pod for the first time to all of its containers running.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300),
)
ROUTES = Gauge("oarlock_kubelet_routes", "Routes to pods and Services that this host has and should have.")
PASS_ERRORS_TOTAL = Counter("oarlock_kubelet_pod_sync_errors", "Passes over a pod that failed and are tried again.")
