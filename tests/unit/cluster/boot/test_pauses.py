"""Pauses of the event loop are measured, and requests leave no garbage that only a collection could find."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from harness.apiserver import start_api_server
from prometheus_client import REGISTRY

from oarlock.cluster.boot import pauses
from oarlock.cluster.boot.pauses import Pauses
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.objects.status import ApiError

MAPS = "/api/v1/namespaces/default/configmaps"


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Lags:
    """Stands for the histogram."""

    def __init__(self) -> None:
        self.worst = 0.0
        self.seen = asyncio.Event()

    def observe(self, seconds: float) -> None:
        self.worst = max(self.worst, seconds)
        self.seen.set()


def test_a_late_loop_and_a_collection_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        lags = Lags()
        monkeypatch.setattr(pauses, "LAG", lags)
        collected = value("oarlock_garbage_collection_seconds_count", generation="2")
        measured = Pauses()
        measured.start(freezes=False)
        try:
            await asyncio.sleep(0)
            blocked = time.monotonic() + 0.6
            while time.monotonic() < blocked:
                pass  # what a loop must not do
            await lags.seen.wait()
            assert lags.worst > 0.3
        finally:
            measured.stop()
        assert value("oarlock_garbage_collection_seconds_count", generation="2") > collected

    asyncio.run(scenario())


def test_what_survives_is_looked_at_once() -> None:
    async def scenario() -> None:
        thresholds = gc.get_threshold()
        measured = Pauses()
        measured.start(freezes=True)
        try:
            frozen = gc.get_freeze_count()
            held = [[number] for number in range(100_000)]
            assert gc.get_freeze_count() - frozen >= len(held) // 2
            cycle: list[object] = []
            cycle.append(cycle)
            del cycle
            assert gc.collect() > 0, "garbage is found as long as it is young"
        finally:
            measured.stop()
            gc.unfreeze()
            gc.set_threshold(*thresholds)

    asyncio.run(scenario())


@asynccontextmanager
async def clients(settings: ClientSettings) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A function that does what clients do: it connects, writes, reads, asks wrongly, watches and goes away."""
    context = settings.ssl_context()
    assert isinstance(context, ssl.SSLContext)
    number = 0

    async def once() -> None:
        nonlocal number
        number += 1
        async with ApiClient(settings) as client:
            await client.create(MAPS, {"metadata": {"name": f"m{number}"}})
            await client.patch(f"{MAPS}/m{number}", {"data": {"a": "b"}})
            await client.list(MAPS, {"labelSelector": "a=b"})
            with pytest.raises(ApiError):
                await client.get(f"{MAPS}/none")
            watching = client.watch(MAPS, {"resourceVersion": "0"})
            await anext(watching)
            await watching.aclose()
            await client.delete(f"{MAPS}/m{number}")

    yield once


def test_clients_leave_no_cycles(tmp_path: Path) -> None:
    """Counted in this process, so what the client itself leaves behind would count as well."""

    async def scenario() -> None:
        async with start_api_server(tmp_path) as api:
            settings = ClientSettings(api.url, api.admin.ca_file, api.admin.cert_file, api.admin.key_file)
            async with clients(settings) as once:
                for _ in range(3):
                    await once()
                gc.collect()
                gc.disable()
                try:
                    for _ in range(10):
                        await once()
                    found = gc.collect()
                finally:
                    gc.enable()
        assert found < 10, f"{found} objects in cycles after ten clients"

    try:
        uvloop.run(scenario())
    except Unreachable as error:
        pytest.fail(str(error))
