"""One process that hosts one copy of a component: its log, its metrics listener, its entry among the targets."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import logging.handlers
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import uvloop

from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.hosting import ComponentHost, Stuck, end_process, host_of
from oarlock.actors.shell.pages import MetricsTls, listen
from oarlock.cluster.client.errors import Unreachable
from oarlock.cluster.client.http import ApiClient
from oarlock.cluster.client.settings import ClientSettings
from oarlock.cluster.objects.status import ApiError

TARGET_TTL_S = 60.0
_REGISTRATIONS_PER_TTL = 3
_RETRY_S = 2.0
COLLECTOR_THRESHOLDS = (2_000, 5, 1_000_000)
"""Python's collector looks for cycles among what is new, and next to never among everything: caches of 50,000 objects,
which hold none, would make it stop the process for longer than a lease can wait."""
_LOG_BYTES_MAX, _LOG_FILES = 4 * 1024 * 1024, 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HostedSettings:
    """What a component's process reads from its settings file (JSON of the same shape).

    `client` has the file-based fields of ClientSettings. Without `metrics_tls` the metrics listener speaks plain
    HTTP. `log_folder` gets one `<copy>.log`; empty means standard error.
    """

    client: ClientSettings
    lease: str
    lease_ttl_ms: int = 1000
    settings: dict[str, object] = field(default_factory=dict[str, object])
    metrics_ip: str = "127.0.0.1"
    metrics_tls: MetricsTls | None = None
    log_folder: str = ""

    @classmethod
    def load(cls, file: str) -> Self:
        return cls.of(json.loads(Path(file).read_bytes()))

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """Read the form that `document` gives, which is used up."""
        tls = document.pop("metrics_tls", None)
        return cls(
            client=ClientSettings(**document.pop("client")),
            metrics_tls=MetricsTls(**tls) if tls else None,
            **document,
        )

    def save(self, file: str) -> None:
        """Write the form that `load` reads, readable by its owner alone."""
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(self.document(), out)

    def document(self) -> dict[str, Any]:
        """Return what `load` reads, as a value."""
        return asdict(replace(self, client=replace(self.client, fence=None)))


Leaving = Callable[[], Awaitable[None]]


def serve(copy: str, factory: str, settings: HostedSettings, leaving: Leaving | None = None) -> None:
    """Host the copy until something ends it, which is raised, or until `leaving` returns.

    A component that can't be stopped takes the process with it.
    """
    _log_to(settings.log_folder, copy)
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
    uvloop.run(_serve_or_die(copy, factory, settings, leaving))


async def _serve_or_die(copy: str, factory: str, settings: HostedSettings, leaving: Leaving | None) -> None:
    try:
        await _serve(copy, factory, settings, leaving)
    except Stuck as stuck:
        end_process(stuck)


async def _serve(copy: str, factory: str, settings: HostedSettings, leaving: Leaving | None) -> None:
    context = ComponentContext(
        client=settings.client,
        identity=f"{copy}/{os.getpid()}",
        lease=settings.lease,
        lease_ttl_ms=settings.lease_ttl_ms,
        settings=settings.settings,
    )
    host = host_of(factory, context)
    address = listen(settings.metrics_ip, settings.metrics_tls, host.answer, asyncio.get_running_loop())
    registering = asyncio.create_task(_register(copy, address, settings))
    try:
        await host.start()
        await _until_left(host, leaving)
    finally:
        registering.cancel()
        await host.stop()


async def _until_left(host: ComponentHost, leaving: Leaving | None) -> None:
    ends = [asyncio.ensure_future(host.wait())]
    if leaving is not None:
        ends.append(asyncio.ensure_future(leaving()))
    done, others = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    for one in done:
        one.result()


async def _register(copy: str, address: str, settings: HostedSettings) -> None:
    """Keep the copy among the metrics targets, with its process id; an API server out of reach is tried again."""
    labels = {
        "job": settings.lease,
        "instance_name": copy,
        "pid": str(os.getpid()),
        "started": f"{time.time():.1f}",
        "__scheme__": "https" if settings.metrics_tls else "http",
    }
    target = {"address": address, "labels": labels, "ttlMillis": int(TARGET_TTL_S * 1000)}
    async with ApiClient(replace(settings.client, fence=None)) as client:
        while True:
            try:
                await client.update(f"/oarlock/v1/targets/{copy}", target)
                await asyncio.sleep(TARGET_TTL_S / _REGISTRATIONS_PER_TTL)
            except (Unreachable, ApiError) as error:
                _log.warning("metrics target not registered name=%s error=%r", copy, str(error))
                await asyncio.sleep(_RETRY_S)


def _log_to(folder: str, copy: str) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        file = Path(folder) / f"{copy}.log"
        handler = logging.handlers.RotatingFileHandler(file, maxBytes=_LOG_BYTES_MAX, backupCount=_LOG_FILES)
    # force: Ray's worker has put handlers of its own there.
    logging.basicConfig(
        level=logging.INFO, handlers=[handler], force=True, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
