"""From request to answer: who may do what, which verb, how failures are told."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

import orjson

from oarlock.cluster.apiserver import authorization, clock, metrics, observing, requests
from oarlock.cluster.apiserver.authentication import Authenticator, User
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.documents import Documents
from oarlock.cluster.apiserver.exchange import TEXT, Answer, Request, Response
from oarlock.cluster.apiserver.extensions import Extensions, unavailable
from oarlock.cluster.apiserver.health import Health
from oarlock.cluster.apiserver.holders import PREFIX as HOLDERS_PREFIX
from oarlock.cluster.apiserver.holders import Holders
from oarlock.cluster.apiserver.inflight import InFlight
from oarlock.cluster.apiserver.leases import PREFIX as LEASES_PREFIX
from oarlock.cluster.apiserver.leases import Leases
from oarlock.cluster.apiserver.requests import RequestInfo
from oarlock.cluster.apiserver.served import Served
from oarlock.cluster.apiserver.targets import PREFIX as TARGETS_PREFIX
from oarlock.cluster.apiserver.targets import Targets
from oarlock.cluster.apiserver.timelimit import TimeLimit
from oarlock.cluster.apiserver.verbs import Verbs
from oarlock.cluster.apiserver.watchcache import WatchCache
from oarlock.cluster.apiserver.zpages import ZPages
from oarlock.cluster.objects import durations, status, warnings
from oarlock.cluster.objects.status import ApiError
from oarlock.consensus.model import InvalidRequest, StoreError, Unavailable, UnknownOutcome

log = logging.getLogger(__name__)
_ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
REQUEST_TIMEOUT_S = 60.0
"""How long a request may take that doesn't ask for less. Source: kube-apiserver's --request-timeout."""


class Dispatcher:
    """Answers every request. Never raises but for cancellation. `published` are further documents, by path."""

    def __init__(
        self,
        authenticator: Authenticator,
        verbs: Verbs,
        documents: Documents,
        published: Mapping[str, bytes],
        health: Health,
        pages: ZPages,
        leases: Leases,
        targets: Targets,
        holders: Holders,
        inflight: InFlight,
        cache: WatchCache,
        served: Served,
        extensions: Extensions,
        now: clock.Clock,
    ) -> None:
        self._authenticator = authenticator
        self._verbs = verbs
        self._documents = documents
        self._published = published
        self._health = health
        self._pages = pages
        self._now = now
        self._limit = TimeLimit(REQUEST_TIMEOUT_S)
        self._leases = leases
        self._targets = targets
        self._holders = holders
        self._inflight = inflight
        self._cache = cache
        self._served = served
        self._extensions = extensions

    async def handle(self, request: Request) -> Answer:
        """Answer one request; failures become Status objects."""
        started = time.perf_counter()
        info = requests.parse(request.method, request.path, request.query)
        answer = await self._guarded(request, info)
        known = self._served.known(info.group, info.version, info.resource) if info.is_resource else None
        observing.observe(request, info, known, answer, time.perf_counter() - started)
        return answer

    async def _guarded(self, request: Request, info: RequestInfo) -> Answer:
        counted = None
        try:
            counted = self._inflight.enter(info)
            if info.is_long_running:
                return await self._serve(request, info)
            if request.query.has("timeout"):
                async with asyncio.timeout(_allowed_s(request)):
                    return await self._serve(request, info)
            with self._limit.begun():
                return await self._serve(request, info)
        except ApiError as error:
            return failure(error)
        except StoreError as error:
            return failure(_store_failure(error))
        except RecursionError:
            return failure(status.bad_request("the request's content is nested too deeply"))
        except TimeoutError:
            return failure(status.timeout("request did not complete within the allotted timeout"))
        except Exception:
            log.exception("request failed method=%s path=%s", request.method, info.path)
            return failure(status.internal("an unexpected failure, see the server's log"))
        finally:
            if counted is not None:
                counted.leave()

    async def _serve(self, request: Request, info: RequestInfo) -> Answer:
        user = await self._authenticator.authenticate(request)
        if not authorization.allowed(user, info):
            if user is None:
                raise status.unauthorized()
            qualified = f"{info.resource}.{info.group}" if info.group else info.resource
            raise status.forbidden(qualified if info.is_resource else "", info.name, authorization.refusal(user, info))
        if info.is_resource:
            return await self._resource(request, info, user or _ANONYMOUS)
        return await self._path(request)

    async def _resource(self, request: Request, info: RequestInfo, user: User) -> Answer:
        resource = await self._served.find(info.group, info.version, info.resource)
        if resource is None and self._extensions.holds(info.group, info.version):
            return unavailable()
        if resource is None or (
            info.name and info.namespace and not resource.namespaced and info.resource != "namespaces"
        ):
            raise status.path_not_found()
        deprecation = resource.custom.deprecation if resource.custom is not None else warnings.of_kind(resource)
        if deprecation:
            request.warnings.append(deprecation)
            metrics.REQUESTED_DEPRECATED.labels(info.group, info.version, info.resource, info.subresource, "").set(1)
        return await self._verbs.serve(Call(request, info, resource, user))

    async def _path(self, request: Request) -> Answer:
        path = request.path
        if path == "/metrics/slis":
            return await self._health.slis()
        if path == "/metrics":
            return observing.exposition(self._cache, request.headers.get("Accept", ""))
        if path in self._published:
            return Response(200, self._published[path])
        if path.startswith(LEASES_PREFIX):
            return await self._leases.handle(request)
        if path.startswith(TARGETS_PREFIX):
            return await self._targets.handle(request)
        if path.startswith(HOLDERS_PREFIX):
            return await self._holders.handle(request)
        answer = (
            await self._health.serve(request)
            or self._pages.serve(request, self._now())
            or await self._documents.serve(request)
        )
        if answer is None:
            return Response(404, b"404 page not found\n", TEXT)
        return answer


def _allowed_s(request: Request) -> float:
    """Return how long the request may take, as its URL says or as long as any. Raises ApiError 400.

    Source: apiserver pkg/endpoints/filters/request_deadline.go.
    """
    text = request.query.get("timeout")
    if not text:
        return REQUEST_TIMEOUT_S
    try:
        asked_s = durations.parse_duration(text)
    except ValueError as error:
        raise status.bad_request(f"invalid timeout specified in the request URL - {error}") from None
    return asked_s if 0 < asked_s < REQUEST_TIMEOUT_S else REQUEST_TIMEOUT_S


def failure(error: ApiError) -> Response:
    """Return the Status that tells of `error`."""
    return Response(error.code, orjson.dumps(error.status()), headers=dict(error.headers))


def _store_failure(error: StoreError) -> ApiError:
    if isinstance(error, Unavailable):
        return status.unavailable("the store has no leader or can't be reached; the request was not carried out")
    if isinstance(error, UnknownOutcome):
        return status.timeout("the store's answer was lost; the request may or may not have been carried out")
    if isinstance(error, InvalidRequest):
        return status.ApiError(413, "RequestEntityTooLarge", f"the store refused the request: {error}")
    return status.internal(f"store: {error}")
