"""Registers the metrics addresses of the supervised processes, so that one Prometheus scrape finds them all.

The supervisor knows every process that it started and speaks for them: a process of its own client each would cost
memory for nothing. Registrations end by themselves when they are not renewed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from oarlock.cluster.boot.board import Board
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.objects.status import ApiError

log = logging.getLogger(__name__)

TTL_S = 60.0
RENEW_S = 20.0
RETRY_S = 2.0


class TargetRegistrar:
    """Keeps /oarlock/v1/targets/NAME of every ready part; `admin` are the paths ca, cert and key."""

    def __init__(self, server: str, admin: dict[str, str], board: Board) -> None:
        settings = ClientSettings(server=server, ca_file=admin["ca"], cert_file=admin["cert"], key_file=admin["key"])
        self._client = ApiClient(settings)
        self._board = board
        self._tasks: list[asyncio.Task[None]] = []
        self._registered: dict[str, str] = {}
        self._wake = asyncio.Event()

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._renew())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    async def _watch(self) -> None:
        async for _ in self._board.watch():
            if self._wanted() != self._registered:
                self._wake.set()

    async def _renew(self) -> None:
        """Register what has changed at once and everything again before it lapses."""
        pause_s = RETRY_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._register()
                pause_s = RENEW_S
            except (ApiError, Unreachable) as error:
                log.info("targets not registered yet: %s", error)
                pause_s = RETRY_S

    async def _register(self) -> None:
        wanted = self._wanted()
        for name, address in wanted.items():
            status = self._board.statuses[name]
            labels = {"job": status.kind, "instance_name": name, "pid": str(status.pid)}
            body = {"address": address, "labels": labels, "ttlMillis": int(TTL_S * 1000)}
            await self._client.update(f"/oarlock/v1/targets/{name}", body)
        self._registered = wanted

    def _wanted(self) -> dict[str, str]:
        statuses = self._board.statuses.items()
        return {name: status.metrics for name, status in statuses if status.state == "ready" and status.metrics}
