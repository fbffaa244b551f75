"""pods/log: the agent's answer, passed on as it comes.

Source: upstream's pkg/registry/core/pod/rest/log.go and strategy.go (LogLocation), generic/rest/response_checker.go.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from oarlock.cluster.apiserver import options
from oarlock.cluster.apiserver.backends import Backends
from oarlock.cluster.apiserver.call import Call
from oarlock.cluster.apiserver.exchange import Answer, Query, Response, Stream, Wire
from oarlock.cluster.apiserver.relaying import Relays, Unreachable
from oarlock.cluster.apiserver.subresources import containers
from oarlock.cluster.objects import gotext, status
from oarlock.cluster.objects.status import ApiError, Cause

_TEXT = "text/plain"
_NUMBERS = (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1))
"""Numeric options and the least that each may be."""
FAILURE_BYTES_MAX = 4096


class Logs:
    """Fetches container logs from node agents."""

    def __init__(self, backends: Backends, relays: Relays) -> None:
        self._backends = backends
        self._relays = relays

    async def read(self, call: Call, pod: dict[str, Any]) -> Answer:
        """Answer with the log of one container. Raises ApiError 400, 404, 422, 500."""
        query = call.request.query
        asked = _options(query, call.info.name)
        container = containers.chosen(pod, query.get("container"))
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            return Response(200, b"", _TEXT)
        backend = self._backends.agent(node_name, verified=not query.flag("insecureSkipTLSVerifyBackend"))
        path = "/".join(quote(part, safe="") for part in (call.namespace, call.info.name, container))
        target = f"/containerLogs/{path}" + (f"?{urlencode(asked)}" if asked else "")
        try:
            answer = await self._relays.open(backend, "GET", target)
        except Unreachable as failure:
            raise status.unreasoned(f"Get {gotext.quote(backend.url + target)}: {failure}") from None
        if answer.status >= 400:
            raise await _failure(answer, call.info.name)

        async def run(wire: Wire) -> None:
            async with answer:
                async for part in answer.content.iter_any():
                    wire.write(part)
                    await wire.drain()

        return Stream(run, content_type=_TEXT, lasting=query.flag("follow"))


def _options(query: Query, pod_name: str) -> list[tuple[str, str]]:
    """Return what the agent is asked for. Raises ApiError 400 and 422."""
    numbers = {name: options.whole_number(query, name) for name, _ in _NUMBERS if query.get(name)}
    since = _time(query.get("sinceTime"))
    causes = [_too_small(name, numbers[name], least) for name, least in _NUMBERS if numbers.get(name, least) < least]
    if since and "sinceSeconds" in numbers:
        causes.append(Cause("FieldValueForbidden", f"Forbidden: {_ONE_SINCE}", ""))
    if query.has("stream"):
        # Streams apart are an alpha feature of upstream's that is off.
        causes.append(Cause("FieldValueForbidden", "Forbidden: may not be specified", "stream"))
    if causes:
        raise status.invalid("PodLogOptions", "", pod_name, causes)
    flags = [(name, "true") for name in ("follow", "previous", "timestamps") if query.flag(name)]
    times = [("sinceTime", since)] if since else []
    return [*flags, *((name, str(number)) for name, number in numbers.items()), *times]


_ONE_SINCE = "at most one of `sinceTime` or `sinceSeconds` may be specified"


def _too_small(name: str, number: int, least: int) -> Cause:
    why = "must be greater than 0" if least else "must be greater than or equal to 0"
    return Cause("FieldValueInvalid", f"Invalid value: {number}: {why}", name)


def _time(text: str) -> str:
    """Return an RFC 3339 time in UTC, "" for none. Raises ApiError 400."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None or "T" not in text:
            raise ValueError
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError):
        layout = "2006-01-02T15:04:05Z07:00"
        raise status.bad_request(
            f'parsing time {gotext.quote(text)} as "{layout}": cannot parse {gotext.quote(text)}'
        ) from None


async def _failure(answer: aiohttp.ClientResponse, pod_name: str) -> ApiError:
    async with answer:
        text = (await answer.content.read(FAILURE_BYTES_MAX)).decode(errors="replace").strip()
    if answer.status == 400:
        return status.bad_request(text)
    if answer.status == 404:
        # The agent doesn't know the pod, or not yet.
        message = f"the server could not find the requested resource ( pods/log {pod_name})"
        return ApiError(404, "NotFound", message, status.details_of(pod_name, "", "pods/log"))
    return status.internal(text or f"the node agent answered {answer.status}")
