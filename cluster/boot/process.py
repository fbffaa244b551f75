"""The main module of every supervised process: `python -m oarlock.cluster.boot.process ROLE SETTINGS.json`."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop

from oarlock.cluster.boot.child import IN_VAIN, Notifier
from oarlock.cluster.boot.importing import put_off_collections
from oarlock.cluster.boot.metrics import MetricsListener
from oarlock.cluster.boot.pauses import Pauses
from oarlock.cluster.boot.roles import ROLES, Running
from oarlock.cluster.boot.slices import shorten

log = logging.getLogger(__name__)


def main() -> int:
    role, settings_file = sys.argv[1:]
    put_off_collections()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    if role == "store":
        shorten()  # each write waits for it, and it never has much to do at once (decision 0044)
    settings = json.loads(Path(settings_file).read_bytes())
    return uvloop.run(_run(role, settings, Notifier()))


async def _run(role: str, settings: dict[str, Any], notifier: Notifier) -> int:
    """Run the role until SIGTERM, SIGINT or a fatal fault; return the exit status."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        running: Running = await ROLES[role](settings)
    except Exception as error:
        log.exception("role=%s did not start", role)
        notifier.failed(f"{type(error).__name__}: {error}" if not str(error) else str(error))
        return 1
    listener = MetricsListener(settings["metrics"]) if settings.get("metrics") else None
    metrics = listener.start() if listener else running.metrics
    pauses = Pauses()
    pauses.start(freezes=role != "store")  # the store knows its own objects
    notifier.ready(running.address, metrics)
    status = await _until_stopped(running, stop, notifier)
    await running.component.stop()
    pauses.stop()
    if listener:
        listener.stop()
    return status


async def _until_stopped(running: Running, stop: asyncio.Event, notifier: Notifier) -> int:
    """Return the exit status. A fault that says that it is `final` is told to the supervisor, to start no more."""
    fault = asyncio.create_task(running.component.wait())
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait({fault, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if fault.done() and not stop.is_set():
        error = fault.exception()
        log.error("fatal: %s", error or "the component ended by itself")
        if not getattr(error, "final", False):
            return 1
        notifier.failed(str(error))
        return IN_VAIN
    fault.cancel()
    return 0


if __name__ == "__main__":
    sys.exit(main())
