"""Upstream's recorded answers (`../shared/golden` beside the repository) and the tools that ask a server the same."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from harness.apiserver import controllers_beside, start_api_server
from harness.pacing import Pace, PacedClock

from oarlock.cluster.apiserver import clock

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
_SETTINGS: dict[str, Any] = {"service_cidr": "10.0.0.0/16", "loopback_network": False}


async def asked(
    folder: Path,
    tool: str,
    *arguments: str,
    without: Sequence[str] = (),
    day: date | None = None,
    **settings: Any,
) -> str:
    """Return what a tool says of a fresh server with the controllers beside it, all but those in `without`.

    With a `day`, the tool's questions are asked on that day, at the recording's pace.
    """
    paced = PacedClock(day) if day is not None else None
    async with start_api_server(folder, now=paced or clock.now, **_SETTINGS, **settings) as api:
        if paced is not None:
            Pace(paced, api)
        async with controllers_beside(api, without):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(GOLDEN / tool), "--server", api.url, *arguments),
                *("--cert", api.admin.cert_file, "--key", api.admin.key_file),
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()
