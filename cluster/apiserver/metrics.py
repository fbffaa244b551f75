"""The API server's metrics under Kubernetes' names. Source: apiserver pkg/endpoints/metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from oarlock.cluster.objects import resources

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_REQUEST = ("verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component")

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
FENCED_OFF = Counter("oarlock_fenced_writes_refused", "Writes that came when their writer's lease had passed on.")
REGISTERED_WATCHERS = Gauge(
    "apiserver_registered_watchers",
    "Number of currently registered watchers for a given resources",
    ("group", "version", "resource"),
)
REQUESTED_DEPRECATED = Gauge(
    "apiserver_requested_deprecated_apis",
    "Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and"
    " removed_release.",
    ("group", "version", "resource", "subresource", "removed_release"),
)
OBJECTS = Gauge(
    "apiserver_storage_objects",
    "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be"
    " -1.",
    ("resource",),
)
BUILD = Gauge(
    "kubernetes_build_info",
    "A metric with a constant '1' value labeled by major, minor, git version and platform from which Kubernetes was"
    " built, and the version of Python on which it is running.",
    ("major", "minor", "git_version", "platform"),
)


Labels = tuple[str, ...]


class Tally:
    """A count that whoever counts adds to: a plain number, where the library's has a lock."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Tallies(Collector):
    """A counter with labels, of tallies."""

    def __init__(self, name: str, documentation: str, names: Labels) -> None:
        self._name, self._documentation, self._names = name, documentation, names
        self._tallies: dict[Labels, Tally] = {}

    def of(self, *labels: str) -> Tally:
        """Return the tally of these labels' values, always the same."""
        tally = self._tallies.get(labels)
        if tally is None:
            tally = self._tallies[labels] = Tally()
        return tally

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._documentation, labels=self._names)
        for labels, tally in list(self._tallies.items()):
            family.add_metric(labels, tally.count)
        yield family


class Spread:
    """How observed values are spread over a histogram's buckets."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Spreads(Collector):
    """A histogram with labels, of spreads: each request is observed, and the library would look at every bound."""

    def __init__(self, name: str, documentation: str, names: Labels, bounds: tuple[float, ...]) -> None:
        self._name, self._documentation, self._names, self._bounds = name, documentation, names, bounds
        self._spreads: dict[Labels, Spread] = {}

    def of(self, *labels: str) -> Spread:
        """Return the spread of these labels' values, always the same."""
        spread = self._spreads.get(labels)
        if spread is None:
            spread = self._spreads[labels] = Spread(self._bounds)
        return spread

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._names)
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for labels, spread in list(self._spreads.items()):
            family.add_metric(labels, list(zip(bounds, accumulate(spread.counts), strict=True)), spread.total)
        yield family


WATCH_EVENTS = Tallies(
    "apiserver_watch_events", "Number of events sent in watch clients", ("group", "version", "resource")
)
REQUESTS = Tallies(
    "apiserver_request",
    "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component,"
    " and HTTP response code.",
    (*_REQUEST, "code"),
)
DURATION = Spreads(
    "apiserver_request_duration_seconds",
    "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource,"
    " scope and component.",
    _REQUEST,
    _BUCKETS,
)
RESPONSE_SIZES = Spreads(
    "apiserver_response_sizes",
    "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
    ("verb", "group", "version", "resource", "subresource", "scope", "component"),
    tuple(10.0**power for power in range(3, 10)),
)
for one in (WATCH_EVENTS, REQUESTS, DURATION, RESPONSE_SIZES):
    REGISTRY.register(one)
COLLECTIONS = tuple({one.key_prefix: one.qualified for one in resources.RESOURCES if "list" in one.verbs}.items())
"""Key prefixes of what is stored, and how metrics name it."""

CONVERSION_DURATION = Histogram(
    "apiserver_crd_conversion_webhook_duration_seconds",
    "CRD webhook conversion duration in seconds",
    ("crd_name", "from_version", "to_version", "succeeded"),
    buckets=tuple(0.001 * 2**power for power in range(15)),
)
_CONVERSION_WEBHOOK = ("result", "failure_type")
CONVERSION_REQUESTS = Counter(
    "apiserver_conversion_webhook_request",
    "Counter for conversion webhook requests with success/failure and failure error type",
    _CONVERSION_WEBHOOK,
)
CONVERSION_LATENCY = Histogram(
    "apiserver_conversion_webhook_duration_seconds",
    "Conversion webhook request latency",
    _CONVERSION_WEBHOOK,
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 45, 60),
)


def observe_conversion(definition: str, origin: str, target: str, failure: str, elapsed_s: float) -> None:
    """Count a call of a conversion webhook; `failure` is "" for one that succeeded.

    Source: apiextensions `pkg/apiserver/conversion/metrics.go`.
    """
    CONVERSION_DURATION.labels(definition, origin, target, "false" if failure else "true").observe(elapsed_s)
    labels = ("failure" if failure else "success", failure)
    CONVERSION_REQUESTS.labels(*labels).inc()
    CONVERSION_LATENCY.labels(*labels).observe(elapsed_s)
