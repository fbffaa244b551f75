"""Pages of the active copy of a component: asked of whoever holds the lease, wherever that is.

`GET /oarlock/v1/holders/LEASE/PATH`. Who may read is decided here, by the path, as for every request; the component
trusts API servers. The holder's name is that of its metrics target, with its process and term behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import orjson

from oarlock.cluster.apiserver.backends import Backend, Backends
from oarlock.cluster.apiserver.exchange import Request, Response
from oarlock.cluster.apiserver.relaying import Relays, Unreachable
from oarlock.cluster.apiserver.storage import LEASES
from oarlock.cluster.apiserver.targets import TARGETS
from oarlock.cluster.objects import status
from oarlock.consensus.model import Range, Store

PREFIX = "/oarlock/v1/holders/"
_PAGES = "/pages/"
_ANSWER_TIMEOUT_S = 10.0
_NOT_FOUND = 404

Page = Callable[[str], Awaitable["bytes | None"]]
"""Returns the page of that path, None if there is none."""


class Holders:
    """Answers `/oarlock/v1/holders/…`. Raises ApiError and StoreError.

    `local` are the components of this very process, by their leases.
    """

    def __init__(self, store: Store, backends: Backends, relays: Relays, local: Mapping[str, Page]) -> None:
        self._store, self._backends, self._relays, self._local = store, backends, relays, local

    async def handle(self, request: Request) -> Response:
        """Serve one request below the prefix."""
        lease, _, path = request.path.removeprefix(PREFIX).partition("/")
        if not lease or not path:
            raise status.path_not_found()
        if request.method != "GET":
            raise status.method_not_allowed()
        page = self._local.get(lease)
        told = await page(path) if page is not None else await self._asked(lease, path)
        if told is None:
            raise status.path_not_found()
        return Response(200, told)

    async def _asked(self, lease: str, path: str) -> bytes | None:
        backend = await self._holder(lease)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                answer = await self._relays.open(backend, "GET", _PAGES + path)
                async with answer:
                    body = await answer.read()
        except (Unreachable, TimeoutError, aiohttp.ClientError) as error:
            raise status.unavailable(f"the holder of {lease} gave no answer: {error or 'it took too long'}") from None
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != 200:
            raise status.unavailable(f"the holder of {lease} answered {answer.status}")
        return body

    async def _holder(self, lease: str) -> Backend:
        found = await self._store.range(Range(LEASES + lease.encode()))
        if not found.kvs:
            raise status.unavailable(f"nobody holds {lease} at the moment")
        name = str(orjson.loads(found.kvs[0].value)["holder"]).partition("/")[0]
        target = await self._store.range(Range(TARGETS + name.encode()))
        if not target.kvs:
            raise status.unavailable(f"the holder of {lease}, {name}, has not told its address yet")
        host, _, port = str(orjson.loads(target.kvs[0].value)["address"]).rpartition(":")
        return self._backends.component(host, int(port))
