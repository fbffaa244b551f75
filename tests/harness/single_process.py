"""`python single_process.py SETTINGS.json`: the parts of `oarlock up --single` in this process, wherever they shall be.

Prints `ready` once all of them are; ends at SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop

from oarlock.cluster.boot.single import SingleProcess


async def main(settings: dict[str, Any]) -> int:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    runner = SingleProcess(settings)
    await runner.start()
    async for picture in runner.board.watch():
        states = {part["state"] for part in picture["parts"]}
        if states == {"ready"}:
            break
        if "failed" in states:
            return 1
    print("ready", flush=True)
    await asked.wait()
    await runner.stop()
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    sys.exit(uvloop.run(main(json.loads(Path(sys.argv[1]).read_text()))))
