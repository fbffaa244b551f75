"""Upstream's recorded answers (`../shared/golden` beside the repository) and the tools that ask a server the same."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.apiserver import start_api_server

from oarlock.actors.shell.component import ComponentContext
from oarlock.actors.shell.inprocess import InProcessShell
from oarlock.cluster.apiserver import clock
from oarlock.cluster.client.settings import ClientSettings

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
_SETTINGS: dict[str, Any] = {"service_cidr": "10.0.0.0/16", "loopback_network": False}
#: Long: everything shares one process here, and on a busy machine the lease must not pass on in the middle.
_LEASE_TTL_MS = 20_000


async def asked(
    folder: Path,
    tool: str,
    *arguments: str,
    without: Sequence[str] = (),
    now: clock.Clock = clock.now,
    **settings: Any,
) -> str:
    """Return what a tool says of a fresh server with the controllers beside it, all but those in `without`."""
    async with start_api_server(folder, now=now, **_SETTINGS, **settings) as api:
        client = ClientSettings(api.url, api.admin.ca_file, api.admin.cert_file, api.admin.key_file)
        chosen: dict[str, object] = {"ca_pem": "a CA", "controllers": ["*", *(f"-{name}" for name in without)]}
        context = ComponentContext(client, "controllers-a", "controllers", _LEASE_TTL_MS, chosen)
        shell = InProcessShell([("oarlock.actors.controllers.component:create", context)])
        await shell.start()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(GOLDEN / tool), "--server", api.url, *arguments),
                *("--cert", api.admin.cert_file, "--key", api.admin.key_file),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
        finally:
            await shell.stop()
    assert process.returncode == 0
    return output.decode()
