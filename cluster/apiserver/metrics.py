"""The API server's metrics under Kubernetes' names. Source: apiserver pkg/endpoints/metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_REQUEST = ("verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component")

REQUESTS = Counter(
    "apiserver_request",
    "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component,"
    " and HTTP response code.",
    (*_REQUEST, "code"),
)
DURATION = Histogram(
    "apiserver_request_duration_seconds",
    "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource,"
    " scope and component.",
    _REQUEST,
    buckets=_BUCKETS,
)
INFLIGHT = Gauge(
    "apiserver_current_inflight_requests",
    "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
    ("request_kind",),
)
DROPPED = Counter(
    "apiserver_dropped_requests_total",
    "Number of requests dropped with 'Try again later' response",
    ("request_kind",),
)
LONG_RUNNING = Gauge(
    "apiserver_longrunning_requests",
    "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and"
    " component. Not all requests are tracked this way.",
    ("verb", "group", "version", "resource", "subresource", "scope", "component"),
)
REGISTERED_WATCHERS = Gauge(
    "apiserver_registered_watchers",
    "Number of currently registered watchers for a given resources",
    ("group", "version", "resource"),
)
OBJECTS = Gauge(
    "apiserver_storage_objects",
    "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be"
    " -1.",
    ("resource",),
)
