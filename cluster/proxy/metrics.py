"""What a service proxy counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LISTENERS = Gauge("oarlock_proxy_listeners", "Addresses that Services are served on.")
CONNECTIONS = Gauge("oarlock_proxy_connections", "Relayed TCP connections that are open.")
CONNECT_ERRORS_TOTAL = Counter("oarlock_proxy_connect_errors", "Endpoints that did not take a connection.")
REFUSED_TOTAL = Counter("oarlock_proxy_connections_refused", "Client connections that no endpoint took.")
SYNC_DURATION = Histogram(
    "kubeproxy_sync_proxy_rules_duration_seconds",
    "From noticing changed Services or endpoints to serving them so.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
)
