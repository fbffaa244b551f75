"""Runs one store replica as a process: `python replica.py settings.json`, whole or with a sabotage of the simulation's.

Prints "ready" once it serves. Ends with status 3 and the fault on standard error if the replica can't or may not go on.
"""

from __future__ import annotations

import json
import logging
import ssl
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import uvloop

from oarlock.consensus.certificates import Tls
from oarlock.consensus.server import StoreServer, StoreSettings
from oarlock.consensus.storage import StorageFault

FAULT = 3


def settings_of(told: dict[str, Any]) -> StoreSettings:
    """Return the settings that a JSON object tells."""
    return StoreSettings(
        name=told["name"],
        members={name: (host, port) for name, (host, port) in told["members"].items()},
        data_dir=Path(told["data_dir"]),
        cluster_id=told["cluster_id"],
        host=told["host"],
        port=told["port"],
        tls=Tls(*map(Path, told["tls"])),
        snapshot_after_bytes=told["snapshot_after_bytes"],
    )


def broken(sabotage: str) -> AbstractContextManager[None]:
    """Break the store within the block by the sabotage of this name, "" for none."""
    if not sabotage:
        return nullcontext()
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from simulation.sabotage import SABOTAGES, sabotaged

    return sabotaged(next(one for one in SABOTAGES if one.name == sabotage))


async def serve(settings: StoreSettings) -> None:
    server = StoreServer(settings)
    await server.start()
    print("ready", flush=True)
    try:
        await server.wait()
    finally:
        await server.stop()


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    told = json.loads(Path(sys.argv[1]).read_text())
    settings = settings_of(told)
    try:
        with broken(told["sabotage"]):
            uvloop.run(serve(settings))
    except (StorageFault, OSError, ssl.SSLError) as fault:
        print(f"fault: {fault}", file=sys.stderr, flush=True)
        return FAULT
    return 0


if __name__ == "__main__":
    sys.exit(main())
