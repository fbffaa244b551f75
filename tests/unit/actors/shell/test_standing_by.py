"""How soon copies hear of changes: the one that acts, and the one that stands by."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path
from typing import Any

import pytest
from harness.apiserver import start_api_server

from oarlock.actors.shell.component import GATHER_MS, STANDBY_GATHER_MS, ComponentContext
from oarlock.actors.shell.hosting import host_of
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.settings import ClientSettings

KIND = "/api/v1/namespaces"
COMPONENTS = ("oarlock.actors.scheduler.component:create", "oarlock.actors.controllers.component:create")


@pytest.mark.parametrize("dotted", COMPONENTS)
def test_who_acts_hears_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dotted: str) -> None:
    asked: dict[ApiClient, list[int]] = {}
    acts = asyncio.Event()
    pieces = ApiClient.pieces

    def noted(client: ApiClient, path: str, *args: Any, gather_ms: int = 0, **more: Any) -> Any:
        if path == KIND:
            asked.setdefault(client, []).append(gather_ms)
            if gather_ms == GATHER_MS:
                acts.set()
        return pieces(client, path, *args, gather_ms=gather_ms, **more)

    async def scenario() -> None:
        async with start_api_server(tmp_path) as api:
            admin = ClientSettings(api.url, api.admin.ca_file, api.admin.cert_file, api.admin.key_file)
            copies = [host_of(dotted, ComponentContext(admin, name, "lease", 10_000)) for name in ("a", "b")]
            try:
                for copy in copies:
                    await copy.start()
                async with ApiClient(admin) as client, asyncio.timeout(60):
                    for number in itertools.count():  # one of the copies is about to act
                        await client.create(KIND, {"metadata": {"name": f"n-{number}"}})
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(acts.wait(), 0.2)
                            break
            finally:
                for copy in copies:
                    await copy.stop()

    monkeypatch.setattr(ApiClient, "pieces", noted)
    asyncio.run(scenario())
    assert sorted(sorted(set(times)) for times in asked.values()) == [
        [GATHER_MS, STANDBY_GATHER_MS],
        [STANDBY_GATHER_MS],
    ]
