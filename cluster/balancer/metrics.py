"""What a balancer counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

BACKEND_UP = Gauge("oarlock_balancer_backend_up", "1 while the backend answers /readyz with 200.", ["backend"])
CONNECTIONS = Gauge("oarlock_balancer_open_connections", "Open client connections by backend.", ["backend"])
CONNECTIONS_TOTAL = Counter("oarlock_balancer_connections_total", "Client connections given to a backend.", ["backend"])
CONNECT_ERRORS_TOTAL = Counter(
    "oarlock_balancer_connect_errors_total", "Failed attempts to connect to the backend.", ["backend"]
)
CUT_TOTAL = Counter(
    "oarlock_balancer_connections_cut_total", "Connections cut because the backend died or was not ready.", ["backend"]
)
REFUSED_TOTAL = Counter(
    "oarlock_balancer_connections_refused_total", "Client connections closed because no backend took them."
)
HELD = Gauge("oarlock_balancer_connections_held", "Client connections that wait for a backend.")
