"""A scripted API server on a Unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from oarlock.cluster.client import ClientSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[Handler], object]:
    """Return `serve(handler)`, an async context manager that yields the client settings of a server."""

    @asynccontextmanager
    async def serving(handler: Handler) -> AsyncIterator[ClientSettings]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await handler(request)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        path = str(tmp_path / "api.sock")
        await web.UnixSite(runner, path).start()
        try:
            yield ClientSettings(f"unix:{path}")
        finally:
            await runner.cleanup()

    return serving
