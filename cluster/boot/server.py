"""The background process of `oarlock up`: supervises the parts, or with --single runs them all in itself.

Started as `python -m oarlock.cluster.boot.server STATE-FOLDER`; everything it needs stands in settings/plan.json.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

import uvloop

from oarlock.cluster.boot.board import Board
from oarlock.cluster.boot.control import Answer, ControlServer
from oarlock.cluster.boot.launching import GUARD
from oarlock.cluster.boot.parts import Part
from oarlock.cluster.boot.processes import record
from oarlock.cluster.boot.state import StateFolder

log = logging.getLogger(__name__)


class Runner(Protocol):
    """What stands behind the control socket: the supervisor, or the one process of --single."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def restart(self, name: str) -> str:
        """Replace one part's process; return "" once it is ready again, else what went wrong."""
        ...

    async def fault(self) -> str:
        """Return when the runner can't go on by itself, with the reason."""
        ...

    @property
    def board(self) -> Board: ...


def main() -> int:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s level=%(levelname)s logger=%(name)s %(message)s"
    )
    folder = StateFolder(Path(sys.argv[1]))
    plan = json.loads((folder.settings / "plan.json").read_bytes())
    try:
        folder_lock = folder.lock()
    except BlockingIOError:
        log.error("another process runs the cluster in %s", folder.path)
        return 1
    record(folder.processes_file, {})
    if guard := os.environ.pop(GUARD, ""):
        os.set_inheritable(int(guard), False)  # noqa: FBT003 - takes no keywords; it is ours alone, until we end
    try:
        return uvloop.run(_serve(folder, plan))
    finally:
        os.close(folder_lock)


async def _serve(folder: StateFolder, plan: dict[str, Any]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = _runner(folder, plan)
    stopped = asyncio.Event()

    async def handle(operation: str, part: str) -> AsyncIterator[Answer]:
        if operation == "watch":
            async for answer in runner.board.watch():
                yield answer
        elif operation == "status":
            yield runner.board.snapshot()
        elif operation == "restart":
            yield {"error": await runner.restart(part)}
        elif operation == "down":
            names = [part["name"] for part in runner.board.snapshot()["parts"]]
            stop.set()
            await stopped.wait()
            for name in names:
                yield {"stopped": name}

    control = ControlServer(folder.control_socket, handle)
    await runner.start()
    await control.start()
    fault = asyncio.create_task(runner.fault())
    asked = asyncio.create_task(stop.wait())
    await asyncio.wait({fault, asked}, return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        log.error("fatal: %s", fault.result())
    fault.cancel()
    asked.cancel()
    await runner.stop()
    stopped.set()
    await control.stop()
    return 0 if stop.is_set() else 1


def _runner(folder: StateFolder, plan: dict[str, Any]) -> Runner:
    parts = [Part(**part) for part in plan["parts"]]
    if [part.role for part in parts] == ["single"]:
        from oarlock.cluster.boot.single import SingleProcess

        return SingleProcess(dict(parts[0].settings))
    from oarlock.cluster.boot.supervisor import Supervisor
    from oarlock.cluster.boot.targets import TargetRegistrar

    supervisor = Supervisor(parts, folder)
    supervisor.companions.append(TargetRegistrar(plan["server"], plan["admin"], supervisor.board))
    return supervisor


if __name__ == "__main__":
    sys.exit(main())
