"""An API server over an in-process store, spoken to over real HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest

from oarlock.cluster.apiserver.server import ApiServer
from oarlock.cluster.apiserver.settings import ApiServerSettings
from oarlock.consensus.memory import MemoryStore


@dataclass
class Api:
    """Sends requests; every answer is (status, parsed body)."""

    session: aiohttp.ClientSession
    server: ApiServer
    store: MemoryStore

    async def __call__(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        if data is not None:
            named["Content-Type"] = content_type
        async with self.session.request(method, self.server.url + path, data=data, headers=named) as answer:
            raw = await answer.read()
            self.headers = answer.headers
            try:
                return answer.status, orjson.loads(raw)
            except orjson.JSONDecodeError:
                return answer.status, raw.decode()

    async def made(self, path: str, body: Any) -> Any:
        """Create and return an object; fails the test if the server refuses it."""
        code, document = await self("POST", path, body)
        assert code == 201, document
        return document

    @asynccontextmanager
    async def watch(self, path: str) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
        """Open a watch; the yielded function waits for the next event."""
        async with self.session.get(self.server.url + path) as answer:
            assert answer.status == 200, await answer.text()

            async def event() -> Any:
                async with asyncio.timeout(10):
                    line = await answer.content.readline()
                return orjson.loads(line) if line else None

            yield event


Scenario = Callable[[Api], Awaitable[Any]]


@pytest.fixture
def with_api() -> Callable[..., Any]:
    """Return `with_api(scenario, **settings)`: runs it against a fresh server and returns what it returns."""

    def run(scenario: Scenario, **settings: Any) -> Any:
        async def main() -> Any:
            store = MemoryStore()
            # No controllers run here, and so nobody makes the accounts that pods would need.
            chosen: dict[str, Any] = {
                "service_cidr": "10.0.0.0/24",
                "shutdown_grace_s": 0.5,
                "disabled_plugins": ("ServiceAccount",),
                **settings,
            }
            server = ApiServer(ApiServerSettings("test", **chosen), store)
            await server.start()
            try:
                async with aiohttp.ClientSession() as session:
                    return await scenario(Api(session, server, store))
            finally:
                await server.stop()
                await store.close()

        return asyncio.run(main())

    return run


def configmap(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    """Return a ConfigMap."""
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """Return a Pod of one container."""
    containers = [{"name": "c", "image": "host/true"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers, **spec}}


@pytest.fixture
def objects() -> Any:
    """Return the makers of test objects."""

    class Objects:
        configmap = staticmethod(configmap)
        pod = staticmethod(pod)

    return Objects
