"""What is counted of each request, and the page of all metrics.

Source: apiserver pkg/endpoints/metrics (CleanVerb, CleanScope). Every label's value is one of a known few: clients
choose paths and methods, and must not choose how many series there are.
"""

from __future__ import annotations

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import REGISTRY

from oarlock.cluster.apiserver import metrics
from oarlock.cluster.apiserver.exchange import Answer, Request, Response
from oarlock.cluster.apiserver.requests import RequestInfo
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.objects.resources import Resource

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
_READS = frozenset({"GET", "LIST"})
_CONNECTS = frozenset({"log", "exec", "attach", "portforward", "proxy"})
_CODES = range(100, 600)
_APPLY = "application/apply-patch"
_Labels = tuple[str, ...]


class _Series:
    """The series of one combination of labels, looked up once."""

    __slots__ = ("_codes", "_labels", "duration", "sizes")

    def __init__(self, labels: _Labels) -> None:
        verb, _, *target = labels
        self._labels = labels
        self._codes: dict[int, metrics.Tally] = {}
        self.duration = metrics.DURATION.of(*labels)
        self.sizes = metrics.RESPONSE_SIZES.of(verb, *target) if verb in _READS else None

    def code(self, code: int) -> metrics.Tally:
        tally = self._codes.get(code)
        if tally is None:
            tally = self._codes[code] = metrics.REQUESTS.of(*self._labels, str(code if code in _CODES else 0))
        return tally


_series: dict[_Labels, _Series] = {}


def observe(request: Request, info: RequestInfo, resource: Resource | None, answer: Answer, seconds: float) -> None:
    """Count an answered request for `resource` (None: for something else).

    How long it took is counted only of those that may not last.
    """
    labels = _labels(request, info, resource)
    series = _series.get(labels)
    if series is None:
        series = _series[labels] = _Series(labels)
    series.code(answer.status).count += 1
    if info.is_long_running:
        return
    series.duration.observe(seconds)
    if series.sizes is not None and isinstance(answer, Response) and answer.status < 400:
        series.sizes.observe(len(answer.body))


def _labels(request: Request, info: RequestInfo, resource: Resource | None) -> _Labels:
    dry_run = "All" if request.query.get("dryRun") == "All" else ""
    if resource is None:
        method = request.method if request.method in _METHODS else "OTHER"
        return method, dry_run, "", "", "", "", "", "apiserver"
    subresource = info.subresource if info.subresource in resource.subresources else ""
    verb = info.verb.upper()
    if subresource in _CONNECTS:
        verb = "CONNECT"
    elif verb == "PATCH" and request.headers.get("Content-Type", "").startswith(_APPLY):
        verb = "APPLY"
    scope = "resource" if info.name or verb == "CREATE" else "namespace" if info.namespace else "cluster"
    return verb or "OTHER", dry_run, info.group, info.version, info.resource, subresource, scope, "apiserver"


def exposition(cache: WatchCache, accept: str) -> Response:
    """Return all metrics of the process in the format that `accept` prefers."""
    for collection, name in metrics.COLLECTIONS:
        metrics.OBJECTS.labels(name).set(len(cache.collection(collection).entries))
    encode, content_type = choose_encoder(accept)
    return Response(200, encode(REGISTRY), content_type)
